"""PyTriton's Triton with an identity model in Python, as its quick start writes one."""

import numpy as np
from announce import announce, free_port
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def identity(INPUT0):  # noqa: N803 - the input's name
    return {"OUTPUT0": INPUT0}


port = free_port()
config = TritonConfig(
    http_port=port, grpc_port=free_port(), metrics_port=free_port(), http_address="127.0.0.1", log_verbose=0
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="identity",
        infer_func=identity,
        inputs=[Tensor(name="INPUT0", dtype=np.float32, shape=(-1,))],
        outputs=[Tensor(name="OUTPUT0", dtype=np.float32, shape=(-1,))],
        config=ModelConfig(max_batch_size=64),
    )
    triton.run()
    announce(port)
    triton.serve()
