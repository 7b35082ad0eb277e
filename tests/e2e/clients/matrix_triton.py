"""Every public method of tritonclient's four clients against a running server."""

import argparse
import asyncio
import inspect
import queue

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient._plugin import InferenceServerClientPlugin
from matrix import Matrix, check, finish, refused
from tritonclient.utils import InferenceServerException

VALUE = np.arange(6, dtype=np.float32).reshape(2, 3)
BY_DESIGN = "refused by design"


class Session:
    """One client, the module that it comes from, and the model under test."""

    def __init__(self, module, client, options):
        self.module, self.client, self.model = module, client, options.identity
        self.key = options.key
        self.is_grpc = module in (grpc, grpc_aio)

    @property
    def headers(self):
        """A fresh dictionary each time: the http client writes its own headers into it."""
        return {"authorization": f"Bearer {self.key}"}

    async def call(self, name, *arguments, **options):
        """The client's method, awaited if it is one of an asynchronous client."""
        done = getattr(self.client, name)(*arguments, headers=self.headers, **options)
        done = await done if inspect.isawaitable(done) else done
        return self.plain(done)

    def plain(self, message):
        """A protobuf message as a dictionary; anything else as it is."""
        if not hasattr(message, "DESCRIPTOR"):
            return message
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(message, preserving_proto_field_name=True)

    def input(self, value=VALUE, datatype="FP32"):
        tensor = self.module.InferInput("INPUT0", list(value.shape), datatype)
        tensor.set_data_from_numpy(value)
        return tensor

    def is_echo(self, result, value=VALUE):
        got = result.as_numpy("OUTPUT0")
        check(got is not None, "no OUTPUT0")
        check(got.dtype == value.dtype and (got == value).all(), f"{value} became {got}")

    async def refuses(self, text, status, name, *arguments, **options):
        await refused(
            InferenceServerException,
            lambda: self.call(name, *arguments, **options),
            text,
            status,
        )


class KeyPlugin(InferenceServerClientPlugin):
    header = ""

    def __call__(self, request):
        request.headers["authorization"] = self.header


# What all four clients have. `s` is the session; names are those of the methods.
def common(matrix, is_grpc):
    invalid = "INVALID_ARGUMENT" if is_grpc else 400

    @matrix.answers
    async def is_server_live(s):
        check(await s.call("is_server_live"), "not live")

    @matrix.answers
    async def is_server_ready(s):
        check(await s.call("is_server_ready"), "not ready")

    @matrix.answers
    async def is_model_ready(s):
        check(await s.call("is_model_ready", s.model), "not ready")
        check(await s.call("is_model_ready", s.model, "1"), "version 1 is not ready")

    @matrix.answers
    async def get_server_metadata(s):
        metadata = await s.call("get_server_metadata")
        check(metadata["name"] == "aimass", f"{metadata}")
        check("statistics" in metadata["extensions"], f"{metadata}")

    @matrix.answers
    async def get_model_metadata(s):
        metadata = await s.call("get_model_metadata", s.model)
        check(metadata["name"] == s.model and metadata["versions"], f"{metadata}")
        check(metadata["inputs"][0]["name"] == "INPUT0", f"{metadata}")

    @matrix.answers
    async def get_model_config(s):
        config = await s.call("get_model_config", s.model)
        config = config.get("config", config)
        check(config["name"] == s.model and config["backend"] == "aimass", f"{config}")
        check(config["input"][0]["name"] == "INPUT0", f"{config}")

    @matrix.answers
    async def get_model_repository_index(s):
        index = await s.call("get_model_repository_index")
        rows = index["models"] if isinstance(index, dict) else index
        row = next(row for row in rows if row["name"] == s.model)
        check(row["state"] == "READY", f"{row}")

    @matrix.answers
    async def get_inference_statistics(s):
        async def count():
            stats = await s.call("get_inference_statistics", s.model)
            row = stats["model_stats"][-1]
            check(row["name"] == s.model, f"{row}")
            return int(row.get("inference_stats", {}).get("success", {}).get("count", 0))

        before = await count()
        s.is_echo(await s.call("infer", s.model, [s.input()]))
        check(await count() == before + 1, f"{before} did not become one more")

    @matrix.answers
    async def infer(s):
        s.is_echo(await s.call("infer", s.model, [s.input()]))
        text = np.array([b"caf\xc3\xa9", b""], dtype=object)
        s.is_echo(await s.call("infer", s.model, [s.input(text, "BYTES")]), text)
        half = VALUE.astype(np.float16)
        s.is_echo(await s.call("infer", s.model, [s.input(half, "FP16")]), half)
        result = await s.call(
            "infer",
            s.model,
            [s.input()],
            model_version="1",
            outputs=[s.module.InferRequestedOutput("OUTPUT0")],
            request_id="seven",
            timeout=30_000_000,
            priority=1,
            parameters={"color": "red", "level": 3, "share": 0.5, "on": True},
        )
        s.is_echo(result)
        response = result.get_response()
        got = response.id if s.is_grpc else response["id"]
        check(got == "seven", f"the id came back as {got!r}")
        for algorithm in ("gzip", "deflate"):
            option = "compression_algorithm" if s.is_grpc else "request_compression_algorithm"
            s.is_echo(await s.call("infer", s.model, [s.input()], **{option: algorithm}))
        missing = "NOT_FOUND" if s.is_grpc else 404
        await s.refuses("no model", missing, "infer", "no-such-model", [s.input()])

    @matrix.answers
    async def unload_model(s):
        await s.call("unload_model", s.model)
        check(not await s.call("is_model_ready", s.model), "still ready after unload")
        busy = "UNAVAILABLE" if s.is_grpc else 503
        await s.refuses("unloaded by an operator", busy, "infer", s.model, [s.input()])
        await s.call("load_model", s.model)

    @matrix.answers
    async def load_model(s):
        await s.call("unload_model", s.model)
        await s.call("load_model", s.model)
        s.is_echo(await s.call("infer", s.model, [s.input()]))
        text = "as they were published and signed"
        await s.refuses(text, invalid, "load_model", s.model, config="{}")

    @matrix.answers
    async def get_log_settings(s):
        settings = await s.call("get_log_settings")
        settings = settings.get("settings", settings)
        check("log_verbose_level" in settings, f"{settings}")

    @matrix.answers
    async def update_log_settings(s):
        level = lambda settings: int(
            settings["settings"]["log_verbose_level"].get("uint32_param", 0)
            if s.is_grpc
            else settings["log_verbose_level"]
        )
        check(level(await s.call("update_log_settings", {"log_verbose_level": 1})) == 1, "not 1")
        check(level(await s.call("update_log_settings", {"log_verbose_level": 0})) == 0, "not 0")
        await s.refuses("standard error", invalid, "update_log_settings", {"log_file": "/x"})

    @matrix.answers
    async def get_trace_settings(s):
        settings = await s.call("get_trace_settings")
        settings = settings.get("settings", settings)
        check("OFF" in str(settings["trace_level"]), f"{settings}")
        await s.call("get_trace_settings", model_name=s.model)

    @matrix.answers
    async def update_trace_settings(s):
        await s.call("update_trace_settings", settings={"trace_level": ["OFF"]})
        setting = {"trace_file": "/x"}
        await s.refuses("OpenTelemetry", invalid, "update_trace_settings", settings=setting)

    @matrix.answers
    async def get_system_shared_memory_status(s):
        check(not await s.call("get_system_shared_memory_status"), "regions, but none can be")

    @matrix.answers
    async def get_cuda_shared_memory_status(s):
        check(not await s.call("get_cuda_shared_memory_status"), "regions, but none can be")

    @matrix.refuses
    async def register_system_shared_memory(s):
        await s.refuses(BY_DESIGN, invalid, "register_system_shared_memory", "r", "/k", 64)

    @matrix.refuses
    async def register_cuda_shared_memory(s):
        handle = b"aGFuZGxl"
        await s.refuses(BY_DESIGN, invalid, "register_cuda_shared_memory", "r", handle, 0, 64)

    @matrix.answers
    async def unregister_system_shared_memory(s):
        await s.call("unregister_system_shared_memory")
        await s.call("unregister_system_shared_memory", "r")

    @matrix.answers
    async def unregister_cuda_shared_memory(s):
        await s.call("unregister_cuda_shared_memory")
        await s.call("unregister_cuda_shared_memory", "r")

    # Plugins of the client: a way to add headers, which never reaches the server as such.
    @matrix.answers
    async def register_plugin(s):
        class Key(KeyPlugin):
            header = s.headers["authorization"]

        s.client.register_plugin(Key())
        done = s.client.is_model_ready(s.model)
        check(await done if inspect.isawaitable(done) else done, "the plugin's key was not sent")
        s.client.unregister_plugin()

    @matrix.answers
    async def unregister_plugin(s):
        s.client.register_plugin(KeyPlugin())
        s.client.unregister_plugin()
        check(s.client.plugin() is None, "still there")

    @matrix.answers
    async def plugin(s):
        check(s.client.plugin() is None, "a plugin that nobody registered")

    @matrix.answers
    async def close(s):
        # The session's client is needed on; that it closes is seen at the end of the script.
        check(callable(s.client.close), "no close")


def http_bodies(matrix):
    @matrix.answers
    async def generate_request_body(s):
        body, length = s.client.generate_request_body([s.input()])
        check(length and len(body) == length + VALUE.nbytes, f"{length} of {len(body)} bytes")

    @matrix.answers
    async def parse_response_body(s):
        json = (
            b'{"model_name":"m","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[2,3],'
            b'"parameters":{"binary_data_size":24}}]}'
        )
        s.is_echo(s.client.parse_response_body(json + VALUE.tobytes(), header_length=len(json)))


HTTP = Matrix("tritonclient.http", http.InferenceServerClient)
common(HTTP, False)
http_bodies(HTTP)


@HTTP.answers
async def async_infer(s):
    asked = [s.client.async_infer(s.model, [s.input()], headers=s.headers) for _ in range(4)]
    for one in asked:
        s.is_echo(one.get_result())


HTTP_AIO = Matrix("tritonclient.http.aio", http_aio.InferenceServerClient)
common(HTTP_AIO, False)
http_bodies(HTTP_AIO)

GRPC = Matrix("tritonclient.grpc", grpc.InferenceServerClient)
common(GRPC, True)


@GRPC.answers
async def async_infer(s):  # noqa: F811 - a case is named like its method
    results = queue.Queue()
    for _ in range(4):
        done = lambda result, error: results.put((result, error))
        s.client.async_infer(s.model, [s.input()], done, headers=s.headers)
    for _ in range(4):
        result, error = results.get(timeout=30)
        check(error is None, f"{error}")
        s.is_echo(result)


def streamed(s, requests):
    """What comes back on a stream for these (model, id)."""
    results = queue.Queue()
    done = lambda result, error: results.put((result, error))
    s.client.start_stream(done, headers=s.headers)
    for model, request_id in requests:
        s.client.async_stream_infer(model, [s.input()], request_id=request_id)
    answers = [results.get(timeout=30) for _ in requests]
    s.client.stop_stream()
    return answers


@GRPC.answers
async def start_stream(s):
    [(result, error)] = streamed(s, [(s.model, "a")])
    check(error is None, f"{error}")
    s.is_echo(result)


@GRPC.answers
async def async_stream_infer(s):
    answers = streamed(s, [(s.model, "a"), ("no-such-model", "b"), (s.model, "c")])
    ids = [result.get_response().id for result, error in answers if error is None]
    check(ids == ["a", "c"], f"{ids}")
    check("no model" in str(answers[1][1]), f"{answers[1]}")
    final = answers[0][0].get_response().parameters["triton_final_response"].bool_param
    check(final, "the only answer is not the final one")


@GRPC.answers
async def stop_stream(s):
    streamed(s, [])


GRPC_AIO = Matrix("tritonclient.grpc.aio", grpc_aio.InferenceServerClient)
common(GRPC_AIO, True)


@GRPC_AIO.answers
async def stream_infer(s):
    async def requests():
        for request_id in ("a", "b", "c"):
            yield {"model_name": s.model, "inputs": [s.input()], "request_id": request_id}

    ids = []
    async for result, error in s.client.stream_infer(requests(), headers=s.headers):
        check(error is None, f"{error}")
        s.is_echo(result)
        ids.append(result.get_response().id)
    check(ids == ["a", "b", "c"], f"{ids}")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--http", "--grpc", "--key", "--identity"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    results = []
    for matrix, module, url in (
        (HTTP, http, options.http),
        (HTTP_AIO, http_aio, options.http),
        (GRPC, grpc, options.grpc),
        (GRPC_AIO, grpc_aio, options.grpc),
    ):
        client = module.InferenceServerClient(url)
        results.append((matrix.name, *await matrix.run(Session(module, client, options))))
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
    finish(results)


asyncio.run(main())
