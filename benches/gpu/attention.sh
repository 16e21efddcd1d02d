#!/bin/sh
# Measures attention, the whole network and copies on a GPU, for the tables and the plot of `cargo xtask bench --from`.
#
#   benches/gpu/attention.sh OUT
#
# Needs the programs of `cargo bench -p benches --no-run` and of `cargo build --release -p benches`, but no Rust. About two
# minutes on an H100. Criterion's results are OUT/criterion; `cargo xtask bench --from OUT/criterion` reads them where the
# project is built. The share of attention in the network is appended to OUT/attention-DATE.md. Variables:
#
#   ATTENTION, NETWORK, SHARE  commands that are the programs (attention, network, attention_share)
#   DEVICE    device (cuda)
#   SECONDS_EACH  time to measure each case for (0.2)
#   LIMIT     seconds after which a program is ended (120)
set -u
out=$1
limit=${LIMIT:-120} each=${SECONDS_EACH:-0.2}
mkdir -p "$out"
export BENCH_DEVICE="${DEVICE:-cuda}" CRITERION_HOME="$out/criterion"
result=$out/attention-$(date +%F).md

: > "$out/bench.log"
for program in "${ATTENTION:-attention}" "${NETWORK:-network}"; do
    # shellcheck disable=SC2086
    timeout "$limit" $program --bench --noplot --warm-up-time 0.1 --measurement-time "$each" --sample-size 10 \
        --nresamples 2000 >> "$out/bench.log" 2>&1 || { echo "failed: $program"; tail -n 5 "$out/bench.log"; }
done
# Only the medians are read, and the rest is large.
find "$CRITERION_HOME" -type f ! -path '*/new/estimates.json' -exec rm {} +
{
    echo
    echo "## $(date -u +%FT%TZ)"
    echo
    [ "$BENCH_DEVICE" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
    timeout "$limit" ${SHARE:-attention_share} 200
} >> "$result"
cat "$result"
