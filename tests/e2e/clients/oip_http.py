"""OIP v2 over HTTP with an unmodified tritonclient.

Checks health, metadata, versions, inference in JSON and in binary data, strings, compressed
requests and errors against the identity model, which answers INPUT0 as OUTPUT0 in any dtype.
"""

import argparse
import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

DTYPES = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def check(condition, text):
    """Ends the script with `text` unless `condition` holds."""
    if not condition:
        sys.exit(f"oip_http.py: {text}")


class Session:
    """A client, the model under test, and what was seen so far."""

    def __init__(self, options):
        self.client = triton.InferenceServerClient(options.url, concurrency=4)
        self.key = options.key
        self.model = options.identity
        self.seen = {}

    @property
    def headers(self):
        """A fresh dictionary each time: the client writes its own headers into it."""
        return {"Authorization": f"Bearer {self.key}"}

    def refused(self, name, status, call, contains=""):
        """Runs `call`, which must raise with this status and a readable text."""
        try:
            call()
        except InferenceServerException as error:
            text = error.message()
            check(error.status() == str(status), f"{name}: status {error.status()}: {text}")
            check("decoding the response" not in text, f"{name}: no JSON error: {text}")
            check(contains in text, f"{name}: expected {contains!r} in {text!r}")
            self.seen[name] = text
        else:
            sys.exit(f"oip_http.py: {name}: expected status {status}, the call succeeded")

    def infer(self, value, datatype, binary_in, binary_out, **options):
        """What the identity model makes of `value`."""
        tensor = triton.InferInput("INPUT0", list(value.shape), datatype)
        tensor.set_data_from_numpy(value, binary_data=binary_in)
        outputs = None
        if binary_out is not None:
            outputs = [triton.InferRequestedOutput("OUTPUT0", binary_data=binary_out)]
        result = self.client.infer(
            self.model, [tensor], outputs=outputs, headers=self.headers, **options
        )
        return result, result.as_numpy("OUTPUT0")


def health(s):
    check(s.client.is_server_live(), "the server is not live")
    check(s.client.is_server_ready(), "the server is not ready")
    check(s.client.is_model_ready(s.model, headers=s.headers), "the model is not ready")
    check(not s.client.is_model_ready("no-such-model", headers=s.headers), "no-such-model is ready")
    check(not s.client.is_model_ready(s.model), "a model is ready without a key")


def metadata(s):
    server = s.client.get_server_metadata(headers=s.headers)
    check(server["name"] == "aimass", f"server metadata {server}")
    check("binary_tensor_data" in server["extensions"], f"server metadata {server}")
    model = s.client.get_model_metadata(s.model, headers=s.headers)
    check(model["name"] == s.model, f"model metadata {model}")
    check(model["inputs"][0]["name"] == "INPUT0", f"model metadata {model}")
    check(model["outputs"][0]["name"] == "OUTPUT0", f"model metadata {model}")
    s.seen["versions"] = model["versions"]
    version = model["versions"][-1]
    again = s.client.get_model_metadata(s.model, version, headers=s.headers)
    check(again["name"] == s.model, f"metadata of version {version}: {again}")
    check(s.client.is_model_ready(s.model, version, headers=s.headers), f"version {version}")
    check(not s.client.is_model_ready(s.model, "999999", headers=s.headers), "version 999999")
    index = s.client.get_model_repository_index(headers=s.headers)
    check(any(row["name"] == s.model for row in index), f"repository index {index}")
    return version


def numbers(s):
    random = np.random.default_rng(1)
    for datatype, kind in DTYPES.items():
        value = (random.random((2, 3)) * 100).astype(kind)
        for binary_in in (False, True):
            # The client refuses to send FP16 as JSON.
            if datatype == "FP16" and not binary_in:
                continue
            for binary_out in (False, True, None):
                _, got = s.infer(value, datatype, binary_in, binary_out)
                where = f"{datatype}, binary in {binary_in}, out {binary_out}"
                if datatype == "FP16" and not binary_out and binary_out is not None:
                    # The client cannot read FP16 from JSON; that the answer came is enough.
                    continue
                check(got.dtype == value.dtype, f"{where}: dtype {got.dtype}")
                check(got.tobytes() == value.tobytes(), f"{where}: {value} became {got}")
    s.seen["datatypes"] = sorted(DTYPES)


def floats_survive_json(s):
    bits = np.random.default_rng(2).integers(0, 2**32, 4000, dtype=np.uint32)
    value = bits.view(np.float32)
    value = value[np.isfinite(value)]
    _, got = s.infer(value, "FP32", False, False)
    check(got.tobytes() == value.tobytes(), "an FP32 value changed on its way through JSON")


def strings(s):
    value = np.array(["", "grüße", "日本語", "a\"b\\c\n", "😀"], dtype=np.object_)
    for binary_in in (False, True):
        for binary_out in (False, True):
            _, got = s.infer(value, "BYTES", binary_in, binary_out)
            got = [item.decode() if isinstance(item, bytes) else item for item in got]
            check(got == list(value), f"strings, binary in {binary_in}, out {binary_out}: {got}")
    raw = np.array([b"\xff\xfe", b""], dtype=np.object_)
    _, got = s.infer(raw, "BYTES", True, True)
    check(list(got) == list(raw), f"bytes that are not UTF-8: {got}")
    s.refused(
        "not UTF-8 as JSON", 400, lambda: s.infer(raw, "BYTES", True, False), contains="binary_data"
    )


def details(s, version):
    value = np.arange(6, dtype=np.float32).reshape(1, 6)
    result, got = s.infer(value, "FP32", True, True, request_id="id-1", model_version=version)
    response = result.get_response()
    check(response["id"] == "id-1", f"id: {response}")
    check(response["model_name"] == s.model, f"model_name: {response}")
    check(response["model_version"] == version, f"model_version: {response}")
    check((got == value).all(), f"version {version}: {got}")
    for algorithm in ("gzip", "deflate"):
        for binary in (False, True):
            _, got = s.infer(
                value,
                "FP32",
                binary,
                binary,
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            check((got == value).all(), f"{algorithm}: {got}")
    empty = np.zeros((0, 4), dtype=np.int32)
    _, got = s.infer(empty, "INT32", True, True)
    check(got.size == 0, f"an empty tensor became {got}")
    pending = [
        s.client.async_infer(s.model, [input_of(value + i)], headers=s.headers) for i in range(8)
    ]
    for i, request in enumerate(pending):
        got = request.get_result().as_numpy("OUTPUT0")
        check((got == value + i).all(), f"concurrent request {i}: {got}")


def input_of(value):
    tensor = triton.InferInput("INPUT0", list(value.shape), "FP32")
    tensor.set_data_from_numpy(value)
    return tensor


def errors(s):
    one = input_of(np.zeros((1, 2), dtype=np.float32))
    infer = s.client.infer
    s.refused("unknown model", 404, lambda: infer("no-such-model", [one], headers=s.headers))
    s.refused(
        "unknown version", 404, lambda: infer(s.model, [one], "999999", headers=s.headers)
    )
    s.refused("no key", 401, lambda: infer(s.model, [one]), contains="API key")
    bad = {"Authorization": "Bearer am_00000000_" + "A" * 43}
    s.refused("wrong key", 401, lambda: infer(s.model, [one], headers=bad), contains="API key")
    s.refused("metadata of an unknown model", 404, lambda: s.client.get_model_metadata(
        "no-such-model", headers=s.headers
    ))
    wrong = triton.InferInput("INPUT0", [3], "FP32")
    wrong.set_data_from_numpy(np.zeros(3, dtype=np.float32), binary_data=False)
    wrong.set_shape([4])
    s.refused("wrong count", 400, lambda: infer(s.model, [wrong], headers=s.headers), "INPUT0")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT")
    parser.add_argument("--key", required=True)
    parser.add_argument("--identity", default="identity", help="name of the identity model")
    s = Session(parser.parse_args())
    health(s)
    version = metadata(s)
    numbers(s)
    floats_survive_json(s)
    strings(s)
    details(s, version)
    errors(s)
    print(json.dumps({"passed": True, "seen": s.seen}))


if __name__ == "__main__":
    main()
