#!/bin/sh
# Compares training on classes of unequal size: plain, with class weights, balanced sampling and focal loss.
#
#   benches/peers/imbalance.sh DATA OUT [SEED...]
#
# DATA has train/CLASS and test/CLASS with at least 500 and 100 images of each of ten classes, such as CIFAR-10. The
# training images become a long tail: 500 of the first class, 10 of the last, a constant ratio between neighbours. All
# test images are kept. Prints macro F1 and accuracy on them. TRAIN names the program, EPOCHS their number (5), FLAGS
# further flags.
set -eu
data=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- 1 2 3
train=${TRAIN:-train}

tail=$out/tail
if [ ! -d "$tail" ]; then
    mkdir -p "$tail/train"
    cp -r "$data/test" "$tail/test"
    rank=0
    for class in "$data"/train/*/; do
        name=$(basename "$class")
        count=$(awk -v rank=$rank 'BEGIN { printf "%.0f", 500 * exp(-log(50) * rank / 9) }')
        mkdir "$tail/train/$name"
        ls "$class" | sort | head -n "$count" | while read -r file; do
            cp "$class$file" "$tail/train/$name/"
        done
        rank=$((rank + 1))
    done
fi

cat > "$out/recipe.toml" <<'RECIPE'
name = "imbalance"
batch_size = 32
best = "macro-f1"

[augment]
crop = "padded"
crop_padding = 0.125
horizontal_flip = 0.5

[[phase]]
name = "all"
epochs = 20
learning_rate = 1e-3
schedule = "cosine"
warm_up = 1
train = ["@all"]
RECIPE

# Prints a number of a result.json.
value() {
    sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$2/result.json"
}

run() {
    seed=$1 name=$2
    shift 2
    folder=$out/$name-$seed
    if [ ! -f "$folder/result.json" ]; then
        rm -rf "$folder"
        # shellcheck disable=SC2086 # several flags
        "$train" fit --data "$tail" --recipe "$out/recipe.toml" --image-size 16 --attention none \
            --epochs "${EPOCHS:-5}" --seed "$seed" --device cpu --out "$folder" ${FLAGS:-} "$@" > "$folder.log" 2>&1
    fi
    echo "$name seed $seed: macro F1 $(value test_macro_f1 "$folder"), accuracy $(value test_accuracy "$folder")"
}

for seed in "$@"; do
    run "$seed" plain
    run "$seed" weights --class-weights balanced
    run "$seed" sampling --sampling balanced
    run "$seed" focal --loss focal --class-weights balanced
done
