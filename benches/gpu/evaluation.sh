#!/bin/sh
# Times `infer evaluate` of many images on a GPU against the network alone: start, steady state, and their share.
#
#   benches/gpu/evaluation.sh MODEL DATA OUT
#
# DATA has class folders of labelled images, such as the 10,000 of CIFAR-10's test set. They are linked COPIES times, for
# 100,000 images. Then the server answers a request on the device. Appends to OUT/evaluation-DATE.md; logs are in OUT too.
# About two minutes on an H100. Variables:
#
#   INFER     the program, with words before it if it needs them (infer)
#   PYTHON    Python (python3)
#   DEVICE    device (cuda; cpu tries the script itself)
#   COPIES    links of each image (10), BATCH images of a pass (256), SECONDS_EACH of the network alone (2)
#   LIMIT     seconds after which a step is ended (120)
set -u
[ $# = 3 ] || { sed -n 's/^# \{0,1\}//; 2,15p' "$0" >&2; exit 2; }
model=$1 data=$(cd "$2" && pwd) out=$3
infer=${INFER:-infer} python=${PYTHON:-python3} device=${DEVICE:-cuda} copies=${COPIES:-10} batch=${BATCH:-256}
seconds=${SECONDS_EACH:-2} limit=${LIMIT:-120}
mkdir -p "$out"
result=$out/evaluation-$(date -u +%F).md

"$python" - "$data" "$out/many" "$copies" << 'END'
import sys
from pathlib import Path

data, many, copies = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for folder in sorted(path for path in data.iterdir() if path.is_dir()):
    target = many / folder.name
    target.mkdir(parents=True)
    for image in sorted(folder.iterdir()):
        for copy in range(copies):
            (target / f"{copy}-{image.name}").symlink_to(image)
END

# shellcheck disable=SC2086
timeout "$limit" $infer bench --model "$model" --device "$device" --batch "$batch" --seconds "$seconds" --format json \
    > "$out/network.json" 2> "$out/network.log" || tail -n 3 "$out/network.log"
for part in some many; do
    folder=$out/many
    [ $part = many ] || folder=$data
    # shellcheck disable=SC2086
    timeout "$limit" $infer evaluate --model "$model" --data "$folder" --device "$device" --batch "$batch" --format json \
        > "$out/$part.json" 2> "$out/$part.log" || tail -n 3 "$out/$part.log"
done
rm -r "$out/many"

{
    echo
    echo "## $(date -u +%FT%TZ), $($infer --version), device $device, $(getconf _NPROCESSORS_ONLN) cores"
    echo
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || :
    echo
} >> "$result"
"$python" - "$out" "$batch" >> "$result" << 'END'
import json
import sys
from pathlib import Path

out, batch = Path(sys.argv[1]), int(sys.argv[2])


def read(name):
    return json.loads((out / f"{name}.json").read_text())


(network,) = (row for row in read("network")["runs"] if row["batch"] == batch)
alone = 1000 * batch / network["latency_ms"]["p50"]
print(f"The network alone: {alone:.0f} images/s at batch {batch}.\n")
print("| images | accuracy | start, s | images/s | after the start | share of the network's |")
print("|---|---|---|---|---|---|")
for part in ["some", "many"]:
    found = read(part)
    steady = found["steady_images_per_second"]
    start = ", ".join(f"{part} {seconds:.2f}" for part, seconds in found["start_seconds"].items())
    print(f"| {found['images']} | {found['accuracy']:.4f} | {start} | {found['images_per_second']:.0f} |"
          f" {steady:.0f} | {steady / alone:.2f} |")
END

# The server's first answers, and what it says of the device.
# shellcheck disable=SC2086
timeout "$limit" $infer serve --model "$model" --device "$device" --listen 127.0.0.1:8901 > "$out/serve.log" 2>&1 &
server=$!
"$python" - "$data" >> "$result" << 'END' || tail -n 5 "$out/serve.log" >> "$result"
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

photo = next(path for path in sorted(Path(sys.argv[1]).rglob("*")) if path.is_file()).read_bytes()
for _ in range(300):
    try:
        urllib.request.urlopen("http://127.0.0.1:8901/v2/health/ready").read()
        break
    except (urllib.error.URLError, ConnectionError):
        time.sleep(0.2)
times = []
for _ in range(200):
    start = time.perf_counter()
    answer = urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8901/v1/classify", photo)).read()
    times.append(1000 * (time.perf_counter() - start))
print(f"\n`infer serve`: {json.loads(answer)[0]['predictions'][0]}; {times[0]:.1f} ms the first answer, "
      f"{sorted(times)[100]:.2f} ms the median of 200")
END
kill "$server" 2> /dev/null
wait "$server" 2> /dev/null
cat "$result"
