"""Compares what `infer` reads from parquet files with pyarrow: from disk, from S3 (moto) and by https, on this machine.

    cargo build -p ferronnx-infer --features cloud --example read_places
    python3 -m venv venv && venv/bin/pip install pyarrow 'moto[s3,server]==5.2.5' boto3 cryptography
    venv/bin/python benches/peers/parquet.py target/debug/examples/read_places

pyarrow writes the files, in each compression, with and without dictionaries, in both versions of pages, in several row
groups, with missing images and labels, and with the types that images and labels can have. Then pyarrow reads them
again, and every row has to have the same bytes and labels, or the error for a row without bytes. What is no parquet
file, is cut off, or has a compression that is not supported has to be an error with the name of the file.
"""

import argparse
import datetime
import hashlib
import http.server
import ipaddress
import itertools
import json
import os
import pathlib
import random
import re
import ssl
import subprocess
import sys
import tempfile
import threading

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from bulk import Proxy, free_port, wait_for
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROWS = 100
NAMES = ["red", "blue", "gr\u00fcn"]
ITEM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def images(draw):
    """Bytes of images: of many sizes, some equal, some missing."""
    def one(row):
        return None if row % 17 == 5 else draw.randbytes(200_000 if row % 40 == 7 else row * 13 % 900 + 1)
    found = [one(row) for row in range(ROWS)]
    found[30:40] = [found[3]] * 10
    return found


def tables(draw):
    """Tables with all types of images and labels, by their names."""
    content = images(draw)
    items = [None if row % 23 == 2 else {"bytes": b, "path": f"{row}.png"} for row, b in enumerate(content)]
    numbers = [None if row % 11 == 4 else row % 5 - 1 for row in range(ROWS)]
    words = [None if number is None else f"class {number} \u00e4" for number in numbers]
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    struct = pa.array(items, ITEM)
    lists = [None if row % 9 == 1 else [row % 3, (row + 1) % 3][: row % 4] for row in range(ROWS)]
    extra = pa.array([{"a": [row], "b": "x" * row} for row in range(ROWS)])

    def table(image, label, **others):
        return pa.table({"extra": extra, **others, "image": image, "label": label}).replace_schema_metadata(metadata)

    yield "class-label", table(struct, pa.array(numbers, pa.int64()))
    for kind in (pa.int8(), pa.int32(), pa.uint16(), pa.uint64()):
        yield str(kind), table(struct, pa.array([number and abs(number) for number in numbers], kind))
    yield "binary", pa.table({"label": pa.array(words), "img": pa.array(content, pa.binary())})
    yield "large", pa.table({"jpg": pa.array(content, pa.large_binary()), "cls": pa.array(words, pa.large_string())})
    yield "view", pa.table({"png": pa.array(content, pa.binary_view()), "cls": pa.array(words, pa.string_view())})
    yield "dictionary", pa.table({"bytes": pa.array(content), "target": pa.array(words).dictionary_encode()})
    yield "lists", table(struct, pa.array(lists, pa.list_(pa.int64())))
    named = [[str(number) for number in one or []] for one in lists]
    yield "large-lists", table(struct, pa.array(named, pa.large_list(pa.string())))
    yield "required", pa.table(
        [pa.array([b or b"0" for b in content], pa.binary()), pa.array([row % 3 for row in range(ROWS)], pa.int64())],
        schema=pa.schema([pa.field("image", pa.binary(), False), pa.field("label", pa.int64(), False)], metadata),
    )
    yield "no-labels", pa.table({"image": struct})


def write(folder):
    """Writes all files."""
    draw = random.Random(3)
    for name, table in tables(draw):
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=30)
    table = dict(tables(draw))["class-label"]
    ways = itertools.product(["none", "snappy", "gzip", "zstd", "lz4"], [True, False], ["1.0", "2.0"])
    for compression, dictionary, version in ways:
        path = folder / f"{compression}-{'dictionary' if dictionary else 'plain'}-{version[0]}.parquet"
        pq.write_table(
            table, path, compression=compression, use_dictionary=dictionary, data_page_version=version,
            row_group_size=37, data_page_size=5000, write_page_index=dictionary,
        )
    one = pa.table({"image": table["image"], "label": table["label"].cast(pa.int32())})
    # Encodings that only some writers choose.
    pq.write_table(one, folder / "delta.parquet", use_dictionary=False, column_encoding={
        "image.bytes": "DELTA_LENGTH_BYTE_ARRAY", "image.path": "DELTA_BYTE_ARRAY", "label": "DELTA_BINARY_PACKED",
    })
    pq.write_table(one, folder / "split.parquet", use_dictionary=False, column_encoding={
        "image.bytes": "DELTA_BYTE_ARRAY", "image.path": "PLAIN", "label": "BYTE_STREAM_SPLIT",
    })


def expected(path, name):
    """Lines of `read_places` by pyarrow; a row without bytes is None."""
    table = pq.read_table(path)
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    image = next(column for column in ("image", "img", "jpg", "png", "bytes") if column in table.column_names)
    label = next((column for column in ("label", "cls", "target") if column in table.column_names), None)

    def one(value):
        if isinstance(value, int):
            return names[value] if value < len(names) else str(value)
        return value

    def labels(value):
        values = value if isinstance(value, list) else [value]
        return "-" if value is None or any(value == -1 for value in values) else ";".join(map(one, values))

    found = []
    column = table[label].to_pylist() if label else [None] * len(table)
    for row, (value, label) in enumerate(zip(table[image].to_pylist(), column)):
        content = value["bytes"] if isinstance(value, dict) else value
        if content is None:
            found.append((f"{name}#{row}", None))
            continue
        digest = hashlib.sha256(content).hexdigest()[:16]
        found.append((f"{name}#{row}", f"{len(content)}\t{digest}\t{labels(label)}"))
    return found


def read(program, place, variables):
    """Lines of `read_places`, split at the name."""
    ended = subprocess.run([program, place], env=os.environ | variables, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return [tuple(line.split("\t", 1)) for line in ended.stdout.splitlines()]


def compare(program, path, place, variables):
    """Compares a file at a place with pyarrow's reading of it; returns the number of rows."""
    rows = expected(path, place)
    found = read(program, place, variables)
    assert len(found) == len(rows), f"{place}: {len(found)} rows, {len(rows)} by pyarrow: {found[-1]}"
    for (name, text), (expected_name, row) in zip(found, rows):
        no_bytes = f"{expected_name}: the row has no bytes of an image"
        same = text.startswith(no_bytes) if row is None else text == row
        assert name == expected_name and same, f"{name}: {text}, by pyarrow {row}"
    return len(rows)


class Files(http.server.SimpleHTTPRequestHandler):
    """Files with ranges."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = pathlib.Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def certificate(folder):
    """Writes a key and a certificate for 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    until, number = now + datetime.timedelta(1), x509.random_serial_number()
    builder = x509.CertificateBuilder(name, name, key.public_key(), number, now, until)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, False).sign(key, hashes.SHA256())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = key.private_bytes(*form)
    (folder / "key.pem").write_bytes(private)
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def serve(folder, secrets):
    """Serves a folder by https; returns its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Files(*args, directory=folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secrets / "certificate.pem", secrets / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_port}"


def refusals(program, folder):
    """Checks that what cannot be read is one error that names the file."""
    whole = (folder / "zstd-plain-1.parquet").read_bytes()
    table = pa.table({"image": pa.array([b"1"] * 50, pa.binary())})
    pq.write_table(table, folder / "brotli.parquet", compression="brotli")
    pq.write_table(table.slice(0, 0), folder / "empty.parquet")
    pq.write_table(pa.table({"text": ["x"]}), folder / "text.parquet")
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "none.parquet").write_bytes(b"no parquet")
    said = {
        "brotli": "brotli", "empty": "holds no images", "text": "found text", "cut": "is damaged", "none": "is damaged",
    }
    for name, why in said.items():
        path = str(folder / f"{name}.parquet")
        found = read(program, path, {})
        assert len(found) == 1 and found[0][0] == path and why in found[0][1], f"{name}: {found}"
    return len(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: str(pathlib.Path(path).resolve()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder, secrets = pathlib.Path(made, "files"), pathlib.Path(made, "secrets")
        folder.mkdir()
        secrets.mkdir()
        write(folder)
        paths = sorted(folder.iterdir())
        upstream = free_port()
        command = [pathlib.Path(sys.executable).parent / "moto_server", "-p", str(upstream)]
        moto = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(upstream)
            s3 = boto3.client(
                "s3", endpoint_url=f"http://127.0.0.1:{upstream}", aws_access_key_id="key", aws_secret_access_key="secret",
                region_name="us-east-1",
            )
            s3.create_bucket(Bucket="photos")
            for path in paths:
                s3.upload_file(str(path), "photos", path.name)
            certificate(secrets)
            proxy = Proxy(upstream, faults=True)
            keys = lambda port: KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
            places = {
                "disk": (str(folder), {}),
                "s3": ("s3://photos", keys(upstream)),
                "s3 with faults": ("s3://photos", keys(proxy.port)),
                "https": (serve(folder, secrets), {"SSL_CERT_FILE": str(secrets / "certificate.pem")}),
            }
            for name, (place, variables) in places.items():
                rows = sum(compare(options.program, path, f"{place}/{path.name}", variables) for path in paths)
                print(f"{name}: {len(paths)} files, {rows} rows as by pyarrow {pa.__version__}", flush=True)
            print(f"faults: {dict(proxy.counts)}")
            proxy.stop()
        finally:
            moto.terminate()
        print(f"refused with a reason: {refusals(options.program, folder)} files")


if __name__ == "__main__":
    main()
