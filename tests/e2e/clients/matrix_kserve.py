"""Every public method of KServe's inference clients (protocol v2) against a running server."""

import argparse
import asyncio
import sys

parser = argparse.ArgumentParser(description=__doc__)
for option in ("--http", "--grpc", "--key", "--identity"):
    parser.add_argument(option, required=True)
options = parser.parse_args()
# kserve reads the command line when it is imported, and knows other options.
del sys.argv[1:]

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.errors import UnsupportedProtocol
from matrix import Matrix, check, finish, refused

VALUE = np.arange(6, dtype=np.float32).reshape(2, 3)


class Session:
    def __init__(self, client, options):
        self.client, self.model, self.url = client, options.identity, f"http://{options.http}"
        self.key = f"Bearer {options.key}"

    def request(self, value=VALUE, datatype="FP32", binary=True):
        tensor = InferInput("INPUT0", list(value.shape), datatype)
        tensor.set_data_from_numpy(value, binary_data=binary)
        return InferRequest(model_name=self.model, infer_inputs=[tensor], request_id="seven")

    def is_echo(self, response, value=VALUE):
        got = response.outputs[0].as_numpy()
        check(got.dtype == value.dtype and (got == value).all(), f"{value} became {got}")
        check(response.id == "seven", f"the id came back as {response.id!r}")


REST = Matrix("kserve.InferenceRESTClient", InferenceRESTClient)


@REST.answers
async def is_server_live(s):
    check(await s.client.is_server_live(s.url), "not live")


@REST.answers
async def is_server_ready(s):
    check(await s.client.is_server_ready(s.url), "not ready")


@REST.answers
async def is_model_ready(s):
    headers = {"authorization": s.key}
    check(await s.client.is_model_ready(s.url, s.model, headers=headers), "not ready")


@REST.answers
async def infer(s):
    headers = {"authorization": s.key}
    for binary in (False, True):
        request = s.request(binary=binary)
        s.is_echo(await s.client.infer(s.url, request, model_name=s.model, headers=headers))
    text = np.array([b"a", b"bc"], dtype=object)
    request = s.request(text, "BYTES", binary=True)
    answer = await s.client.infer(s.url, request, model_name=s.model, headers=headers)
    got = [one if isinstance(one, bytes) else one.encode() for one in answer.outputs[0].as_numpy()]
    check(got == [b"a", b"bc"], f"{got}")


@REST.refuses
async def explain(s):
    # The client itself has explanations in protocol v1 only.
    call = lambda: s.client.explain(s.url, s.model, {"instances": [1]})
    await refused(UnsupportedProtocol, call, "")


@REST.answers
async def close(s):
    check(callable(s.client.close), "no close")


GRPC = Matrix("kserve.InferenceGRPCClient", InferenceGRPCClient)


@GRPC.answers
async def is_server_live(s):  # noqa: F811 - a case is named like its method
    check(await s.client.is_server_live(), "not live")


@GRPC.answers
async def is_server_ready(s):  # noqa: F811
    check(await s.client.is_server_ready(), "not ready")


@GRPC.answers
async def is_model_ready(s):  # noqa: F811
    headers = (("authorization", s.key),)
    check(await s.client.is_model_ready(s.model, headers=headers), "not ready")
    await refused(grpc.RpcError, lambda: s.client.is_model_ready(s.model), "UNAUTHENTICATED")


@GRPC.answers
async def infer(s):  # noqa: F811
    headers = (("authorization", s.key),)
    for binary in (False, True):
        s.is_echo(await s.client.infer(s.request(binary=binary), headers=headers))
    for datatype in (np.int8, np.uint16, np.int64, np.uint64, np.float64, np.bool_):
        value = np.array([[1, 0]]).astype(datatype)
        names = {"bool": "BOOL", "float64": "FP64"}
        name = names.get(value.dtype.name, value.dtype.name.upper())
        request = s.request(value, name, binary=False)
        s.is_echo(await s.client.infer(request, headers=headers), value)


@GRPC.answers
async def close(s):  # noqa: F811
    check(callable(s.client.close), "no close")


async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    grpc_client = InferenceGRPCClient(options.grpc)
    results = [
        (REST.name, *await REST.run(Session(rest, options))),
        (GRPC.name, *await GRPC.run(Session(grpc_client, options))),
    ]
    await rest.close()
    await grpc_client.close()
    finish(results)


asyncio.run(main())
