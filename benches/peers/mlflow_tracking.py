"""Checks `train fit --mlflow` against a real MLflow server: parameters, metrics, states, artifacts, and failures.

    cargo build -p ferronnx-train
    venv/bin/pip install 'mlflow[auth]'
    venv/bin/python benches/peers/mlflow_tracking.py target/debug/train [--dir FOLDER]

It starts a server with SQLite in a temporary folder, with and without its basic authentication, trains on generated
images, and asks the server with MLflow's own client:

1. a run that ends: every parameter, one point an epoch for every metric, FINISHED, its report among the artifacts;
2. a run that is interrupted: KILLED, then resumed as the same run, without a point twice;
3. a server that is killed while a run trains, and started again: everything is there at the end;
4. a server that is down for a whole run: training ends well, and `--resume` sends everything later;
5. a server with users: refused without credentials, taken with them, which no file and no output has.

Prints a line for each check, and ends with 1 if one fails.
"""
import argparse
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib

PASSWORD = "a-hidden-password-1"


def png(path, colour, noise):
    """Writes an image of 8x8 pixels."""
    rows = b"".join(
        b"\0" + bytes(min(255, channel + (x * 7 + y * 13 + noise * 29) % 40) for x in range(8) for channel in colour)
        for y in range(8)
    )
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def images(folder):
    for split, numbers in [("train", range(14)), ("test", range(14, 18))]:
        for name, colour in [("blue", (0, 0, 180)), ("green", (0, 180, 0)), ("red", (180, 0, 0))]:
            (folder / split / name).mkdir(parents=True)
            for index in numbers:
                png(folder / split / name / f"{index:03}.png", colour, index)


class Server:
    """MLflow with SQLite in a folder."""

    def __init__(self, folder, *options):
        self.folder, self.options = folder, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            str(pathlib.Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(self.port),
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", f"{self.folder}/artifacts",
            "--workers", "1", *self.options,
        ]
        self.log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2)
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        sys.exit(f"the server does not start: see {self.folder}/server.log")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**kept, "NO_PROXY": "127.0.0.1", **more}


class Checks:
    failed = 0

    def that(self, holds, what, seen=""):
        print(f"{'ok    ' if holds else 'FAILED'} {what}{f': {seen}' if seen != '' else ''}", flush=True)
        self.failed += not holds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("train", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--dir", type=pathlib.Path, help="folder for everything [default: a temporary one]")
    args = parser.parse_args()
    folder = args.dir or pathlib.Path(tempfile.mkdtemp(prefix="mlflow-"))
    folder.mkdir(parents=True, exist_ok=True)
    images(folder / "colours")
    from mlflow import MlflowClient, __version__

    print(f"MLflow {__version__}")
    checks = Checks()
    server = Server(folder).start()
    client = MlflowClient(server.url)

    def command(out, epochs, *flags):
        fit = ["fit", "--data", "colours", "--out", out, "--image-size", "8", "--batch-size", "16", "--device", "cpu"]
        return [args.train, *fit, "--attention", "none", "--limit", "24", "--epochs", str(epochs), *flags]

    def fit(out, epochs, *flags, **env):
        return subprocess.run(
            command(out, epochs, *flags), cwd=folder, env=environment(**env), capture_output=True, text=True
        )

    def resume(out, *flags, **env):
        resumed = [args.train, "fit", "--resume", out, *flags]
        return subprocess.run(resumed, cwd=folder, env=environment(**env), capture_output=True, text=True)

    def run_of(out):
        return client.get_run(json.loads((folder / out / "mlflow.json").read_text())["run_id"])

    def steps(run, key):
        return [metric.step for metric in client.get_metric_history(run.info.run_id, key)]

    def epochs_of(out):
        return len((folder / out / "metrics.jsonl").read_text().splitlines())

    print("1. a run that ends")
    done = fit("ends", 3, "--mlflow", server.url, "--mlflow-experiment", "colours and more")
    checks.that(done.returncode == 0, "training ends well", done.stderr.strip())
    run = run_of("ends")
    checks.that(run.info.status == "FINISHED", "state", run.info.status)
    metrics = [json.loads(line) for line in (folder / "ends/metrics.jsonl").read_text().splitlines()]
    for key in ["loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "images_per_second"]:
        checks.that(steps(run, key) == [1, 2, 3], f"{key} has a point an epoch", steps(run, key))
    sent = [metric.value for metric in client.get_metric_history(run.info.run_id, "loss/validation")]
    checks.that(sent == [epoch["validation_loss"] for epoch in metrics], "values are those of metrics.jsonl", sent)
    result = json.loads((folder / "ends/result.json").read_text())
    checks.that(run.data.metrics["accuracy/test"] == result["test_accuracy"], "test accuracy", result["test_accuracy"])
    checks.that(run.data.params["recipe.batch_size"] == "16", f"{len(run.data.params)} parameters")
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    checks.that(files == ["config.toml", "report.html", "result.json"], "artifacts", files)
    local = client.download_artifacts(run.info.run_id, "report.html", str(folder))
    checks.that(pathlib.Path(local).read_bytes() == (folder / "ends/report.html").read_bytes(), "the report is the run's")
    name = client.get_experiment(run.info.experiment_id).name
    checks.that(name == "colours and more", "experiment", name)
    checks.that(resume("ends").stdout.count("nothing to do") == 1, "there is nothing to send twice")

    def until(process, holds, what):
        for _ in range(1200):
            if process.poll() is not None:
                sys.exit(f"training ended before {what}: {process.stderr.read()}")
            if holds():
                return
            time.sleep(0.1)
        sys.exit(f"{what} does not happen")

    def started(out, epochs):
        return subprocess.Popen(
            command(out, epochs, "--mlflow", server.url), cwd=folder, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    print("2. a run that is interrupted and resumed")
    process = started("interrupted", 12)
    until(process, lambda: (folder / "interrupted/metrics.jsonl").exists() and epochs_of("interrupted") >= 2, "an epoch")
    process.send_signal(signal.SIGINT)
    process.communicate()
    run = run_of("interrupted")
    checks.that(process.returncode == 130 and run.info.status == "KILLED", "state after Ctrl-C", run.info.status)
    done = resume("interrupted")
    again = run_of("interrupted")
    checks.that(done.returncode == 0 and again.info.status == "FINISHED", "state after --resume", again.info.status)
    checks.that(again.info.run_id == run.info.run_id, "it is the same run")
    checks.that(steps(again, "loss/train") == list(range(1, 13)), "no point twice", steps(again, "loss/train"))

    print("3. a server that is killed and started again")
    process = started("outage", 12)
    until(process, lambda: (folder / "outage/metrics.jsonl").exists() and epochs_of("outage") >= 2, "an epoch")
    server.stop()
    at = epochs_of("outage")
    until(process, lambda: epochs_of("outage") >= at + 2, "training without the server")
    server.start()
    _, errors = process.communicate()
    if "sends the rest" in errors:
        resume("outage")
    run = run_of("outage")
    checks.that(process.returncode == 0 and run.info.status == "FINISHED", f"killed after epoch {at}", run.info.status)
    checks.that(steps(run, "loss/train") == list(range(1, 13)), "every point once", steps(run, "loss/train"))
    checks.that(errors.count("warning: MLflow:") == 1, "one warning", errors.strip())

    print("4. a server that is down for a whole run")
    server.stop()
    begun = time.monotonic()
    down = fit("down", 2, "--mlflow", server.url)
    checks.that(down.returncode == 0 and "lacks epochs 1 to 2" in down.stderr, "training ends well", down.stderr.strip())
    print(f"       {time.monotonic() - begun:.1f} s in all")
    server.start()
    checks.that(resume("down").returncode == 0, "--resume sends the rest")
    run = run_of("down")
    checks.that(run.info.status == "FINISHED" and steps(run, "loss/train") == [1, 2], "state and points", steps(run, "loss/train"))
    server.stop()

    print("5. a server with users")
    with_users(folder, fit, resume, checks)
    print(f"{checks.failed} checks failed; everything is in {folder}")
    sys.exit(checks.failed > 0)


def with_users(folder, fit, resume, checks):
    """Asks a server with basic authentication, whose administrator has a password of our own."""
    users = folder / "users"
    users.mkdir()
    (users / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{users}/auth.db\nadmin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(users / "auth.ini")
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "for this test only"
    server = Server(users, "--app-name", "basic-auth").start()
    refused = fit("refused", 1, "--mlflow", server.url)
    checks.that(refused.returncode == 0 and "401" in refused.stderr, "refused without credentials", refused.stderr.strip())
    user = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD, "MLFLOW_TRACKING_URI": server.url}
    taken = fit("taken", 2, **user)
    checks.that(taken.returncode == 0 and "/#/experiments/" in taken.stdout, "taken with them", taken.stderr.strip())
    texts = [taken.stdout, taken.stderr]
    texts += [path.read_text(errors="replace") for path in (folder / "taken").rglob("*") if path.is_file()]
    checks.that(not any(PASSWORD in text for text in texts), "no output and no file has the password")
    server.stop()


if __name__ == "__main__":
    main()
