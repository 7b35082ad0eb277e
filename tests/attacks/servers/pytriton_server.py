"""Triton's Python backend with both models: python pytriton_server.py HTTP_PORT GRPC_PORT METRICS_PORT"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from hostile import Secret, attack

secret = Secret()


def answering(answer):
    @batch
    def infer(text):
        answers = [answer(one[0].decode()) for one in text]
        return {"answer": np.array([[one.encode()] for one in answers], dtype=np.bytes_)}

    return infer


if __name__ == "__main__":
    http, grpc, metrics = map(int, sys.argv[1:4])
    text, answer = Tensor(name="text", dtype=np.bytes_, shape=(1,)), Tensor(name="answer", dtype=np.bytes_, shape=(1,))
    config = TritonConfig(http_port=http, grpc_port=grpc, metrics_port=metrics, http_address="127.0.0.1")
    with Triton(config=config) as triton:
        for name, function in [("victim", str.upper), ("hostile", attack)]:
            triton.bind(
                model_name=name,
                infer_func=answering(function),
                inputs=[text],
                outputs=[answer],
                config=ModelConfig(max_batch_size=8),
            )
        triton.serve()
