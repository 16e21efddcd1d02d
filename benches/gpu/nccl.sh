#!/bin/sh
# Compares training as the only rank of a group, whose gradients go through NCCL, with plain training, on one GPU.
#
#   benches/gpu/nccl.sh DATA OUT
#
# DATA has class folders, or train/CLASS, with images of 32x32, such as CIFAR-10. Two parts, with and without CUDA graphs:
# one epoch of both with the same algorithms every time, whose losses must be the same; then some epochs of both, taking
# turns, whose images per second are compared. The first epoch does not count. About four minutes on an H100. Appends to
# OUT/nccl-DATE.md, and ends with 1 if losses differ or the group is slower by more than 2 %; each run's output is
# OUT/NAME.log. Variables:
#
#   TRAIN     command that is the program (train)
#   PYTHON    Python (python3)
#   DEVICE    device (cuda); cpu tries the script itself, with Gloo
#   LIMIT     images (20000), BATCH images per step (64), EPOCHS epochs (4), ROUNDS turns (3)
#   SECONDS_EACH  seconds after which a run is ended (60)
set -u
data=$1 out=$2
train=${TRAIN:-train} python=${PYTHON:-python3} device=${DEVICE:-cuda}
limit=${LIMIT:-20000} batch=${BATCH:-64} epochs=${EPOCHS:-4} rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-60}
mkdir -p "$out"
result=$out/nccl-$(date +%F).md
port=29533

# fit NAME EPOCHS FLAGS...: a run in OUT/NAME.
fit() {
    name=$1 count=$2
    shift 2
    rm -rf "${out:?}/$name"
    # shellcheck disable=SC2086
    timeout "$seconds" $train fit --data "$data" --limit "$limit" --batch-size "$batch" --epochs "$count" --seed 1 \
        --device "$device" --out "$out/$name" "$@" > "$out/$name.log" 2>&1 || { echo "failed: $name"; tail -n 5 "$out/$name.log"; }
}

# both NAME EPOCHS FLAGS...: the plain run, then the same one as a group of one rank.
both() {
    base=$1 count=$2
    shift 2
    fit "plain-$base" "$count" "$@"
    port=$((port + 1))
    RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port fit "group-$base" "$count" "$@"
}

for graphs in graphs no-graphs; do
    flags=
    [ "$graphs" = graphs ] || flags=--no-graphs
    # shellcheck disable=SC2086
    both "$graphs-same" 1 --deterministic $flags
    round=1
    while [ "$round" -le "$rounds" ]; do
        # shellcheck disable=SC2086
        both "$graphs-$round" "$epochs" $flags
        round=$((round + 1))
    done
done

{
    echo
    echo "## $(date -u +%FT%TZ), $($train --version), device $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
} >> "$result"
"$python" - "$out" "$rounds" >> "$result" << 'END'
import json
import statistics
import sys
from pathlib import Path

out, rounds, good = Path(sys.argv[1]), int(sys.argv[2]), True


def epochs(name):
    return [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]


print("| | losses | plain, images/s | group of one, images/s | ratio |")
print("|---|---|---|---|---|")
for graphs in ["graphs", "no-graphs"]:
    losses = [[epoch[key] for epoch in epochs(f"{side}-{graphs}-same") for key in ["train_loss", "validation_loss"]] for side in ["plain", "group"]]
    speeds = [[max(epoch["images_per_second"] for epoch in epochs(f"{side}-{graphs}-{turn}")[1:]) for turn in range(1, rounds + 1)] for side in ["plain", "group"]]
    ratio = statistics.median(group / plain for plain, group in zip(*speeds))
    good &= losses[0] == losses[1] and ratio >= 0.98
    plain, group = (statistics.median(side) for side in speeds)
    print(f"| {graphs} | {'the same' if losses[0] == losses[1] else f'{losses[0]} and {losses[1]}'} | {plain:.0f} | {group:.0f} | {ratio:.3f} |")
sys.exit(not good)
END
code=$?
grep -h "CUDA graphs" "$out"/group-graphs-1.log >> "$result" || :
cat "$result"
exit $code
