#!/bin/sh
# Verifies correct and faulty files on a GPU, with and without TF32, and shows the messages of what cannot run.
#
#   benches/gpu/verify.sh MODEL... OUT
#
# MODEL... are files of `train export` (fp32 with float input first; then fp16, int8 and uint8 input); the first is given
# the faults. Appends to OUT/verify-DATE.md; reports and logs lie in OUT/verify/. INFER is the program, with words before it
# if it needs them (infer), FAULTS the program `faulty_models` of benches (faulty_models; none leaves it out), TRAIN the program
# `train` for its messages, with DATA its images (none leaves them out), PYTHON a Python, with torch for one of the messages
# (python3), DEVICE the device (cuda; cpu tries the script itself), LIMIT the seconds of each part (60), FULL=none leaves out
# the message for a GPU whose memory another program has.
# shellcheck disable=SC2086
set -u
[ $# -ge 2 ] || { sed -n 's/^# \{0,1\}//; 2,11p' "$0" >&2; exit 2; }
infer=${INFER:-infer} faults=${FAULTS:-faulty_models} python=${PYTHON:-python3} device=${DEVICE:-cuda} limit=${LIMIT:-60}
models= first=$1
while [ $# -gt 1 ]; do models="$models $1"; shift; done
out=$1 logs=$1/verify
mkdir -p "$logs"
result=$out/verify-$(date -u +%F).md
say() { echo "$@" >> "$result"; }

say
say "## $(date -u +%FT%TZ), $($infer --version), device $device"
say
[ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader >> "$result" 2>&1

# number FILE KEY...: a number of a JSON report, by the keys that lead to it.
number() {
    "$python" -c '
import functools, json, sys
try:
    print("%.1e" % functools.reduce(lambda at, key: at[key], sys.argv[2:], json.load(open(sys.argv[1]))))
except Exception:
    print("")' "$@"
}

# start NAME MODEL FLAGS...: verifies a file in the background.
start() {
    report=$logs/$1$(echo "$*" | sed 's/.* --/--/; t; s/.*//')
    model=$2
    shift 2
    (
        timeout "$limit" $infer verify --model "$model" --device "$device" --format json "$@" \
            > "$report.json" 2> "$report.err"
        echo $? > "$report.code"
    ) &
}

# row NAME [FLAG]: writes what the verification of a file found.
row() {
    report=$logs/$1${2:-}
    cells=
    for keys in "agreement max_relative_difference" tolerance "agreement rms_relative_difference" rms_tolerance \
        "cpu agreement max_relative_difference" "cpu device_difference max_relative_difference" \
        "cpu device_difference rms_relative_difference"; do
        # shellcheck disable=SC2086
        cells="$cells $(number "$report.json" $keys) |"
    done
    say "| $1 | ${2:-default} | $(cat "$report.code") |$cells"
}

# All at once: this is about results, not times.
files=
for model in $models; do
    name=$(basename "$model" .onnx)
    files="$files $name"
    start "$name" "$model"
    start "$name" "$model" --no-tf32
done
if [ "$faults" != none ] && $faults "$first" "$logs/faulty" 2>> "$logs/faults.err"; then
    for fault in scale labels mean 8bits; do
        files="$files faulty-$fault"
        start "faulty-$fault" "$logs/faulty/$fault.onnx"
        start "faulty-$fault" "$logs/faulty/$fault.onnx" --no-tf32
    done
fi
wait
rm -rf "$logs/faulty"
say
say "| file | flags | exit code | logits, largest | allowed | rms | allowed | on the CPU, largest | from the CPU, largest | from the CPU, rms |"
say "|---|---|---|---|---|---|---|---|---|---|"
for name in $files; do
    row "$name"
    row "$name" --no-tf32
done
say
say 'As text:'
say '```'
timeout "$limit" $infer verify --model "$first" --device "$device" >> "$result" 2>&1
say '```'

if [ "$faults" != none ]; then
    say
    say "In one process, with the smallest change of one channel's scale that is found:"
    say
    timeout "$limit" $faults "$first" "$device" >> "$result" 2>> "$logs/faults.err" || say "(code $?)"
fi

message() { # COMMAND...
    said "infer" "$infer" "$@"
}

# said NAME PROGRAM COMMAND...: writes the end of what a program says when it fails.
said() {
    name=$1 program=$2
    shift 2
    say "\$ $name $*"
    timeout "$limit" $program "$@" > "$logs/message.out" 2> "$logs/message.err"
    code=$?
    tail -n 5 "$logs/message.err" >> "$result"
    say "(exit code $code)"
}
say
say 'Messages:'
say '```'
message verify --model "$first" --device cuda:7
if [ "$device" != cpu ]; then
    # Too little for the weights, then enough for them and too little for a pass.
    message verify --model "$first" --device "$device" --gpu-memory 1
    message verify --model "$first" --device "$device" --gpu-memory 40
    message bench --model "$first" --device "$device" --batch 4096 --seconds 1 --gpu-memory 200
fi
if [ "${TRAIN:-none}" != none ] && [ "${DATA:-none}" != none ]; then
    said train "$TRAIN" fit --data "$DATA" --device cuda:7 --out "$logs/run"
    # All images are one batch, whose activations do not fit.
    [ "$device" = cpu ] || said train "$TRAIN" fit --data "$DATA" --device "$device" --batch-size 36000 --out "$logs/run"
    rm -rf "$logs/run"
fi
if [ "$device" != cpu ] && [ "${FULL:-}" != none ]; then
    # Another program has all of the memory but 900 MB.
    rm -f "$logs/ready"
    # Without the library path of the programs, which may hold another libtorch.
    env -u LD_LIBRARY_PATH -u LD_PRELOAD timeout 60 "$python" -c '
import sys, time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - (900 << 20), dtype=torch.uint8, device="cuda")
open(sys.argv[1], "w").close()
time.sleep(45)' "$logs/ready" 2> "$logs/held.err" &
    held=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        { [ -e "$logs/ready" ] || ! kill -0 "$held" 2> /dev/null; } && break
        sleep 1
    done
    [ -e "$logs/ready" ] && message bench --model "$first" --device "$device" --batch 8192 --seconds 1
    kill "$held" 2> /dev/null
fi
say '```'
cat "$result"
