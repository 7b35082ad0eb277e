"""Large uploads that are refused at the door: stock clients read why, they are not cut off.

Each client sends a body larger than every buffer between it and the server, without a good key, over and
over. A server that closes the connection with unread bytes resets it, and the client sees that instead of
the answer.
"""

import argparse
import http.client
import json
import urllib.error
import urllib.request

import httpx
import numpy as np
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

BYTES = 32 << 20
TIMES = 10


def refusal_of_http_client(address):
    """The standard library reads nothing before everything is sent."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/v2/models/identity/infer", b"x" * BYTES)
    answer = connection.getresponse()
    assert answer.status == 401, answer.status
    return json.load(answer)["error"]


def refusal_of_urllib(url):
    try:
        urllib.request.urlopen(f"{url}/v2/unknown", data=b"x" * BYTES, timeout=60)
    except urllib.error.HTTPError as answer:
        assert answer.code == 401, answer.code
        return json.load(answer)["error"]
    raise AssertionError("expected a refusal, the call succeeded")


def refusal_of_requests(url, chunked):
    data = (b"x" * 65536 for _ in range(BYTES // 65536)) if chunked else b"x" * BYTES
    answer = requests.post(f"{url}/v2/models/identity/infer", data=data, timeout=60)
    assert answer.status_code == 401, answer.status_code
    return answer.json()["error"]


def refusal_of_httpx(url):
    answer = httpx.post(f"{url}/v1/embeddings", content=b"x" * BYTES, timeout=60)
    assert answer.status_code == 401, answer.status_code
    return answer.json()["error"]["message"]


def refusal_of_triton(module, address):
    """Of a fresh client each time, as whoever has a wrong key would run it."""
    tensor = module.InferInput("INPUT0", [BYTES // 4], "FP32")
    tensor.set_data_from_numpy(np.zeros(BYTES // 4, dtype=np.float32))
    client = module.InferenceServerClient(address)
    try:
        client.infer("identity", [tensor], headers={"authorization": "Bearer am_wrong"})
    except InferenceServerException as error:
        assert error.status() in ("401", "StatusCode.UNAUTHENTICATED"), error.status()
        return error.message()
    finally:
        client.close()
    raise AssertionError("expected a refusal, the call succeeded")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--key")
    parser.add_argument("--http", required=True)
    parser.add_argument("--grpc", required=True)
    options = parser.parse_args()
    url = f"http://{options.http}"
    cases = {
        "http.client": lambda: refusal_of_http_client(options.http),
        "urllib": lambda: refusal_of_urllib(url),
        "requests": lambda: refusal_of_requests(url, chunked=False),
        "requests, chunked": lambda: refusal_of_requests(url, chunked=True),
        "httpx": lambda: refusal_of_httpx(url),
        "tritonclient.http": lambda: refusal_of_triton(triton_http, options.http),
        "tritonclient.grpc": lambda: refusal_of_triton(triton_grpc, options.grpc),
    }
    rows = {}
    for name, case in cases.items():
        for time in range(TIMES):
            try:
                text = case()
            except Exception as error:
                raise SystemExit(f"{name}, time {time}: {type(error).__name__}: {error}") from error
            assert "API key" in text, f"{name}: {text}"
        rows[name] = TIMES
    print(json.dumps(rows))


main()
