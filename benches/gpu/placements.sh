#!/bin/sh
# Trains ResNet18 without attention and with every kind at every place, and writes the test accuracies.
#
#   benches/gpu/placements.sh DATA OUT
#
# DATA has train/CLASS and test/CLASS with images of 32x32, such as CIFAR-10. All runs have the same recipe, batch size and
# seeds. Appends to OUT/placements-DATE.md, with the difference to the run without attention of the same seed; each run's
# output is OUT/NAME-SEED.log. A run that is there already is not repeated. Variables:
#
#   TRAIN     command that is the program (train)
#   DEVICE    device (cuda); cpu and few epochs try the script itself
#   NETWORK   network (resnet18)
#   EPOCHS    epochs (30), SEEDS the seeds ("1", five or six minutes each on an H100), BATCH images per step (512)
#   RUNS      kinds and places ("none cbam-stages cbam-blocks cbam-last se-stages se-blocks eca-stages eca-blocks")
#   LIMIT     seconds after which a run is ended (1200)
#   FLAGS     further flags of train fit
set -eu
data=$(cd "$1" && pwd) out=$2
train=${TRAIN:-train} device=${DEVICE:-cuda} network=${NETWORK:-resnet18}
epochs=${EPOCHS:-30} seeds=${SEEDS:-1} batch=${BATCH:-512} limit=${LIMIT:-1200}
runs=${RUNS:-none cbam-stages cbam-blocks cbam-last se-stages se-blocks eca-stages eca-blocks}
# The rate of the recipe is for 64 images a step, and grows with the root of the batch.
rate=$(awk "BEGIN { printf \"%.3g\", 0.05 * sqrt($batch / 64) }")
amp=
[ "$device" = cpu ] || amp=--amp
mkdir -p "$out"
out=$(cd "$out" && pwd)
result=$out/placements-$(date +%F).md

# accuracy RUN: the test accuracy of a run, in percent; nothing where it failed.
accuracy() {
    sed -n 's/.*"test_accuracy": *\([0-9.]*\).*/\1/p' "$1/result.json" 2> /dev/null | head -n 1 |
        awk '{ printf "%.2f", 100 * $1 }'
}

# one NAME SEED: trains KIND-PLACE.
one() {
    run=$out/$1-$2 kind=${1%%-*}
    place="--attention-at ${1#*-}"
    [ "$kind" != none ] || place=
    [ -f "$run/result.json" ] && return
    rm -rf "$run"
    # shellcheck disable=SC2086
    timeout "$limit" $train fit --data "$data" --network "$network" --attention "$kind" $place --recipe one-cycle \
        --epochs "$epochs" --batch-size "$batch" --learning-rate "$rate" --seed "$2" --device "$device" $amp \
        --out "$run" ${FLAGS:-} > "$run.log" 2>&1 || tail -n 5 "$run.log"
}

{
    echo
    echo "## $(date -u +%FT%TZ), $($train --version), $network on $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo "$epochs epochs, batch $batch, peak rate $rate${amp:+, bf16}."
    echo
    echo "| attention | seed | test accuracy, % | against none, points |"
    echo "|---|---|---|---|"
} >> "$result"
for seed in $seeds; do
    for name in $runs; do
        one "$name" "$seed"
        found=$(accuracy "$out/$name-$seed") plain=$(accuracy "$out/none-$seed")
        gain=$(awk -v a="$found" -v b="$plain" 'BEGIN { if (a != "" && b != "") printf "%+.2f", a - b }')
        echo "| $name | $seed | ${found:-failed} | $gain |" >> "$result"
    done
done
cat "$result"
