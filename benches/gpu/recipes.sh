#!/bin/sh
# Trains by the one-cycle recipe on a GPU, here and in PyTorch, and writes the test accuracies.
#
#   benches/gpu/recipes.sh DATA OUT
#
# DATA has train/CLASS and test/CLASS with images of 32x32, such as CIFAR-10. Trains 30 epochs with two seeds on each
# side, then 80 epochs once, all with batches of 512 in bf16: about six minutes on an H100. Appends to
# OUT/recipes-DATE.md. TRAIN names the program (train), PYTHON a Python with torch and Pillow (python3; none leaves that
# side out), DEVICE the device (cuda), EPOCHS and LONG the numbers of epochs, BATCH the images per step, FLAGS further
# flags of train fit. Another device than cuda and few epochs try the script itself.
set -eu
data=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
train=${TRAIN:-train} python=${PYTHON:-python3} device=${DEVICE:-cuda}
epochs=${EPOCHS:-30} long=${LONG:-80} batch=${BATCH:-512}
# The rate of the recipe is for 64 images a step, and grows with the root of the batch.
rate=$(awk "BEGIN { printf \"%.3g\", 0.05 * sqrt($batch / 64) }")
amp=
[ "$device" = cpu ] || amp=--amp
mkdir -p "$out"
result=$out/recipes-$(date +%F).md

{
    echo
    echo "## $(date +%FT%TZ -u), $("$train" --version), device $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
    echo "Batch $batch, peak rate $rate${amp:+, bf16}. DATA: $(find "$data/train" -type f | wc -l) training and" \
        "$(find "$data/test" -type f | wc -l) test images."
    echo
    echo "| side | epochs | seed | test accuracy | with mirror images | seconds |"
    echo "|---|---|---|---|---|---|"
} >> "$result"

# field NAME FILE: a number of a JSON object.
field() {
    sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$2" | head -n 1
}

row() { # SIDE EPOCHS SEED FILE SECONDS
    echo "| $1 | $2 | $3 | $(field test_accuracy "$4") | $(field mirrored_test_accuracy "$4") | $5 |" >> "$result"
}

ours() { # EPOCHS SEED
    run=$out/ours-$1-$2
    rm -rf "$run"
    start=$(date +%s)
    # shellcheck disable=SC2086
    "$train" fit --data "$data" --recipe one-cycle --epochs "$1" --batch-size "$batch" --learning-rate "$rate" \
        --seed "$2" --device "$device" $amp --mirrored-test --out "$run" ${FLAGS:-}
    row ours "$1" "$2" "$run/result.json" $(($(date +%s) - start))
}

theirs() { # EPOCHS SEED
    [ "$python" = none ] && return
    start=$(date +%s)
    # shellcheck disable=SC2086
    "$python" "$here/../peers/recipes.py" "$data" --epochs "$1" --batch-size "$batch" --learning-rate "$rate" \
        --seed "$2" --device "$device" $amp ${PEER_FLAGS:-} > "$out/theirs-$1-$2.json"
    row "PyTorch $(sed -n 's/.*"torch": "\([^"]*\)".*/\1/p' "$out/theirs-$1-$2.json")" "$1" "$2" \
        "$out/theirs-$1-$2.json" $(($(date +%s) - start))
}

for seed in 1 2; do
    ours "$epochs" "$seed"
    theirs "$epochs" "$seed"
done
[ "$long" = 0 ] || ours "$long" 1
cat "$result"
