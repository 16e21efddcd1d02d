"""Shows bulk inference with `infer classify --out` on an S3 server (moto) behind a proxy that is slow and fails.

    cargo build --release -p ferronnx-infer --features cloud
    python3 -m venv venv && venv/bin/pip install 'moto[s3,server]==5.2.5' boto3 pillow
    ORT_DYLIB_PATH=... venv/bin/python benches/peers/bulk.py target/release/infer [--model MODEL.onnx] \
        [--images 50000] [--shards 50] [--only kill,memory,speed,objects] [--json OUT.json]

    kill     --images images in --shards tar files; four jobs, one of them killed by SIGKILL in the middle and started
             again. The proxy answers 2 % of the requests with 503 SlowDown, breaks 2 % of the bodies in the middle, resets
             1 % of the connections, and answers 10 % of the completions of an upload with an error inside a 200. Every image
             has to have one row: by `infer classify --check`, and by reading the parts here.
    memory   peak memory of one job over a tenth of the images and over all of them.
    speed    images per second of one job with one thread, from tar files on disk and from the store, in turns.
    objects  one object an image at 20 ms of latency: `infer` against one request after the other. The proxy answers from
             its own memory, for moto takes longer than 20 ms for so many requests. Processor time an image of `infer` and
             of the proxy says which of them is the limit.

moto and the proxy run on the same cores.
"""
import argparse
import asyncio
import collections
import gzip
import io
import json
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import socket
import statistics
import subprocess
import tarfile
import tempfile
import time
import urllib.request

import boto3
from PIL import Image

HERE = pathlib.Path(__file__).parent
BUCKET = "photos"
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class Proxy:
    """HTTP proxy in front of one server, with latency and faults; counts the faults."""

    def __init__(self, upstream, latency=0.0, faults=False, cached=False):
        self.port, self.counts = free_port(), multiprocessing.Manager().dict()
        arguments = (self.port, upstream, latency, faults, cached, self.counts)
        self.process = multiprocessing.Process(target=lambda: asyncio.run(serve(*arguments)), daemon=True)
        self.process.start()
        wait_for(self.port)

    def seconds(self):
        """Processor time so far."""
        return processor_seconds(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.join()


async def serve(port, upstream, latency, faults, cached, counts):
    draw, cache = random.Random(0), {}

    def count(fault):
        counts[fault] = counts.get(fault, 0) + 1

    async def forward(head, body):
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream)
        lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join(lines + [b"connection: close"]) + b"\r\n\r\n" + body)
        answer = await reader.read(-1)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body

    async def handle(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
                await asyncio.sleep(latency)
                roll = draw.random() if faults else 1.0
                if roll < 0.02:
                    count("503 SlowDown")
                    writer.write(answer(b"HTTP/1.1 503 Slow Down", SLOW_DOWN))
                    continue
                if faults and method == b"POST" and b"uploadId" in target and draw.random() < 0.1:
                    count("error inside a 200")
                    writer.write(answer(b"HTTP/1.1 200 OK", INTERNAL))
                    continue
                key = (method, target, fields.get(b"range"))
                if key not in cache or not cached:
                    found = await forward(head, body)
                    if cached and method in (b"GET", b"HEAD") and b"list-type" not in target:
                        cache[key] = found
                else:
                    found = cache[key]
                lines = [line for line in found[0].split(b"\r\n") if not line.lower().startswith((b"connection:", b"server:"))]
                whole = b"\r\n".join(lines) + b"\r\n\r\n" + found[1]
                if roll < 0.04 and method == b"GET" and len(found[1]) > 1000:
                    count("broken body")
                    writer.write(whole[: len(whole) - len(found[1]) // 2])
                    await writer.drain()
                    return
                if roll < 0.05:
                    count("reset connection")
                    writer.transport.abort()
                    return
                writer.write(whole)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(status, body):
        return status + b"\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def ended_seconds():
    """Processor time of all processes that were started here and have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def processor_seconds(pid):
    """Processor time of a process so far, in user mode and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on {port}")


def pictures(count=500):
    """PNG files of 32x32 pixels, some kilobytes each, all different."""
    draw = random.Random(1)
    found = []
    for _ in range(count):
        out = io.BytesIO()
        Image.frombytes("RGB", (32, 32), draw.randbytes(32 * 32 * 3)).save(out, "PNG")
        found.append(out.getvalue())
    return found


def tar(images, first, count):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(first, first + count):
            entry = tarfile.TarInfo(f"{index:07}.png")
            image = images[index % len(images)]
            entry.size = len(image)
            archive.addfile(entry, io.BytesIO(image))
    return out.getvalue()


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.upstream = free_port()
        command = [pathlib.Path(os.sys.executable).parent / "moto_server", "-p", str(self.upstream)]
        self.moto = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.upstream)
        self.images = pictures()
        self.s3 = boto3.client("s3", **self.credentials(), endpoint_url=f"http://127.0.0.1:{self.upstream}")
        self.s3.create_bucket(Bucket=BUCKET)
        self.each = options.images // options.shards
        for shard in range(options.shards):
            content = tar(self.images, shard * self.each, self.each)
            self.s3.put_object(Bucket=BUCKET, Key=f"shards/x-{shard:04}.tar", Body=content)
            path = self.folder / f"shards/x-{shard:04}.tar"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    @staticmethod
    def credentials():
        return {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}

    def command(self, inputs, out, *flags):
        return [self.options.infer, "classify", *inputs, "--model", self.options.model, "--out", out, "--device", "cpu", *flags]

    def environment(self, port):
        return os.environ | {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "OMP_WAIT_POLICY": "passive",
        }

    def start(self, command, port):
        return subprocess.Popen(command, env=self.environment(port), stderr=subprocess.PIPE, text=True, cwd=self.folder)

    def finish(self, process):
        _, said = process.communicate()
        assert process.returncode == 0, f"exit code {process.returncode}: {said}"
        return said

    def parts(self, out):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{out}/part-", Delimiter="/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def check(self, inputs, out, port):
        command = [self.options.infer, "classify", "--check", out, *inputs, "--format", "json"]
        found = subprocess.run(command, env=self.environment(port), cwd=self.folder, capture_output=True, text=True)
        assert found.stdout, found.stderr
        return found.returncode, json.loads(found.stdout)

    def kill(self):
        proxy = Proxy(self.upstream, latency=0.002, faults=True)
        inputs, out = [f"s3://{BUCKET}/shards/x-{{0000..{self.options.shards - 1:04}}}.tar"], f"s3://{BUCKET}/labels"
        begun = time.time()
        job = lambda index: self.start(self.command(inputs, out, "--threads", "1", "--shard", f"{index}/4"), proxy.port)
        jobs = [job(index) for index in range(4)]
        own = lambda: [key for key in self.parts("labels") if int(key[-11:-6]) % 4 == 1]
        while len(own()) < 2:
            assert jobs[1].poll() is None, f"it ended before it could be killed: {jobs[1].communicate()}"
            time.sleep(0.05)
        jobs[1].send_signal(signal.SIGKILL)
        jobs[1].communicate()
        killed = len(own())
        code, before = self.check(inputs, out, proxy.port)
        assert code == 1 and not before["complete"], before
        jobs[1] = job(1)
        for process in jobs:
            self.finish(process)
        seconds = time.time() - begun
        code, report = self.check(inputs, out, proxy.port)
        names = collections.Counter()
        for key in self.parts("labels"):
            for line in self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().splitlines():
                row = json.loads(line)
                assert "predictions" in row, row
                names[row["path"]] += 1
        expected = {
            f"s3://{BUCKET}/shards/x-{index // self.each:04}.tar#{index:07}.png"
            for index in range(self.options.shards * self.each)
        }
        proxy.stop()
        return {
            "images": len(expected), "seconds": round(seconds, 1), "parts of the killed job when it was killed": killed,
            "faults": dict(proxy.counts), "check says complete": report["complete"] and code == 0,
            "missing": len(expected - names.keys()), "unexpected": len(names.keys() - expected),
            "double": sum(count > 1 for count in names.values()), "results by check": report["results"],
        }

    def peak(self, command, port):
        """Peak memory of a process, in MB."""
        process = self.start(command, port)
        peak = 0
        while process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                peak = max([peak] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")])
            except (OSError, IndexError):
                pass
            time.sleep(0.02)
        self.finish(process)
        return peak / 1024

    def memory(self):
        shards = self.options.shards
        result = {}
        for count in (max(shards // 10, 1), shards):
            inputs = [f"s3://{BUCKET}/shards/x-{{0000..{count - 1:04}}}.tar"]
            peak = self.peak(self.command(inputs, f"s3://{BUCKET}/memory-{count}"), self.upstream)
            result[f"{count * self.each} images in tar files, MB"] = round(peak, 1)
        for count in (self.options.images // 10, self.options.images):
            folder = self.folder / f"files-{count}"
            for index in range(count):
                path = folder / f"{index // 1000:03}/{index:07}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.images[index % len(self.images)])
            peak = self.peak(self.command([str(folder)], str(self.folder / f"memory-{count}")), self.upstream)
            result[f"{count} images in files, MB"] = round(peak, 1)
        return result

    def speed(self):
        rates = collections.defaultdict(list)
        count = max(self.options.shards // 5, 1)
        for turn in range(self.options.rounds):
            for kind, inputs in [
                ("disk", [f"shards/x-{{0000..{count - 1:04}}}.tar"]),
                ("store", [f"s3://{BUCKET}/shards/x-{{0000..{count - 1:04}}}.tar"]),
            ]:
                command = self.command(inputs, str(self.folder / f"speed-{kind}-{turn}"), "--threads", "1")
                begun = time.time()
                self.finish(self.start(command, self.upstream))
                rates[kind].append(count * self.each / (time.time() - begun))
        median = {kind: round(statistics.median(values), 1) for kind, values in rates.items()}
        ratios = [store / disk for disk, store in zip(rates["disk"], rates["store"])]
        return {"images": count * self.each, "images/s": median, "store/disk": round(statistics.median(ratios), 3)}

    def objects(self, count=5000, sample=150):
        for index in range(count):
            key = f"objects/{index // 1000:03}/{index:07}.png"
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=self.images[index % len(self.images)])
        proxy = Proxy(self.upstream, latency=0.02, cached=True)
        inputs = [f"s3://{BUCKET}/objects/"]
        # The first run fills the proxy's memory.
        for turn in range(2):
            command = self.command(inputs, str(self.folder / f"objects-{turn}"))
            begun, ours, theirs = time.time(), ended_seconds(), proxy.seconds()
            self.finish(self.start(command, proxy.port))
            rate = count / (time.time() - begun)
            ours, theirs = ended_seconds() - ours, proxy.seconds() - theirs
        client = boto3.client("s3", **self.credentials(), endpoint_url=f"http://127.0.0.1:{proxy.port}")
        get = lambda index: client.get_object(Bucket=BUCKET, Key=f"objects/000/{index:07}.png")["Body"].read()
        [get(index) for index in range(sample)]
        begun = time.time()
        [get(index) for index in range(sample)]
        sequential = sample / (time.time() - begun)
        proxy.stop()
        return {
            "images/s": round(rate, 1), "one after the other": round(sequential, 1), "times": round(rate / sequential, 1),
            "processor ms an image": {"infer": round(1e3 * ours / count, 3), "proxy": round(1e3 * theirs / count, 3)},
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("infer", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--model", help="default: the small one of infer/tests/earlier")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="kill,memory,speed,objects")
    parser.add_argument("--json")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(options.model or f"{folder}/model.onnx").resolve()
        if not options.model:
            model.write_bytes(gzip.decompress((HERE / "../../infer/tests/earlier/fp32.onnx.gz").read_bytes()))
        options.model = str(model)
        bench = Bench(options, folder)
        try:
            for name in options.only.split(","):
                results[name] = getattr(bench, name)()
                print(json.dumps({name: results[name]}, indent=2), flush=True)
        finally:
            bench.moto.terminate()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
