#!/bin/sh
# Measures training from files that are decoded in every epoch, on a GPU: does the device wait for decoding?
#
#   benches/gpu/decoding.sh DATA OUT
#
# DATA has class folders, or train/CLASS. Makes JPEGs of 500x375 of its images in OUT/photos, and trains ResNet18-CBAM at
# 224x224 with batches of 64: on images in memory without augmentation (the network alone), and on files with random crops,
# flips, colours and rotations. Prints images per second of both, and of decoding and augmentation without training. The
# slower of the two alone limits. About a minute on an H100. Appends to OUT/decoding-DATE.md. Variables: TRAINING command
# that is the program training, PYTHON Python with Pillow (python3), DEVICE device (cuda), STEPS steps of an epoch (40),
# EPOCHS epochs of which the first does not count (3), BATCH images per step (64), AMPS precisions ("fp32 bf16").
set -eu
data=$1 out=$2
training=${TRAINING:-training} python=${PYTHON:-python3} device=${DEVICE:-cuda}
steps=${STEPS:-40} epochs=${EPOCHS:-3} batch=${BATCH:-64}
[ ! -d "$data/train" ] || data=$data/train
mkdir -p "$out"
result=$out/decoding-$(date +%F).md

"$python" - "$data" "$out/photos" $((steps * batch)) << 'END'
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

data, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


def enlarge(path):
    target = out / path.parent.name / path.with_suffix(".jpg").name
    target.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.effect_noise((500, 375), 24).convert("RGB")
    Image.blend(Image.open(path).convert("RGB").resize((500, 375), Image.BICUBIC), noise, 0.2).save(target, quality=90)


files = sorted(path for path in data.glob("*/*") if path.is_file())
with ProcessPoolExecutor() as pool:
    list(pool.map(enlarge, files[:: max(1, len(files) // count)][:count], chunksize=64))
END

# number NAME JSON: a number of a JSON object, without decimals.
number() {
    echo "$2" | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

run() { # AMP FLAGS...
    amp=
    [ "$1" = fp32 ] || amp="--amp $1"
    shift
    # shellcheck disable=SC2086
    timeout 120 $training "$out/photos" 4 "$steps" --device "$device" --size 224 --batch "$batch" --epochs "$epochs" \
        $amp "$@"
}

{
    echo
    echo "## $(date -u +%FT%TZ), $(getconf _NPROCESSORS_ONLN) cores"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
    echo "| precision | network alone, images/s | decoding and augmentation alone | both |"
    echo "|---|---|---|---|"
    for precision in ${AMPS:-fp32 bf16}; do
        alone=$(run "$precision" --augment off) || alone=failed
        files=$(run "$precision" --augment on --from-files) || files=failed
        echo "| $precision | $(number images_per_second "$alone") | $(number loaded_images_per_second "$files") |" \
            "$(number images_per_second "$files") |"
    done
} >> "$result"
rm -r "$out/photos"
cat "$result"
