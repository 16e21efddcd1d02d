"""Conformance of `infer serve` with the Open Inference Protocol, shown with NVIDIA's client over HTTP and gRPC.

    pip install --target packages -r requirements.txt
    PYTHONPATH=packages python3 conformance.py ../../../target/debug/infer

Tensors are compared with ONNX Runtime in Python, images with `infer classify`. `cargo xtask test` runs it.
"""
import base64
import concurrent.futures
import gzip
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

import grpc
import numpy as np
import onnxruntime
import tritonclient.grpc
import tritonclient.grpc.service_pb2 as messages
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

TESTS = pathlib.Path(__file__).resolve().parent.parent
UNPACKED = tempfile.TemporaryDirectory()
FILES = pathlib.Path(UNPACKED.name)
for form in ["fp32", "int8", "uint8-attention"]:
    (FILES / f"{form}.onnx").write_bytes(gzip.decompress((TESTS / f"earlier/{form}.onnx.gz").read_bytes()))
with tarfile.open(TESTS / "foreign/files.tar.gz") as archive:
    archive.extractall(FILES / "foreign")

MODELS = {"net": FILES / "fp32.onnx", "net:2": FILES / "int8.onnx", "bytes": FILES / "uint8-attention.onnx"}
FOREIGN = {"half": FILES / "foreign/fp16.onnx", "double": FILES / "foreign/double.onnx",
           "four": FILES / "foreign/batch_4.onnx", "several": FILES / "foreign/sigmoid.onnx"}
ASSUME = ["--allow-uncertified", "--labels", FILES / "foreign/five.json", "--mean", "0,0,0", "--std", "1,1,1"]
IMAGES = [TESTS / "earlier/image.png", TESTS / "formats/baseline.jpg", FILES / "foreign/wide.png"]
QUEUE = 16
PROGRAM = None
PORTS = {}


def serve(models, *flags):
    """Starts a server on a free port and waits until it says where it listens."""
    named = [f"{name}={path}" for name, path in models.items()]
    command = [PROGRAM, "serve", *named, "--listen", "127.0.0.1:0", "--queue", str(QUEUE), *map(str, flags)]
    log = tempfile.TemporaryFile("w+")
    server = subprocess.Popen(command, stderr=log)
    for _ in range(600):
        said = os.pread(log.fileno(), 1 << 20, 0).decode()
        if "http://127.0.0.1:" in said:
            return server, log, int(re.search(r"http://127\.0\.0\.1:(\d+)", said)[1])
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{said}")


def oracle(path, tensor, output=None):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([output] if output else None, {session.get_inputs()[0].name: tensor})[0]


def classified(path, images, *flags):
    """Probabilities of `infer classify`, a row of all classes for each image."""
    command = [PROGRAM, "classify", "--model", path, "--format", "json", "--top-k", "5", *map(str, flags), *images]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = [{guess["index"]: guess["probability"] for guess in one["predictions"]} for one in found]
    return np.array([[row[index] for index in range(len(row))] for row in rows], np.float32), found


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def noise(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def encoded(paths):
    return np.array([path.read_bytes() for path in paths], dtype=object)


class Conformance:
    """Tests over both transports; `lib` is the client's module for one of them, `patience` what ends a hanging call."""

    def connect(self, port):
        client = self.lib.InferenceServerClient(f"127.0.0.1:{port}")
        self.addCleanup(client.close)
        return client

    def setUp(self):
        self.client = self.connect(PORTS["own"])

    def input(self, name, tensor, datatype, **form):
        given = self.lib.InferInput(name, list(tensor.shape), datatype)
        given.set_data_from_numpy(tensor, **form)
        return given

    def output(self, name, **form):
        return self.lib.InferRequestedOutput(name, **form)

    def infer(self, model, name, tensor, datatype, outputs=None, client=None, **options):
        given = self.input(name, tensor, datatype)
        return self.run_on(client or self.client, model, [given], outputs=outputs, **options)

    def run_on(self, client, *args, **options):
        return client.infer(*args, **{**self.patience, **options})

    def refused(self, statuses, text, call, *args, **options):
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **options)
        error = caught.exception
        self.assertEqual(error.status(), statuses[self.position], error)
        self.assertIn(text, error.message())

    def test_health(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("net"))
        self.assertTrue(self.client.is_model_ready("net", "2"))

    def test_metadata(self):
        server = self.as_json(self.client.get_server_metadata())
        self.assertEqual(server["name"], "ferronnx-infer")
        self.assertEqual(set(server["extensions"]), {"binary_tensor_data", "classification"})
        model = self.as_json(self.client.get_model_metadata("net"))
        self.assertEqual((model["name"], model["platform"], model["versions"]), ("net", "onnx_onnxv1", ["2", "1"]))
        tensors = lambda side: {one["name"]: (one["datatype"], [int(size) for size in one["shape"]]) for one in side}
        self.assertEqual(tensors(model["inputs"]), {"input": ("FP32", [-1, 3, 32, 32]), "image": ("BYTES", [-1])})
        self.assertEqual(tensors(model["outputs"]), {"logits": ("FP32", [-1, 3]), "probabilities": ("FP32", [-1, 3])})
        model = self.as_json(self.client.get_model_metadata("bytes", "1"))
        self.assertEqual(tensors(model["inputs"])["input"], ("UINT8", [-1, 32, 32, 3]))
        self.assertEqual(tensors(model["outputs"])["attention1.spatial_attn.mask"], ("FP32", [-1, 1, 32, 32]))

    def test_floats(self):
        tensor = noise(2, 3, 32, 32)
        result = self.infer("net", "input", tensor, "FP32", model_version="1", request_id="mine-1")
        expected = oracle(MODELS["net"], tensor)
        np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(result.as_numpy("probabilities"), softmax(expected), atol=1e-4)
        answer = self.as_json(result.get_response())
        self.assertEqual((answer["id"], answer["model_name"], answer["model_version"]), ("mine-1", "net", "1"))

    def test_more_rows_than_a_batch(self):
        tensor = noise(13, 3, 32, 32)
        result = self.infer("net", "input", tensor, "FP32", model_version="1")
        np.testing.assert_allclose(result.as_numpy("logits"), oracle(MODELS["net"], tensor), rtol=1e-4, atol=1e-4)

    def test_the_highest_version_is_the_default(self):
        tensor = noise(1, 3, 32, 32)
        newest = self.infer("net", "input", tensor, "FP32")
        self.assertEqual(self.as_json(newest.get_response())["model_version"], "2")
        one = self.infer("net", "input", tensor, "FP32", model_version="1").as_numpy("logits")
        two = self.infer("net", "input", tensor, "FP32", model_version="2").as_numpy("logits")
        np.testing.assert_array_equal(newest.as_numpy("logits"), two)
        self.assertFalse(np.allclose(one, two, atol=1e-4))

    def test_bytes_and_several_outputs(self):
        tensor = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
        masks = [f"attention{block}.spatial_attn.mask" for block in (1, 2)]
        wanted = [self.output(name) for name in [masks[1], "logits", masks[0]]]
        result = self.infer("bytes", "input", tensor, "UINT8", wanted)
        names = [one["name"] for one in self.as_json(result.get_response())["outputs"]]
        self.assertEqual(names, [masks[1], "logits", masks[0]])
        for name in names:
            np.testing.assert_allclose(
                result.as_numpy(name), oracle(MODELS["bytes"], tensor, name), rtol=1e-4, atol=1e-4)
        everything = self.infer("bytes", "input", tensor, "UINT8")
        self.assertEqual(len(self.as_json(everything.get_response())["outputs"]), 6)

    def test_encoded_images(self):
        for model in ["net", "bytes"]:
            expected, _ = classified(MODELS[model], IMAGES)
            result = self.infer(model, "image", encoded(IMAGES), "BYTES", model_version="1")
            np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
            np.testing.assert_allclose(softmax(result.as_numpy("logits")), expected, atol=1e-5)

    def test_classification(self):
        _, expected = classified(MODELS["net"], IMAGES)
        wanted = [self.output("probabilities", class_count=2), self.output("logits", class_count=9)]
        result = self.infer("net", "image", encoded(IMAGES), "BYTES", wanted, model_version="1")
        self.assertEqual(result.as_numpy("logits").shape, (3, 3))
        found = result.as_numpy("probabilities")
        self.assertEqual(found.shape, (3, 2))
        for texts, image in zip(found, expected):
            for text, guess in zip(texts, image["predictions"]):
                score, index, label = text.decode().split(":", 2)
                self.assertEqual((int(index), label), (guess["index"], guess["label"]))
                self.assertAlmostEqual(float(score), guess["probability"], delta=1e-5)

    def test_other_floats(self):
        client = self.connect(PORTS["foreign"])
        for model, datatype, kind in [("half", "FP16", np.float16), ("double", "FP64", np.float64)]:
            metadata = self.as_json(client.get_model_metadata(model))
            own = metadata["inputs"][0]
            shape = [3 if int(size) == -1 else int(size) for size in own["shape"]]
            self.assertEqual(own["datatype"], datatype)
            tensor = np.random.default_rng(2).random(shape).astype(kind)
            name = metadata["outputs"][0]["name"]
            result = self.infer(model, own["name"], tensor, datatype, client=client)
            expected = oracle(FOREIGN[model], tensor, name).astype(np.float32)
            np.testing.assert_allclose(result.as_numpy(name), expected, rtol=1e-3, atol=1e-3)

    def test_a_fixed_batch_is_filled_and_split(self):
        client = self.connect(PORTS["foreign"])
        metadata = self.as_json(client.get_model_metadata("four"))
        name, output = metadata["inputs"][0]["name"], metadata["outputs"][0]["name"]
        shape = [int(size) for size in metadata["inputs"][0]["shape"][1:]]
        tensor = np.random.default_rng(3).random([7, *shape]).astype(np.float32)
        padded = np.concatenate([tensor, tensor[:1]])
        expected = np.concatenate([oracle(FOREIGN["four"], part) for part in (padded[:4], padded[4:])])[:7]
        result = self.infer("four", name, tensor, "FP32", client=client)
        np.testing.assert_allclose(result.as_numpy(output), expected, rtol=1e-4, atol=1e-4)

    def test_several_labels_an_image(self):
        client = self.connect(PORTS["foreign"])
        expected, _ = classified(FOREIGN["several"], IMAGES, *ASSUME[1:])
        result = self.infer("several", "image", encoded(IMAGES), "BYTES", client=client)
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)

    def test_requests_at_the_same_time(self):
        tensor = noise(8, 3, 32, 32)
        expected = oracle(MODELS["net"], tensor)

        def one(row):
            client = self.lib.InferenceServerClient(f"127.0.0.1:{PORTS['own']}")
            found = [self.infer("net", "input", tensor[row:row + 1], "FP32", client=client, model_version="1",
                                request_id=str(row)) for _ in range(5)]
            client.close()
            return [(self.as_json(result.get_response())["id"], result.as_numpy("logits")) for result in found]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for row, answers in enumerate(pool.map(one, range(8))):
                for name, logits in answers:
                    self.assertEqual(name, str(row))
                    np.testing.assert_allclose(logits, expected[row:row + 1], rtol=1e-4, atol=1e-4)

    def test_what_does_not_exist(self):
        absent, tensor = ("404", "StatusCode.NOT_FOUND"), noise(1, 3, 32, 32)
        self.refused(absent, "no model `nothing`", self.infer, "nothing", "input", tensor, "FP32")
        self.refused(absent, "has the versions 2, 1", self.infer, "net", "input", tensor, "FP32", model_version="3")
        self.refused(absent, "no model `nothing`", self.client.get_model_metadata, "nothing")
        self.refused(absent, "../etc", self.client.get_model_metadata, "../etc")

    def test_wrong_tensors(self):
        wrong = ("400", "StatusCode.INVALID_ARGUMENT")
        check = lambda text, *args, **options: self.refused(wrong, text, self.infer, "net", *args, **options)
        check("no such input: give `input` FP32 [-1, 3, 32, 32] or `image` BYTES [-1]", "x", noise(1), "FP32")
        check("takes FP32, not INT32", "input", np.zeros((1, 3, 32, 32), np.int32), "INT32")
        check("takes BYTES, not FP32", "image", noise(1, 3, 32, 32), "FP32")
        check("takes the shape [-1, 3, 32, 32]", "input", noise(1, 3, 32, 31), "FP32")
        check("takes the shape [-1, 3, 32, 32]", "input", noise(0, 3, 32, 32), "FP32")
        check("takes the shape [-1]", "image", encoded(IMAGES).reshape(1, 3), "BYTES")
        check("no such output: it has `logits`, `probabilities`", "input", noise(1, 3, 32, 32), "FP32",
              [self.output("x")])
        check("asked for twice", "input", noise(1, 3, 32, 32), "FP32", [self.output("logits"), self.output("logits")])
        mask = [self.output("attention1.spatial_attn.mask", class_count=1)]
        image = np.zeros((1, 32, 32, 3), np.uint8)
        self.refused(wrong, "one score for each of 3 classes", self.infer, "bytes", "input", image, "UINT8", mask)
        both = [self.input("input", noise(1, 3, 32, 32), "FP32"), self.input("image", encoded(IMAGES[:1]), "BYTES")]
        self.refused(wrong, "never both", self.run_on, self.client, "net", both)
        self.refused(wrong, "there is no input", self.run_on, self.client, "net", [])

    def test_a_bad_image_is_named(self):
        images = encoded(IMAGES)
        images[1] = images[1][:len(images[1]) // 2]
        self.refused(("400", "StatusCode.INVALID_ARGUMENT"), "image 1: ", self.infer, "net", "image", images, "BYTES")
        images[1] = b""
        self.refused(("400", "StatusCode.INVALID_ARGUMENT"), "image 1: ", self.infer, "net", "image", images, "BYTES")

    def test_too_many_images(self):
        self.refused(("413", "StatusCode.RESOURCE_EXHAUSTED"), f"at most {QUEUE}", self.infer, "net", "input",
                     noise(QUEUE + 1, 3, 32, 32), "FP32")

    def test_the_deadline_of_the_request(self):
        self.refused(("504", "StatusCode.DEADLINE_EXCEEDED"), "deadline", self.infer, "net", "image", encoded(IMAGES),
                     "BYTES", timeout=1)
        self.infer("net", "image", encoded(IMAGES), "BYTES", timeout=20_000_000)


class Http(Conformance, unittest.TestCase):
    lib, position, patience = tritonclient.http, 0, {}

    @staticmethod
    def as_json(answer):
        return answer

    def post(self, body, path="/v2/models/net/versions/1/infer", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", PORTS["own"], timeout=20)
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content)

    def test_json(self):
        tensor = noise(2, 3, 32, 32)
        given = self.input("input", tensor, "FP32", binary_data=False)
        wanted = [self.output("logits", binary_data=False), self.output("probabilities", binary_data=True)]
        result = self.client.infer("net", [given], outputs=wanted, model_version="1")
        expected = oracle(MODELS["net"], tensor)
        np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(result.as_numpy("probabilities"), softmax(expected), atol=1e-4)
        nested = {"name": "input", "datatype": "FP32", "shape": [2, 3, 32, 32], "data": tensor.tolist()}
        status, answer = self.post(json.dumps({"id": "7", "inputs": [nested], "outputs": [{"name": "logits"}]}))
        self.assertEqual((status, answer["id"], answer["outputs"][0]["shape"]), (200, "7", [2, 3]))
        found = np.array(answer["outputs"][0]["data"], np.float32)
        np.testing.assert_array_equal(found, result.as_numpy("logits").flatten())
        image = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 32, 32, 3)
        given = self.input("input", image, "UINT8", binary_data=False)
        result = self.client.infer("bytes", [given], outputs=[self.output("logits", binary_data=False)])
        expected = oracle(MODELS["bytes"], image, "logits")
        np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-4, atol=1e-4)

    def test_images_in_json(self):
        expected, _ = classified(MODELS["net"], IMAGES)
        texts = [base64.b64encode(path.read_bytes()).decode() for path in IMAGES]
        wanted = [{"name": "probabilities"}, {"name": "logits", "parameters": {"classification": 1}}]
        for given in [{"data": [{"b64": text} for text in texts]},
                      {"data": texts, "parameters": {"content_type": "base64"}}]:
            tensor = {"name": "image", "datatype": "BYTES", "shape": [3], **given}
            status, answer = self.post(json.dumps({"inputs": [tensor], "outputs": wanted}))
            self.assertEqual(status, 200, answer)
            found = np.array(answer["outputs"][0]["data"]).reshape(3, 3)
            np.testing.assert_allclose(found, expected, atol=1e-5)
            best = [int(text.split(":")[1]) for text in answer["outputs"][1]["data"]]
            self.assertEqual(best, expected.argmax(axis=1).tolist())
        tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": texts}
        status, answer = self.post(json.dumps({"inputs": [tensor]}))
        self.assertEqual(status, 400)
        self.assertIn("base64", answer["error"])

    def test_compressed_requests(self):
        tensor = noise(2, 3, 32, 32)
        expected = oracle(MODELS["net"], tensor)
        for compression in ["gzip", "deflate"]:
            given = [self.input("input", tensor, "FP32")]
            result = self.client.infer("net", given, model_version="1", request_compression_algorithm=compression,
                                       response_compression_algorithm=compression)
            np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-4, atol=1e-4)
        self.assertEqual(self.post(b"{}", Content_Encoding="br")[0], 415)
        self.assertEqual(self.post(b"{}", Content_Encoding="gzip")[0], 400)
        bomb = subprocess.run(["gzip", "-9"], input=bytes(40_000_000), capture_output=True, check=True).stdout
        self.assertEqual(self.post(bomb, Content_Encoding="gzip")[0], 413)

    def test_lying_lengths(self):
        tensor = noise(1, 3, 32, 32).tobytes()
        request = lambda size: json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, 32, 32],
                                                       "parameters": {"binary_data_size": size}}]}).encode()
        right = request(len(tensor))
        self.assertEqual(self.post(right + tensor, Inference_Header_Content_Length=str(len(right)))[0], 200)
        for head, length in [(right, len(right) + 1), (right, len(right) - 1), (right, 1 << 62), (right, "x"),
                             (right, 0), (request(len(tensor) + 4), None), (request(len(tensor) - 4), None),
                             (request(-1), None), (request(1 << 63), None)]:
            length = len(head) if length is None else length
            status, answer = self.post(head + tensor, Inference_Header_Content_Length=str(length))
            self.assertEqual(status, 400, (length, answer))
        self.assertEqual(self.post(right + tensor)[0], 400)
        self.assertEqual(self.post(right + tensor + b"more", Inference_Header_Content_Length=str(len(right)))[0], 400)

    def test_malformed_requests(self):
        for body in [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"inputs": ' + b"[" * 100_000, b'{"inputs": {}}',
                     b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1], "data": [NaN]}]}']:
            status, answer = self.post(body)
            self.assertEqual((status, list(answer)), (400, ["error"]), answer)
        connection = http.client.HTTPConnection("127.0.0.1", PORTS["own"], timeout=20)
        connection.request("GET", "/v2/models/net/infer")
        answer = connection.getresponse()
        self.assertEqual((answer.status, list(json.loads(answer.read()))), (405, ["error"]))
        connection.request("GET", "/v2/models/%2e%2e%2f%ff")
        answer = connection.getresponse()
        self.assertEqual((answer.status, list(json.loads(answer.read()))), (400, ["error"]))
        connection.close()


class Grpc(Conformance, unittest.TestCase):
    lib, position, patience = tritonclient.grpc, 1, {"client_timeout": 60}

    @staticmethod
    def as_json(answer):
        from google.protobuf.json_format import MessageToDict
        return MessageToDict(answer, preserving_proto_field_name=True)

    def call(self, request, method="/inference.GRPCInferenceService/ModelInfer", **headers):
        with grpc.insecure_channel(f"127.0.0.1:{PORTS['own']}",
                                   options=[("grpc.max_send_message_length", -1)]) as channel:
            raw = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
            request = request if isinstance(request, bytes) else request.SerializeToString()
            return raw(request, metadata=metadata, timeout=None if metadata else 60)

    def fails(self, code, request, method="/inference.GRPCInferenceService/ModelInfer", **headers):
        with self.assertRaises(grpc.RpcError) as caught:
            self.call(request, method, **headers)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def message(self, datatype="FP32", shape=(1, 3, 32, 32), raw=(), **contents):
        request = messages.ModelInferRequest(model_name="net", model_version="1", raw_input_contents=raw)
        tensor = request.inputs.add(name="image" if datatype == "BYTES" else "input", datatype=datatype, shape=shape)
        for field, values in contents.items():
            getattr(tensor.contents, field).extend(values)
        return request

    def test_typed_contents(self):
        tensor = noise(1, 3, 32, 32)
        answer = messages.ModelInferResponse.FromString(self.call(self.message(fp32_contents=tensor.flatten())))
        found = np.frombuffer(answer.raw_output_contents[0], np.float32)
        np.testing.assert_allclose(found, oracle(MODELS["net"], tensor)[0], rtol=1e-4, atol=1e-4)
        images = [path.read_bytes() for path in IMAGES]
        request = self.message("BYTES", [3], bytes_contents=images)
        answer = messages.ModelInferResponse.FromString(self.call(request))
        self.assertEqual([output.name for output in answer.outputs], ["logits", "probabilities"])
        found = np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(3, 3)
        np.testing.assert_allclose(found, classified(MODELS["net"], IMAGES)[0], atol=1e-5)

    def test_wrong_contents(self):
        invalid, tensor = grpc.StatusCode.INVALID_ARGUMENT, noise(1, 3, 32, 32)
        self.assertIn("no elements", self.fails(invalid, self.message()))
        self.assertIn("12284 bytes", self.fails(invalid, self.message(raw=[tensor.tobytes()[4:]])))
        self.assertIn("for 1 inputs", self.fails(invalid, self.message(raw=[tensor.tobytes()] * 2)))
        self.assertIn("fp32_contents", self.fails(invalid, self.message(fp64_contents=tensor.flatten())))
        self.assertIn("give one", self.fails(invalid, self.message(raw=[tensor.tobytes()], fp32_contents=[1])))
        self.assertIn("2 elements", self.fails(invalid, self.message(fp32_contents=[1, 2])))
        self.assertIn("shape", self.fails(invalid, self.message(shape=[1 << 62, 3, 32, 32], fp32_contents=[1])))
        self.assertIn("element 1", self.fails(invalid, self.message("BYTES", [2], [b"\1\0\0\0a\xff\xff\xff\xff"])))
        self.fails(invalid, b"\xff\xff")
        self.fails(invalid, b"\x2a\x00" * 100_000)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, self.message(raw=[bytes(33_000_000)]))
        self.fails(grpc.StatusCode.UNIMPLEMENTED, b"", "/inference.GRPCInferenceService/ModelStreamInfer")
        self.fails(grpc.StatusCode.UNIMPLEMENTED, b"", "/other.Service/Method")

    def test_the_deadline_of_the_call(self):
        request = self.message("BYTES", [3], bytes_contents=[path.read_bytes() for path in IMAGES])
        # The client does not know of this one, so that the server's answer is seen.
        details = self.fails(grpc.StatusCode.DEADLINE_EXCEEDED, request, grpc_timeout="1u")
        self.assertEqual(details, "the deadline has passed")
        self.call(request, grpc_timeout="20S")

    def test_health_service(self):
        serving = b"\x08\x01"
        self.assertEqual(self.call(b"", "/grpc.health.v1.Health/Check"), serving)
        name = b"inference.GRPCInferenceService"
        self.assertEqual(self.call(b"\x0a" + bytes([len(name)]) + name, "/grpc.health.v1.Health/Check"), serving)
        self.fails(grpc.StatusCode.NOT_FOUND, b"\x0a\x01x", "/grpc.health.v1.Health/Check")


class TritonRepository(unittest.TestCase):
    """What `infer triton-repo` writes, read with Triton's own definition and compared with the files."""

    def test_configurations(self):
        with tempfile.TemporaryDirectory() as folder:
            models = [f"{name}={path}" for name, path in (MODELS | FOREIGN).items()]
            command = [PROGRAM, "triton-repo", *models, "--out", folder, "--max-batch", "5"]
            subprocess.run(command, check=True, capture_output=True)
            found = sorted(pathlib.Path(folder).iterdir())
            self.assertEqual([path.name for path in found], ["bytes", "double", "four", "half", "net", "several"])
            for path in found:
                text = (path / "config.pbtxt").read_text()
                self.check(path, text_format.Parse(text, model_config_pb2.ModelConfig()))

    def check(self, folder, config):
        versions = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self.assertEqual(versions, ["1", "2"] if folder.name == "net" else ["1"])
        self.assertEqual((config.name, config.platform), (folder.name, "onnxruntime_onnx"))
        self.assertEqual(config.max_batch_size, 0 if folder.name == "four" else 5)
        self.assertEqual(config.HasField("dynamic_batching"), config.max_batch_size > 1)
        self.assertEqual(config.HasField("version_policy"), len(versions) > 1)
        for version in versions:
            session = onnxruntime.InferenceSession(folder / version / "model.onnx")
            ports = [*session.get_inputs(), *session.get_outputs()]
            for port, told in zip(ports, [*config.input, *config.output], strict=True):
                shape = [size if isinstance(size, int) else -1 for size in port.shape]
                self.assertEqual(([-1] if config.max_batch_size else []) + list(told.dims), shape)
                types = {"TYPE_FP16": "float16", "TYPE_FP32": "float", "TYPE_FP64": "double", "TYPE_UINT8": "uint8"}
                name = types[model_config_pb2.DataType.Name(told.data_type)]
                self.assertEqual((told.name, f"tensor({name})"), (port.name, port.type))
        labels = (folder / config.output[0].label_filename).read_text().splitlines()
        self.assertEqual(len(labels), config.output[0].dims[-1])


def main():
    global PROGRAM
    PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
    servers = {"own": serve(MODELS), "foreign": serve(FOREIGN, *ASSUME)}
    PORTS.update({name: port for name, (*_, port) in servers.items()})
    faults = []
    try:
        tests = unittest.main(exit=False)
    finally:
        for name, (server, log, _) in servers.items():
            server.terminate()
            status = server.wait(60)
            log.seek(0)
            panics = [line for line in log if "panic" in line]
            if status != 0 or panics:
                faults.append(f"the server `{name}` ended with {status}: {panics}")
    if faults:
        raise SystemExit("\n".join(faults))
    sys.exit(not tests.result.wasSuccessful())


if __name__ == "__main__":
    main()
