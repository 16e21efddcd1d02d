"""Compares `infer serve` with a FastAPI server on ONNX Runtime under the same load. Prints tables in Markdown.

    cargo build --release -p ferronnx-infer
    cargo install oha
    venv/bin/pip install onnxruntime==1.31.1 pillow==13.0.0 numpy fastapi==0.165.0 'uvicorn[standard]==0.54.0'
    ORT_DYLIB_PATH=... venv/bin/python benches/peers/serving.py target/release/infer MODEL.onnx PHOTO \
        [--sizes 32x32,500x375,4000x3000] [--clients 32] [--seconds 10] [--rounds 3] [--batch 8] [--json OUT.json]

PHOTO is enlarged to each size, with some noise, and sent as a JPEG. First the start is timed. Per size:

1. The answers of both servers are compared: the same labels, and probabilities that differ by at most --tolerance.
2. Each setting of the FastAPI server (workers, threads, with and without a batcher) is tried; the one with the most
   requests per second goes on.
3. Rounds, in turns: one client and --clients clients against each server, and `infer bench --images` for what the
   library does in process. Load comes from `oha` on the same cores.

"in process" is decoding + preprocessing + a pass of one image, each a median of `infer bench`. "beyond its steps" is the
median of a request's time beyond what the server reports for the same steps, which depends less on a noisy machine. The
library's rate is `end_to_end_ips`: it decodes from files while the network runs with batches of --batch, on the same
cores.
"""
import argparse
import contextlib
import http.client
import io
import itertools
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
NOISE = 8  # standard deviation, of 255
OURS, THEIRS = "infer serve", "FastAPI"
# Workers, threads of each session, threads for decoding, spinning of idle threads, largest batch (0: no batcher).
SETTINGS = [
    {"workers": workers, "session_threads": threads, "pool": pool, "spinning": spinning, "batch": batch}
    for workers, threads, pool, spinning, batch in [
        (1, 1, 2, False, 0),
        (1, 2, 1, True, 0),
        (1, 2, 2, False, 0),
        (2, 1, 1, False, 0),
        (2, 1, 2, False, 0),
        (2, 2, 1, False, 0),
        (1, 2, 2, False, 32),
        (1, 2, 2, True, 32),
        (2, 1, 1, False, 32),
    ]
]


def enlarged(photo, size, kind="JPEG"):
    """Encodes the photo in another size, with noise: enlarged pixels alone would be easier to decode than a photo."""
    import numpy as np
    from PIL import Image

    width, height = map(int, size.split("x"))
    pixels = np.asarray(Image.open(photo).convert("RGB").resize((width, height), Image.BICUBIC), np.float32)
    noisy = pixels + np.random.default_rng(1).normal(0, NOISE, pixels.shape)
    body = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(body, kind, quality=90)
    return body.getvalue()


def post(port, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/classify", body, {"content-type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=60) as response:
        found = json.load(response)
    return found[0] if isinstance(found, list) else found


@contextlib.contextmanager
def running(command, port, body, **how):
    """Starts a server, waits until it answers an image, and ends it."""
    log = tempfile.TemporaryFile()
    server = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **how)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                post(port, body)
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{command[0]} does not answer:\n{log.read().decode()}")
                time.sleep(0.05)
        yield server
    finally:
        server.terminate()
        server.wait(60)


def our_command(options):
    return [options.infer, "serve", options.model, "--listen", f"127.0.0.1:{options.port}",
            "--max-batch", options.batch, *options.flags.split()]


def ours(options, body):
    return running(our_command(options), options.port, body)


def theirs(options, setting, body):
    port = options.port + 1
    command = [sys.executable, "-m", "uvicorn", "serving_fastapi:app", "--port", port, "--no-access-log",
               "--log-level", "warning", "--workers", setting["workers"]]
    settings = json.dumps({"model": str(pathlib.Path(options.model).resolve()), **setting})
    return running(command, port, body, cwd=HERE, env={**os.environ, "SERVING": settings})


def load(options, port, body, clients, seconds):
    """Sends requests with `oha`, all of which have to be answered; returns their rate, and percentiles in ms."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(body)
        file.flush()
        done = subprocess.run(
            [options.oha, "--no-tui", "--output-format", "json", "-c", str(clients), "-z", f"{seconds}s", "-w",
             "-m", "POST", "-T", "image/jpeg", "-D", file.name, f"http://127.0.0.1:{port}/v1/classify"],
            check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    statuses, errors = found["statusCodeDistribution"], found["errorDistribution"]
    assert set(statuses) == {"200"} and not errors, f"not all answered: {statuses}, {errors}"
    percentiles = found["latencyPercentiles"]
    return {"rate": statuses["200"] / found["summary"]["total"], "p50": 1e3 * percentiles["p50"],
            "p99": 1e3 * percentiles["p99"], "requests": statuses["200"]}


def overhead(port, body, seconds):
    """Median ms of a request to `infer serve` beyond the steps that it reports: HTTP, threads, queue and client."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        connection.request("POST", "/v1/classify", body)
        answer = connection.getresponse().read()
        took = 1e3 * (time.perf_counter() - started)
        found.append(took - sum(json.loads(answer)[0]["timings_ms"].values()))
    return statistics.median(found)


def bench(options, body, seconds):
    """Measures the library in process; returns the ms of one image alone, and images per second in batches."""
    with tempfile.TemporaryDirectory() as folder:
        for index in range(max(4 * options.batch, 8)):
            (pathlib.Path(folder) / f"{index:03}.jpg").write_bytes(body)
        batches = ",".join(str(batch) for batch in sorted({1, options.batch}))
        done = subprocess.run(
            [options.infer, "bench", "--model", options.model, "--images", folder, "--batch", batches,
             "--seconds", str(seconds), "--format", "json"], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    one = next(run for run in found["runs"] if run["batch"] == 1)
    images = found["pictures"]
    steps = images["decode_ms"]["p50"] + images["preprocess_ms"]["p50"]
    return {"one": steps + one["latency_ms"]["p50"], "rate": images["end_to_end_ips"]}


def compare_answers(options, body):
    with ours(options, body), theirs(options, SETTINGS[0], body):
        mine, other = ([(guess["label"], guess["probability"]) for guess in post(port, body)["predictions"]]
                       for port in (options.port, options.port + 1))
    difference = max(abs(one - two) for (_, one), (_, two) in zip(mine, other))
    assert [label for label, _ in mine] == [label for label, _ in other], f"other labels: {mine}, {other}"
    assert difference <= options.tolerance, f"probabilities differ by {difference}"
    return difference


def best_setting(options, body):
    tried = []
    for setting in SETTINGS:
        with theirs(options, setting, body):
            load(options, options.port + 1, body, options.clients, 1)
            tried.append((load(options, options.port + 1, body, options.clients, options.try_seconds), setting))
    for found, setting in tried:
        print(f"    {found['rate']:8.1f}/s  p99 {found['p99']:8.1f} ms  {setting}", file=sys.stderr)
    return max(tried, key=lambda pair: pair[0]["rate"])[1]


def seconds_to_ready(command, url):
    """Seconds from the start of a process until it answers `url` with 200."""
    started = time.perf_counter()
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() < started + 60:
            try:
                urllib.request.urlopen(url, timeout=10).close()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.002)
        sys.exit(f"{command[0]} does not get ready")
    finally:
        server.terminate()
        server.wait(60)


def measure(options, size):
    body = enlarged(options.photo, size)
    print(f"{size}: {len(body)} bytes", file=sys.stderr)
    difference = compare_answers(options, body)
    setting = best_setting(options, body)
    rounds = []
    for _ in range(options.rounds):
        found = {"library": bench(options, body, options.seconds / 2)}
        for name, server, port in [(OURS, ours(options, body), options.port),
                                   (THEIRS, theirs(options, setting, body), options.port + 1)]:
            with server:
                load(options, port, body, options.clients, 1)
                found[name] = {clients: load(options, port, body, clients, options.seconds)
                               for clients in (1, options.clients)}
                if name == OURS:
                    found["overhead"] = overhead(port, body, options.seconds / 2)
        rounds.append(found)
        print(f"    {found}", file=sys.stderr)
    return {"size": size, "bytes": len(body), "difference": difference, "setting": setting, "rounds": rounds}


def median(rounds, *path):
    values = []
    for value in rounds:
        for key in path:
            value = value[key]
        values.append(value)
    return statistics.median(values)


def tables(options, results):
    many = options.clients
    yield "| image | clients | server | requests/s | p50, ms | p99, ms |\n|---|---|---|---|---|---|"
    for result, clients, name in itertools.product(results, (1, many), (OURS, THEIRS)):
        rate, p50, p99 = (median(result["rounds"], name, clients, key) for key in ("rate", "p50", "p99"))
        yield f"| {result['size']} | {clients} | {name} | {rate:.1f} | {p50:.2f} | {p99:.2f} |"
    yield ("\n| image | requests/s against FastAPI | p99 against FastAPI | p50 above in process, ms | "
           "beyond its steps, ms | rate against the library's |\n|---|---|---|---|---|---|")
    for result in results:
        def of(*path):
            return median(result["rounds"], *path)
        library = of("library", "rate")
        yield (f"| {result['size']} | {of(OURS, many, 'rate') / of(THEIRS, many, 'rate'):.2f} times | "
               f"{of(OURS, many, 'p99') / of(THEIRS, many, 'p99'):.2f} times | "
               f"{of(OURS, 1, 'p50') - of('library', 'one'):+.2f} (in process {of('library', 'one'):.2f}) | "
               f"{of('overhead'):.2f} | "
               f"{100 * of(OURS, many, 'rate') / library:.1f} % of {library:.1f} images/s |")
    yield "\n| image | largest difference of a probability | best setting of FastAPI |\n|---|---|---|"
    for result in results:
        setting = ", ".join(f"{key} {value}" for key, value in result["setting"].items())
        yield f"| {result['size']} | {result['difference']:.1e} | {setting} |"


def versions(options):
    import fastapi
    import numpy
    import onnxruntime
    import PIL
    import uvicorn

    said = [subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
            for program in (options.infer, options.oha)]
    return (f"{said[0]}; {said[1]}; Python {platform.python_version()}, FastAPI {fastapi.__version__}, uvicorn "
            f"{uvicorn.__version__}, ONNX Runtime {onnxruntime.__version__}, Pillow {PIL.__version__}, numpy "
            f"{numpy.__version__}. Medians of {options.rounds} rounds of {options.seconds:g} s; "
            f"--max-batch {options.batch} {options.flags}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("infer")
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("--oha", default="oha")
    parser.add_argument("--sizes", default="32x32,500x375,1600x1200,4000x3000")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--try-seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tolerance", type=float, default=2e-3)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--flags", default="", help="further flags of `infer serve`")
    parser.add_argument("--json", help="file for all measurements")
    options = parser.parse_args()
    options.infer = str(pathlib.Path(options.infer).resolve())
    ready = f"http://127.0.0.1:{options.port}/v2/health/ready"
    starts = [seconds_to_ready(our_command(options), ready) for _ in range(options.starts)]
    results = [measure(options, size) for size in options.sizes.split(",")]
    print(versions(options))
    if starts:
        print(f"Ready after {statistics.median(starts):.2f} s, median of {len(starts)} starts ({min(starts):.2f} to "
              f"{max(starts):.2f}).")
    print()
    print("\n".join(tables(options, results)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
