"""World `model`: glue that calls plans for each request."""

from typing import Mapping

from .call import Answering, Inputs, Parameters, named_tensors, only_class
from .errors import ask
from .signature import Signature
from .tensor import Tensor

try:
    from wit_world.imports import plans as _plans
except ImportError:  # plugin.toml does not ask for `plans`
    _plans = None
try:
    from wit_world.imports import models as _models
except ImportError:
    _models = None
try:
    from wit_world.imports import emit as _emit
except ImportError:
    _emit = None


class Model:
    """Glue, written as if it were alone: the host joins its plan calls with those of others."""

    def __init__(self, config: dict):
        """Runs once for a configuration, when the model is loaded."""

    def describe(self) -> Signature:
        """Inputs and outputs, as configured."""
        raise NotImplementedError

    def process(self, inputs: Inputs, parameters: Parameters) -> dict[str, Tensor]:
        """Answers one request; outputs by name."""
        raise NotImplementedError


class Plan:
    """A compiled plan of the model. `Plan("main")` raises `not-found/plan` with the known names."""

    def __init__(self, name: str):
        self._plan = ask(_plans.get, name)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the plan; inputs and outputs by name. Raises `input/missing-input`, `input/shape`,
        `deadline/deadline`, `unavailable/overloaded`."""
        borrowed = [(name, tensor.handle) for name, tensor in inputs.items()]
        outputs = ask(self._plan.run, borrowed, None)
        return {named.name: Tensor(named.value) for named in outputs}


def infer(model: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Runs another model (`name`, `name@label`, `name@version`) that plugin.toml lists in `models`."""
    borrowed = [(name, tensor.handle) for name, tensor in inputs.items()]
    outputs = ask(_models.infer, model, borrowed, [])
    return {named.name: Tensor(named.value) for named in outputs}


def emit(outputs: Mapping[str, Tensor]) -> None:
    """Sends one item to the client before the call ends. Raises `cancelled/cancelled`."""
    ask(_emit.emit, named_tensors(outputs.items()))


def export(module):
    """The world's exports around the one `Model` of the author's module."""
    return type("WitWorld", (Answering,), {"plugin_class": only_class(module, Model)})
