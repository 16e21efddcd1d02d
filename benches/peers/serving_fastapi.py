"""Python server that `serving.py` compares `infer serve` with: FastAPI, Pillow, numpy and ONNX Runtime.

    SERVING='{"model": "MODEL.onnx", "session_threads": 1, "pool": 2, "spinning": true, "batch": 0}' \
        uvicorn serving_fastapi:app --port 8001 --workers 1

`POST /v1/classify` takes an image as its body, and answers as `infer serve` does. The body is decoded on a pool of
threads, outside of the event loop. With `batch` 0, the thread that decoded an image runs the network on it. Otherwise a
batcher takes up to `batch` images that wait when the session is free, without a timer.
"""
import asyncio
import concurrent.futures
import contextlib
import io
import json
import os
import time

import fastapi
import numpy as np
import onnxruntime
from fastapi import Response
from PIL import Image

SETTINGS = json.loads(os.environ["SERVING"])
TOP_K = 5


def open_session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = SETTINGS["session_threads"]
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(SETTINGS["spinning"])))
    return onnxruntime.InferenceSession(SETTINGS["model"], options, providers=["CPUExecutionProvider"])


session = open_session()
card = json.loads(session.get_modelmeta().custom_metadata_map["ferronnx.card"])
steps = card["preprocessing"]
# (x / 255 - mean) / std in one multiplication and one addition.
scale = np.array([1 / (255 * std) for std in steps["std"]], np.float32)
shift = np.array([-mean / std for mean, std in zip(steps["mean"], steps["std"])], np.float32)
pool = concurrent.futures.ThreadPoolExecutor(SETTINGS["pool"])
waiting = asyncio.Queue()


def prepare(body):
    """Decodes an image and prepares it as the card says; returns `[C, H, W]` and the milliseconds of both steps."""
    started = time.perf_counter()
    image = Image.open(io.BytesIO(body)).convert("RGB")
    decoded = time.perf_counter()
    resize, crop = steps["resize"], steps["crop"]
    width, height = image.size
    short = min(width, height)
    image = image.resize((width * resize // short, height * resize // short), Image.BILINEAR)
    left, top = ((size - crop) // 2 for size in image.size)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32) * scale + shift
    prepared = time.perf_counter()
    return pixels.transpose(2, 0, 1), 1e3 * (decoded - started), 1e3 * (prepared - decoded)


def infer(images):
    """Runs the network; returns probabilities `[N, classes]` and the milliseconds for each image."""
    started = time.perf_counter()
    logits = session.run(["logits"], {"input": np.stack(images)})[0]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True), 1e3 * (time.perf_counter() - started) / len(images)


def answer(row, decode, preprocess, inference):
    best = np.argsort(row)[::-1][:TOP_K]
    predictions = [{"index": int(index), "label": card["labels"][index], "probability": float(row[index])}
                   for index in best]
    return {"predictions": predictions, "activation": "softmax", "provider": "CPUExecutionProvider",
            "timings_ms": {"decode": decode, "preprocess": preprocess, "inference": inference}}


def classify(body):
    image, decode, preprocess = prepare(body)
    rows, inference = infer([image])
    return answer(rows[0], decode, preprocess, inference)


async def batcher():
    loop = asyncio.get_running_loop()
    runner = concurrent.futures.ThreadPoolExecutor(1)
    while True:
        batch = [await waiting.get()]
        while len(batch) < SETTINGS["batch"] and not waiting.empty():
            batch.append(waiting.get_nowait())
        rows, inference = await loop.run_in_executor(runner, infer, [image for image, _ in batch])
        for row, (_, result) in zip(rows, batch):
            result.set_result((row, inference))


@contextlib.asynccontextmanager
async def lifespan(_):
    task = asyncio.create_task(batcher()) if SETTINGS["batch"] else None
    yield
    if task:
        task.cancel()


app = fastapi.FastAPI(lifespan=lifespan)


@app.post("/v1/classify")
async def handle(request: fastapi.Request):
    body = await request.body()
    loop = asyncio.get_running_loop()
    if not SETTINGS["batch"]:
        return Response(json.dumps(await loop.run_in_executor(pool, classify, body)), media_type="application/json")
    image, decode, preprocess = await loop.run_in_executor(pool, prepare, body)
    result = loop.create_future()
    waiting.put_nowait((image, result))
    row, inference = await result
    return Response(json.dumps(answer(row, decode, preprocess, inference)), media_type="application/json")
