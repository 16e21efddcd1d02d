#!/bin/sh
# Compares the weights of runs on a GPU with CUDA graphs, without them, and stopped and resumed.
#
#   benches/gpu/same_bits.sh DATA OUT
#
# DATA has class folders, or train/CLASS, with images of 32x32, such as CIFAR-10. Trains with --deterministic by several
# recipes: SGD with a moving average, Adam in three phases, fp16 with loss scaling, a network with dropout. All weights and
# their average must be the same bits in the three runs of each. Then without --deterministic, where cuDNN searches for
# algorithms: how far losses are apart with graphs and without, and in two runs with them. Appends to OUT/same-bits-DATE.md,
# and ends with 1 if bits differ; each run's output is OUT/NAME.log. About five minutes on an H100. Variables:
#
#   TRAIN     command that is the program (train)
#   PYTHON    Python (python3)
#   DEVICE    device (cuda); cpu tries the script itself
#   IMAGES    images (3000), BATCH images per step (64), EPOCHS epochs of each phase list (6)
#   LIMIT     seconds after which a run is ended (60)
set -u
[ $# = 2 ] || { sed -n 's/^# \{0,1\}//; 2,17p' "$0" >&2; exit 2; }
data=$1 out=$2
train=${TRAIN:-train} python=${PYTHON:-python3} device=${DEVICE:-cuda}
images=${IMAGES:-3000} batch=${BATCH:-64} epochs=${EPOCHS:-6} limit=${LIMIT:-60}
mkdir -p "$out"
result=$out/same-bits-$(date -u +%F).md

# fit NAME FLAGS...: a run in OUT/NAME.
fit() {
    name=$1
    shift
    rm -rf "${out:?}/$name"
    # shellcheck disable=SC2086
    timeout -s INT "$limit" $train fit --data "$data" --limit "$images" --batch-size "$batch" --epochs "$epochs" --seed 1 \
        --device "$device" --out "$out/$name" "$@" > "$out/$name.log" 2>&1
}

# stopped NAME FLAGS...: the same run, stopped by Ctrl-C in its third epoch, and resumed.
stopped() {
    fit "$@" &
    waiting=$!
    metrics=$out/$1/metrics.jsonl
    while kill -0 $waiting 2> /dev/null && [ "$(cat "$metrics" 2> /dev/null | wc -l)" -lt 2 ]; do sleep 0.1; done
    pkill -INT -f -- "--out $out/$1 " || echo "not stopped: $1"
    wait $waiting
    echo "stopped with code $?" >> "$out/$1.log"
    # shellcheck disable=SC2086
    timeout "$limit" $train fit --resume "$out/$1" --device "$device" >> "$out/$1.log" 2>&1 || tail -n 3 "$out/$1.log"
}

# same NAME FLAGS...: the three runs that must end with the same bits.
same() {
    base=$1
    shift
    fit "$base" --deterministic "$@" || tail -n 3 "$out/$base.log"
    fit "$base-no-graphs" --deterministic --no-graphs "$@" || tail -n 3 "$out/$base-no-graphs.log"
    stopped "$base-resumed" --deterministic "$@"
}

same one-cycle --recipe one-cycle
same three-phase --recipe three-phase
# 16 bits are for GPUs.
[ "$device" = cpu ] || same fp16 --recipe from-scratch --amp=fp16
same dropout --recipe one-cycle --network mobilenet_v3_small
fit search --recipe one-cycle
fit search-again --recipe one-cycle
fit search-no-graphs --recipe one-cycle --no-graphs

{
    echo
    echo "## $(date -u +%FT%TZ), $($train --version), device $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
} >> "$result"
"$python" - "$out" >> "$result" << 'END'
import json
import struct
import sys
from pathlib import Path

out, good = Path(sys.argv[1]), True


def tensors(path):
    """Bytes of each tensor of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {name: rest[slice(*one["data_offsets"])] for name, one in header.items()}


def compared(one, other):
    """Differing tensors of two runs, over all files of weights and of the state."""
    files = sorted(path.relative_to(out / one) for path in (out / one).rglob("*.safetensors"))
    count, differing = 0, []
    for file in files:
        if not (out / other / file).exists():
            differing.append(f"{file} is missing")
            continue
        left, right = tensors(out / one / file), tensors(out / other / file)
        count += len(left)
        differing += [f"{file}: {name}" for name in left if left[name] != right.get(name)]
    return count, differing


def losses(name):
    return [json.loads(line)["train_loss"] for line in (out / name / "metrics.jsonl").read_text().splitlines()]


print("| run | without graphs | stopped and resumed |")
print("|---|---|---|")
for base in [name for name in ["one-cycle", "three-phase", "fp16", "dropout"] if (out / f"{name}.log").exists()]:
    cells = []
    for other in ["no-graphs", "resumed"]:
        count, differing = compared(base, f"{base}-{other}")
        same = count > 0 and not differing and losses(base) == losses(f"{base}-{other}")
        good &= same
        cells.append(f"the same bits in {count} tensors" if same else f"{len(differing)} of {count} differ: {differing[:2]}")
    print(f"| {base} | {cells[0]} | {cells[1]} |")

print("\nWith the search for algorithms, largest difference of an epoch's training loss to the run with graphs:\n")
for other in ["search-again", "search-no-graphs"]:
    steps = [abs(a - b) / a for a, b in zip(losses("search"), losses(other))]
    print(f"- {other}: {steps[0]:.1e} in the first epoch, {max(steps):.1e} in all")
sys.exit(not good)
END
code=$?
cat "$result"
exit $code
