#!/bin/sh
# Compares passes on a GPU with PyTorch, and times evaluations.
#
#   benches/gpu/inference.sh FP32 FP16 INT8 UINT8 DATA OUT
#
# The models are files of `train export` of one network, or - for none: float input in fp32, fp16 and int8, and bytes as
# input. DATA has class folders of labelled images, such as the 10,000 of CIFAR-10. Appends a table with ratios to
# OUT/inference-DATE.md; each result is in OUT/inference.jsonl at once, what goes wrong in OUT/inference.log. The most
# important comes first, and nothing more is started after TOTAL seconds. Variables:
#
#   INFER     the program, with words before it if it needs them (infer)
#   PYTHON    Python with torch and torchvision (python3)
#   PEER      none leaves PyTorch out
#   COMPILE   1 adds torch.compile, which takes minutes
#   DEVICE    device (cuda; cpu tries the script itself)
#   BATCHES   batch sizes (1,8,64,256)
#   LENGTH    seconds of a measurement (0.4); half as long before it does not count
#   LIMIT     seconds after which a step is ended (20)
#   TOTAL     seconds after which no step is started (55)
# shellcheck disable=SC2086
set -u
[ $# = 6 ] || { sed -n 's/^# \{0,1\}//; 2,21p' "$0" >&2; exit 2; }
fp32=$1 fp16=$2 int8=$3 uint8=$4 data=$5 out=$6
peer=$(cd "$(dirname "$0")" && pwd)/../peers/inference_gpu.py
infer=${INFER:-infer} python=${PYTHON:-python3} device=${DEVICE:-cuda} batches=${BATCHES:-1,8,64,256}
length=${LENGTH:-0.4} limit=${LIMIT:-20} total=${TOTAL:-55}
warm=$(echo "$length" | awk '{ print $1 / 2 }')
mkdir -p "$out"
lines=$out/inference.jsonl log=$out/inference.log json=$out/inference.json
result=$out/inference-$(date -u +%F).md
: > "$lines"
: > "$log"
started=$(date +%s)

# step COMMAND...: runs a step if there is time; its output is in $json.
step() {
    seconds=$(($(date +%s) - started))
    if [ "$seconds" -ge "$total" ]; then
        echo "left out after $seconds s: $*" | tee -a "$log"
        return 1
    fi
    echo "$(date -u +%T) $*" >> "$log"
    timeout "$limit" "$@" > "$json" 2>> "$log" || { echo "failed: $*"; tail -n 3 "$log"; return 1; }
}

bench() { # FORM MODEL FLAGS...
    form=$1 model=$2
    shift 2
    [ "$model" != - ] || return 0
    step $infer bench --model "$model" --device "$device" --batch "$batches" --seconds "$length" --warm-up "$warm" \
        --format json "$@" && "$python" "$peer" row "$form" "$json" >> "$lines" 2>> "$log"
}

evaluate() { # FORM MODEL FLAGS...
    form=$1 model=$2
    shift 2
    [ "$model" != - ] || return 0
    before=$(date +%s.%N)
    step $infer evaluate --model "$model" --data "$data" --device "$device" --format json "$@" || return 0
    seconds=$(echo "$before $(date +%s.%N)" | awk '{ printf "%.2f", $2 - $1 }')
    "$python" "$peer" evaluated "evaluate $form" "$seconds" "$json" >> "$lines" 2>> "$log"
}

pytorch() {
    compile=
    [ "${PEER:-}" != none ] || return 0
    [ -z "${COMPILE:-}" ] || { compile=--compile; limit=400; }
    # What was measured before the time was over counts.
    step env -u LD_LIBRARY_PATH -u LD_PRELOAD "$python" "$peer" measure --batch "$batches" --seconds "$length" \
        --device "$device" $compile
    grep "^{.side" "$json" >> "$lines"
    limit=${LIMIT:-20}
}

bench fp16 "$fp16"
pytorch
bench "fp16, NHWC" "$fp16" --nhwc
evaluate fp16 "$fp16"
bench int8 "$int8"
bench "bytes" "$uint8"
bench "fp16, no graphs" "$fp16" --cuda-graphs=off
evaluate bytes "$uint8"
bench fp32 "$fp32"
bench "int8, no graphs" "$int8" --cuda-graphs=off
bench "fp32, no graphs" "$fp32" --cuda-graphs=off
bench "fp16, images" "$fp16" --images "$data"

{
    echo
    echo "## $(date -u +%FT%TZ), $($infer --version), device $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    "$python" "$peer" table "$lines"
    grep 'left out after' "$log"
} >> "$result" 2>> "$log"
cat "$result"
