"""Loads `infer serve` with twice what it can do, with images of mixed sizes, and checks that it stays bounded.

    venv/bin/pip install pillow==13.0.0 numpy
    ORT_DYLIB_PATH=... venv/bin/python benches/peers/serving_soak.py target/release/infer MODEL.onnx PHOTO \
        [--minutes 5] [--queue 64] [--times 2] [--flags '--sessions 1'] [--json OUT.json]

PHOTO is enlarged to sizes from 32x32 to 12 megapixels, with some noise, as JPEG and PNG. First a fixed number of
clients measures the capacity; then requests come at random (Poisson) times, --times as many as that, whatever the
answers are. Each request uses an idle connection, or a new one. Checked, with exit code 1 if one does not hold:

- every request is answered, with 200 or 429, and each 429 has `Retry-After`;
- resident memory in the last minute is within 5 % of the first;
- p99 of the accepted is at most twice queue length / throughput;
- afterwards, one request alone is answered with what was answered before.
"""
import argparse
import asyncio
import collections
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

from serving import enlarged

# Size, format and share of the requests.
MIX = [("32x32", "JPEG", 30), ("32x32", "PNG", 15), ("500x375", "JPEG", 25), ("500x375", "PNG", 10),
       ("1600x1200", "JPEG", 10), ("1600x1200", "PNG", 4), ("4000x3000", "JPEG", 4), ("4000x3000", "PNG", 2)]


def requests(photo):
    """Builds the requests, each as the bytes to send, with its weight."""
    for size, kind, weight in MIX:
        body = enlarged(photo, size, kind)
        head = (f"POST /v1/classify HTTP/1.1\r\nhost: soak\r\ncontent-type: image/{kind.lower()}\r\n"
                f"content-length: {len(body)}\r\n\r\n")
        yield head.encode() + body, weight


class Client:
    """Connections to the server, of which idle ones are used again."""

    def __init__(self, port):
        self.port, self.idle, self.opened = port, [], 0

    async def send(self, request):
        """Sends a request; returns its status, headers and body."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                break
            # The server ended it: it was idle for long.
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            self.opened += 1
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        # A connection whose request was not read to its end cannot carry another one.
        if headers.get("connection") == "close" or writer.transport.get_write_buffer_size():
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head[0].split()[1]), headers, body


class Tally:
    """Answers by status, with the latencies of the accepted ones."""

    def __init__(self):
        self.statuses, self.latencies, self.without_retry_after = collections.Counter(), [], 0

    async def count(self, client, request):
        started = time.perf_counter()
        try:
            status, headers, _ = await asyncio.wait_for(client.send(request), 120)
        except Exception as error:
            status, headers = f"{type(error).__name__}: {error}", {}
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.perf_counter() - started)
        elif status == 429 and "retry-after" not in headers:
            self.without_retry_after += 1


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


async def capacity(port, mix, clients, seconds):
    """Answers per second to a fixed number of clients that wait for each answer."""
    client, tally, end = Client(port), Tally(), time.monotonic() + seconds

    async def one():
        while time.monotonic() < end:
            await tally.count(client, draw(mix))

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(clients)))
    assert set(tally.statuses) == {200}, f"not all answered: {tally.statuses}"
    return tally.statuses[200] / (time.monotonic() - started)


def draw(mix):
    return random.choices([request for request, _ in mix], [weight for _, weight in mix])[0]


async def soak(port, pid, mix, rate, minutes):
    client, tally, memory, pending = Client(port), Tally(), [[] for _ in range(minutes)], set()
    started = time.monotonic()

    async def watch():
        while (minute := int((time.monotonic() - started) // 60)) < minutes:
            memory[minute].append(resident(pid))
            await asyncio.sleep(0.5)

    watcher, due = asyncio.create_task(watch()), started
    while due < started + 60 * minutes:
        due += random.expovariate(rate)
        await asyncio.sleep(max(0, due - time.monotonic()))
        task = asyncio.create_task(tally.count(client, draw(mix)))
        pending.add(task)
        task.add_done_callback(pending.discard)
    late = time.monotonic() - due
    await asyncio.gather(watcher, *pending)
    return tally, [statistics.mean(values) for values in memory], client.opened, late


async def ready(port, request):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return await Client(port).send(request)
        except OSError:
            await asyncio.sleep(0.05)
    sys.exit("the server does not answer")


def answer(response):
    """Labels and probabilities of an answer, without its times."""
    assert response[0] == 200, response
    found = json.loads(response[2])
    found = found[0] if isinstance(found, list) else found
    return [(guess["label"], round(guess["probability"], 4)) for guess in found["predictions"]]


async def run(options, server):
    mix = list(requests(options.photo))
    before = answer(await ready(options.port, mix[0][0]))
    able = await capacity(options.port, mix, options.queue // 2, options.seconds)
    print(f"capacity {able:.1f} requests/s; sending {options.times * able:.1f}", file=sys.stderr)
    tally, memory, opened, late = await soak(options.port, server.pid, mix, options.times * able, options.minutes)
    after = answer(await Client(options.port).send(mix[0][0]))
    accepted = tally.statuses[200] / (60 * options.minutes)
    p99 = statistics.quantiles(tally.latencies, n=100)[98]
    bound = 2 * options.queue / accepted
    growth = memory[-1] / memory[0] - 1
    found = {
        "capacity": able, "sent_per_second": sum(tally.statuses.values()) / (60 * options.minutes),
        "statuses": tally.statuses, "accepted_per_second": accepted, "p50_s": statistics.median(tally.latencies),
        "p99_s": p99, "p99_bound_s": bound, "resident_mb_by_minute": memory, "growth": growth, "connections": opened,
        "client_late_s": late}
    checks = {
        "every request answered with 200 or 429": set(tally.statuses) <= {200, 429},
        "every 429 has Retry-After": tally.without_retry_after == 0,
        "memory within 5 %": abs(growth) <= 0.05,
        "p99 within twice queue / throughput": p99 <= bound,
        "the same answer afterwards": before == after,
        "still overloaded to the end": tally.statuses[429] > 0 and late < 1,
    }
    return found, checks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("infer")
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="for measuring the capacity")
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--times", type=float, default=2)
    parser.add_argument("--port", type=int, default=8110)
    parser.add_argument("--flags", default="", help="further flags of `infer serve`")
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    random.seed(1)
    command = [options.infer, "serve", options.model, "--listen", f"127.0.0.1:{options.port}",
               "--queue", str(options.queue), *options.flags.split()]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found, checks = asyncio.run(run(options, server))
    finally:
        server.terminate()
        code = server.wait(60)
    checks["exit code 0 after SIGTERM"] = code == 0
    print(json.dumps(found, indent=1))
    for what, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1))
    sys.exit(not all(checks.values()))


if __name__ == "__main__":
    main()
