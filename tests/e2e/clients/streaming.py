"""Answers in parts with an unmodified tritonclient over gRPC, and server-sent events over HTTP.

The model `words` streams the words of `text`; `endless` streams for ever; `twice` answers once.
"""

import argparse
import http.client
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

TEXT = "to be or not to be"


def check(condition, text):
    """Ends the script with `text` unless `condition` holds."""
    if not condition:
        sys.exit(f"streaming.py: {text}")


def text_input():
    tensor = grpc.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([TEXT.encode()], dtype=np.object_))
    return tensor


def number_input():
    tensor = grpc.InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1.0, 2.0], dtype=np.float32))
    return tensor


def final(result):
    return result.get_response().parameters["triton_final_response"].bool_param


def grpc_stream(options):
    """The words and which answer is the last, with and without an empty last one."""
    client = grpc.InferenceServerClient(options.grpc)
    headers = {"authorization": f"Bearer {options.key}"}
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    client.async_stream_infer("words", [text_input()], request_id="a", enable_empty_final_response=True)
    client.async_stream_infer("words", [text_input()], request_id="b")
    client.async_stream_infer("twice", [number_input()], request_id="c")
    words = {"a": [], "b": []}
    while True:
        result, error = answers.get(timeout=30)
        check(error is None, f"an error in the stream: {error}")
        request = result.get_response().id
        if request == "c":
            check(final(result), "the only answer is not the last")
            check(list(result.as_numpy("y")) == [2.0, 4.0], "y")
            break
        word = result.as_numpy("word")
        words[request].append((None if word is None else word[0].decode(), final(result)))
    client.stop_stream()
    expected = [(word, False) for word in TEXT.split()]
    check(words["b"] == expected, f"b: {words['b']}")
    check(words["a"] == expected + [(None, True)], f"a: {words['a']}")
    try:
        client.infer("words", [text_input()], headers=headers)
        check(False, "one answer of a model that streams")
    except InferenceServerException as error:
        check("StatusCode.INVALID_ARGUMENT" in error.status(), f"{error.status()}")
        check("ModelStreamInfer" in error.message(), error.message())
    # A client that cancels in the middle.
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    client.async_stream_infer("endless", [number_input()])
    check(answers.get(timeout=30)[1] is None, "endless")
    client.stop_stream(cancel_requests=True)
    client.close()
    return len(words["a"])


def http_events(options):
    """The same words as events."""
    connection = http.client.HTTPConnection(options.http, timeout=30)
    headers = {"Authorization": f"Bearer {options.key}", "Content-Type": "application/json"}
    body = json.dumps({"text": TEXT})
    connection.request("POST", "/v2/models/words/generate_stream", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    check(answer.status == 200, f"status {answer.status}: {text}")
    check(answer.headers["content-type"] == "text/event-stream", answer.headers["content-type"])
    lines = [line for line in text.split("\n") if line]
    check(all(line.startswith("data: ") for line in lines), f"{lines}")
    words = [json.loads(line[6:])["word"] for line in lines]
    check(words == TEXT.split(), f"{words}")
    connection.request("POST", "/v2/models/words/generate", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    check(answer.status == 400 and "generate_stream" in text, f"{answer.status}: {text}")
    return len(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--http", "--grpc", "--key"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    print(json.dumps({"grpc": grpc_stream(options), "http": http_events(options)}))


if __name__ == "__main__":
    main()
