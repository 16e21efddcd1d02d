"""Compares the latency of one exported file on other runtimes and with other settings of ONNX Runtime. Prints medians.

    cargo build --release -p ferronnx-infer
    cargo build --release --manifest-path train/tests/readers/Cargo.toml
    venv/bin/pip install onnxruntime==1.31.1 openvino==2026.4.1 numpy
    ORT_DYLIB_PATH=... venv/bin/python benches/peers/network.py target/release/infer MODEL.onnx \\
        [--readers train/tests/readers/target/release/readers] [--batch 1,16] [--rounds 5] [--profile]

Each row is a process of its own with two threads, run alone; a round runs all of them once. --profile prints instead the
time that ONNX Runtime spends in each operator.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
PASSES = {1: 200, 16: 30}
SETTINGS = {
    "ONNX Runtime, its defaults": {},
    "without spinning": {"session.intra_op.allow_spinning": "0"},
    "without arena": {"arena": False},
    "without memory pattern": {"pattern": False},
    "level basic": {"level": "ORT_ENABLE_BASIC"},
    "level extended": {"level": "ORT_ENABLE_EXTENDED"},
    "denormals as zero": {"session.set_denormal_as_zero": "1"},
    "one thread": {"threads": 1},
}
OPENVINO = {"OpenVINO": {"INFERENCE_PRECISION_HINT": "f32"}, "OpenVINO, as precise as it likes": {}}


def passes(batch):
    return PASSES.get(batch, 30)


def median(run, count):
    times = []
    for _ in range(10):
        run()
    for _ in range(count):
        started = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def options(setting):
    import onnxruntime

    result = onnxruntime.SessionOptions()
    result.intra_op_num_threads = setting.get("threads", THREADS)
    result.enable_cpu_mem_arena = setting.get("arena", True)
    result.enable_mem_pattern = setting.get("pattern", True)
    level = setting.get("level", "ORT_ENABLE_ALL")
    result.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for key, value in setting.items():
        if key.startswith("session."):
            result.add_session_config_entry(key, value)
    return result


def peer(model, name, batch):
    """Measures one runtime or setting, in a process of its own."""
    import numpy

    x = numpy.random.default_rng(0).standard_normal((batch, 3, 32, 32), numpy.float32)
    if name in OPENVINO:
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", **OPENVINO[name]}
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        print(median(lambda: request.infer({"input": x}), passes(batch)))
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(model, options(SETTINGS[name]))
    print(median(lambda: session.run(["logits"], {"input": x}), passes(batch)))


def profile(model, batch):
    import numpy
    import onnxruntime

    chosen = options({"session.intra_op.allow_spinning": "0"})
    chosen.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        chosen.profile_file_prefix = str(pathlib.Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, chosen)
        x = numpy.random.default_rng(0).standard_normal((batch, 3, 32, 32), numpy.float32)
        for _ in range(passes(batch)):
            session.run(["logits"], {"input": x})
        events = json.loads(pathlib.Path(session.end_profiling()).read_text())
    nodes = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            attention = "attn" in event["name"]
            key = ("attention: " if attention else "") + event["args"]["op_name"]
            nodes[key] = nodes.get(key, 0) + event["dur"] / passes(batch) / 1e3
    total = sum(nodes.values())
    for name, ms in sorted(nodes.items(), key=lambda node: -node[1]):
        print(f"{batch:3} {name:32} {ms:8.3f} ms {100 * ms / total:6.1f} %")


def ours(infer, model, flags, batch):
    command = [infer, "bench", "--model", model, "--device", "cpu", "--threads", str(THREADS), "--batch", str(batch),
               *flags, "--format", "json"]
    return json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))["runs"][0]["latency_ms"]["p50"]


def reader(readers, runtime, model, batch):
    command = [readers, runtime, model, "time", f"{batch},3,32,32", str(passes(batch))]
    environment = os.environ | {"RTEN_NUM_THREADS": str(THREADS)}
    return json.loads(subprocess.check_output(command, env=environment))[0]


def main():
    if sys.argv[1] == "--peer":
        return peer(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser()
    parser.add_argument("infer")
    parser.add_argument("model")
    parser.add_argument("--readers")
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    batches = [int(batch) for batch in arguments.batch.split(",")]
    if arguments.profile:
        for batch in batches:
            profile(arguments.model, batch)
        return

    def other(name):
        def run(batch):
            command = [sys.executable, __file__, "--peer", arguments.model, name, str(batch)]
            return float(subprocess.check_output(command, stderr=subprocess.DEVNULL))
        return run

    flags = {"ours": [], "ours, without spinning": ["--no-spinning"], "ours, attention stock": ["--attention", "stock"]}
    rows = {name: lambda batch, flags=flags: ours(arguments.infer, arguments.model, flags, batch)
            for name, flags in flags.items()}
    rows |= {name: other(name) for name in (*SETTINGS, *OPENVINO)}
    if arguments.readers:
        for runtime in ("tract", "rten"):
            rows[runtime] = lambda batch, runtime=runtime: reader(arguments.readers, runtime, arguments.model, batch)
    for batch in batches:
        times = {name: [] for name in rows}
        for _ in range(arguments.rounds):
            for name, run in rows.items():
                times[name].append(run(batch))
        first = statistics.median(times["ours"])
        for name, values in times.items():
            middle = statistics.median(values)
            print(f"batch {batch:3} {name:32} {middle:8.2f} ms ({min(values):.2f}-{max(values):.2f})  {middle / first:5.2f}")


main()
