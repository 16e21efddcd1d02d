#!/bin/sh
# Trains by the one-cycle recipe on a GPU, here and in PyTorch, and writes the test accuracies.
#
#   benches/gpu/recipes.sh DATA OUT
#
# DATA has train/CLASS and test/CLASS with images of 32x32, such as CIFAR-10. Trains 30 epochs with two seeds on each
# side, then 80 epochs once, all with batches of 512 in bf16: about six minutes on an H100. Both sides hold out a tenth
# of the training images. Appends to OUT/recipes-DATE.md; each run's output is OUT/SIDE-EPOCHS-SEED.log. Variables:
#
#   TRAIN     command that is the program (train)
#   PYTHON    Python with torch and Pillow (python3); none leaves that side out
#   DEVICE    device (cuda); another one and few epochs try the script itself
#   EPOCHS    epochs of the comparison (30), SEEDS its seeds ("1 2"), LONG epochs of the long run (80; 0 for none)
#   BATCH     images per step (512)
#   SPLIT     train on the first SPLIT images of each class of DATA/train and test on its others, not on DATA/test
#   TOGETHER  1 runs all at the same time: for accuracies only, their seconds say nothing
#   LIMIT     seconds after which a run is ended (600)
#   FLAGS, PEER_FLAGS  further flags of train fit and of the other side
set -eu
data=$(cd "$1" && pwd) out=$2
here=$(cd "$(dirname "$0")" && pwd)
train=${TRAIN:-train} python=${PYTHON:-python3} device=${DEVICE:-cuda}
epochs=${EPOCHS:-30} seeds=${SEEDS:-1 2} long=${LONG:-80} batch=${BATCH:-512} limit=${LIMIT:-600}
# The rate of the recipe is for 64 images a step, and grows with the root of the batch.
rate=$(awk "BEGIN { printf \"%.3g\", 0.05 * sqrt($batch / 64) }")
amp=
[ "$device" = cpu ] || amp=--amp
mkdir -p "$out"
out=$(cd "$out" && pwd)
result=$out/recipes-$(date +%F).md

# split COUNT: links the first COUNT images of each class as training images and the others as test images.
split() {
    rm -rf "$out/split"
    for class in "$data"/train/*/; do
        name=$(basename "$class")
        mkdir -p "$out/split/train/$name" "$out/split/test/$name"
        find "$class" -type f -o -type l | sort > "$out/split/names"
        head -n "$1" "$out/split/names" | xargs -r -d '\n' ln -s -t "$out/split/train/$name"
        tail -n "+$(($1 + 1))" "$out/split/names" | xargs -r -d '\n' ln -s -t "$out/split/test/$name"
    done
    rm "$out/split/names"
    data=$out/split
}
[ -z "${SPLIT:-}" ] || split "$SPLIT"

count() {
    find -L "$data/$1" -type f | wc -l
}

{
    echo
    echo "## $(date -u +%FT%TZ), $($train --version), device $device"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
    echo "Batch $batch, peak rate $rate${amp:+, bf16}. DATA: $(count train) training and $(count test) test" \
        "images${SPLIT:+, the first $SPLIT of each class and its others}${TOGETHER:+. All runs at the same time}."
    echo
    echo "| side | epochs | seed | test accuracy | with mirror images | seconds |"
    echo "|---|---|---|---|---|---|"
} >> "$result"

# field NAME FILE: a number of a JSON object.
field() {
    sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$2" 2> /dev/null | head -n 1
}

row() { # SIDE EPOCHS SEED FILE SECONDS
    accuracy=$(field test_accuracy "$4")
    echo "| $1 | $2 | $3 | ${accuracy:-failed} | $(field mirrored_test_accuracy "$4") | $5 |" >> "$result"
}

ours() { # EPOCHS SEED
    run=$out/ours-$1-$2
    rm -rf "$run"
    start=$(date +%s)
    # shellcheck disable=SC2086
    timeout "$limit" $train fit --data "$data" --recipe one-cycle --epochs "$1" --batch-size "$batch" \
        --learning-rate "$rate" --seed "$2" --device "$device" $amp --mirrored-test --out "$run" ${FLAGS:-} \
        > "$run.log" 2>&1 || tail -n 5 "$run.log"
    row ours "$1" "$2" "$run/result.json" $(($(date +%s) - start))
}

theirs() { # EPOCHS SEED
    run=$out/theirs-$1-$2
    start=$(date +%s)
    # shellcheck disable=SC2086
    timeout "$limit" "$python" "$here/../peers/recipes.py" "$data" --epochs "$1" --batch-size "$batch" \
        --learning-rate "$rate" --seed "$2" --device "$device" $amp --cache "$out/pixels" ${PEER_FLAGS:-} \
        > "$run.json" 2> "$run.log" || tail -n 5 "$run.log"
    row "PyTorch $(sed -n 's/.*"torch": "\([^"]*\)".*/\1/p' "$run.json")" "$1" "$2" "$run.json" $(($(date +%s) - start))
}

run() { # SIDE EPOCHS SEED
    if [ "${TOGETHER:-}" = 1 ]; then "$@" & else "$@"; fi
}

for seed in $seeds; do
    run ours "$epochs" "$seed"
    [ "$python" = none ] || run theirs "$epochs" "$seed"
done
[ "$long" = 0 ] || run ours "$long" 1
wait
rm -rf "$out/pixels" "$out/split"
cat "$result"
