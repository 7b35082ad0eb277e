"""World `processor`: named tensors in, named tensors out."""

from .call import Answering, Inputs, Parameters, only_class
from .signature import Signature
from .tensor import Tensor


class Processor:
    """Pre- or postprocessing. A fresh instance, with the memory that `__init__` left, serves each
    call; what a call changes is gone with it."""

    def __init__(self, config: dict):
        """Runs once for a configuration, when the model is loaded. Raise `InputError` to refuse it."""

    def describe(self) -> Signature:
        """Inputs and outputs, as configured."""
        raise NotImplementedError

    def process(self, inputs: Inputs, parameters: Parameters) -> dict[str, Tensor]:
        """Answers one request; outputs by name. Raise `Error` for what cannot be answered."""
        raise NotImplementedError


def export(module):
    """The world's exports around the one `Processor` of the author's module."""
    return type("WitWorld", (Answering,), {"plugin_class": only_class(module, Processor)})
