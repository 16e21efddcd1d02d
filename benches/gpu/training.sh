#!/bin/sh
# Compares training on a GPU with PyTorch: steps with and without a CUDA graph, and epochs with augmentation.
#
#   benches/gpu/training.sh DATA OUT
#
# DATA has class folders, or train/CLASS, with images of 32x32, such as CIFAR-10. For batches of 64 and 512 in fp32 (with
# TF32 in convolutions, the default of both sides) and bf16: the sum of a step's kernel times by PyTorch's profiler,
# PyTorch's eager step and its captured one, in both memory layouts, and at batch 64 its loop with 16 workers; then the
# trainer, eager and captured, with augmentation and without. About three minutes on an H100. Appends a table with ratios
# to OUT/training-DATE.md; the lines it is made of are OUT/training.jsonl. Variables:
#
#   TRAINING  command that is the program training (training), or none
#   PYTHON    Python with torch, torchvision and Pillow (python3)
#   PEER      none leaves PyTorch's measurements out
#   DEVICE    device (cuda)
#   BATCHES   batch sizes ("64 512"), AMPS precisions ("fp32 bf16")
#   STEPS     steps of an epoch and of a round (60)
#   EPOCHS    epochs, of which the first does not count (3)
#   LIMIT     seconds after which each of the four programs is ended (100)
set -u
data=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
training=${TRAINING:-training} python=${PYTHON:-python3} device=${DEVICE:-cuda} limit=${LIMIT:-100} epochs=${EPOCHS:-3}
[ ! -d "$data/train" ] || data=$data/train
mkdir -p "$out"
lines=$out/training.jsonl log=$out/training.log
result=$out/training-$(date +%F).md
: > "$lines"
: > "$log"

# run COMMAND...: adds the lines that a measurement prints; what goes wrong is in the log.
run() {
    echo "$(date -u +%T) $*" >> "$log"
    timeout "$limit" "$@" >> "$lines" 2>> "$log" || { echo "failed: $*"; tail -n 5 "$log"; }
}

batches=${BATCHES:-64 512} amps=${AMPS:-fp32 bf16} steps=${STEPS:-60}
# ours FLAGS...: all batch sizes and precisions in one process: the start on CUDA takes longer than a measurement.
ours() {
    # shellcheck disable=SC2086
    run $training "$data" 4 "$steps" --device "$device" --batch "$(echo $batches | tr ' ' ,)" \
        --amp "$(echo $amps | tr ' ' ,)" --epochs "$epochs" "$@"
}

if [ "$training" != none ]; then
    ours --augment off,on
    ours --augment on --graphs off
    ours --augment off --attention off
fi
if [ "${PEER:-}" != none ]; then
    # shellcheck disable=SC2086
    run "$python" "$here/../peers/training_gpu.py" measure "$data" --batch $batches --amp $amps --steps "$steps" \
        --device "$device" --loop
fi

{
    echo
    echo "## $(date -u +%FT%TZ)"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    "$python" "$here/../peers/training_gpu.py" table "$lines"
} >> "$result"
cat "$result"
