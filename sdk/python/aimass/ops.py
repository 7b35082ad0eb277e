"""Ops of the host on tensors: native speed, nothing is copied into the plugin."""

from wit_world.imports import tensor as host
from wit_world.imports import types

from .errors import ask
from .tensor import Tensor


def run(op: str, *inputs: Tensor, **attributes) -> list[Tensor]:
    """Runs one op of the contract's `builder` by its name (`softmax`, `ragged-mean`).

    `inputs` are its value arguments in order, `attributes` the others by name. Raises
    `unsupported/op` and the errors of the op.
    """
    named = [(name.replace("_", "-"), _parameter(value)) for name, value in attributes.items()]
    return [Tensor(out) for out in ask(host.run, op, [x.handle for x in inputs], named)]


def softmax(x: Tensor, axis: int) -> Tensor:
    """`e^x / sum(e^x)` along `axis`; shape and dtype as `x`."""
    return run("softmax", x, axis=axis)[0]


def _parameter(value) -> types.Parameter:
    if isinstance(value, bool):
        return types.Parameter_Boolean(value)
    if isinstance(value, int):
        return types.Parameter_Integer(value)
    if isinstance(value, float):
        return types.Parameter_Float(value)
    if isinstance(value, str):
        return types.Parameter_Text(value)
    return types.Parameter_Integers(list(value))
