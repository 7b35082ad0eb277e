"""What the worlds `processor` and `model` share: how a call reaches the plugin's class."""

import json
from typing import Iterable, Mapping

from componentize_py_types import Err
from wit_world.imports import tensor as host

from .errors import Error, InputError, to_host
from .tensor import Tensor

try:
    from wit_world.imports import config as _config
except ImportError:  # plugin.toml does not ask for `config`
    _config = None

Parameters = Mapping[str, "bool | int | float | str | list[int]"]
"""Parameters of a request by name, as Python values."""


class Inputs(dict):
    """Tensors of a request by name."""

    def __missing__(self, name: str) -> Tensor:
        known = ", ".join(self) or "none"
        raise InputError("missing-input", f"expected an input `{name}`, got {known}")


def read_config() -> dict:
    """The plugin's configuration in this model, checked against its schema; `{}` if none is set."""
    return json.loads(_config.get()) if _config else {}


def only_class(module, base: type) -> type:
    """The one class of the author's module that is a `base`."""
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base) and item is not base
    ]
    if len(found) != 1:
        raise TypeError(f"src/plugin.py: expected one class that is a {base.__name__}, got {found}")
    return found[0]


class World:
    """The functions that every world exports; `plugin` is made by `init`, once."""

    plugin_class: type
    plugin = None

    def init(self) -> None:
        try:
            World.plugin = self.plugin_class(read_config())
        except Error as error:
            if _config is None:
                raise
            _config.reject(error._to_host())


class Answering(World):
    """The functions of worlds that answer requests."""

    def describe(self):
        return World.plugin.describe().to_host()

    def process(self, inputs, parameters):
        tensors = Inputs((named.name, Tensor(named.value)) for named in inputs)
        values = {name: parameter.value for name, parameter in parameters}
        try:
            outputs = World.plugin.process(tensors, values)
            return named_tensors(outputs.items())
        except Exception as error:
            raise Err(to_host(error)) from None


def named_tensors(tensors: Iterable[tuple[str, Tensor]]) -> list[host.NamedTensor]:
    """Tensors as the contract hands them over; each gives up its handle."""
    return [host.NamedTensor(name, tensor.handle) for name, tensor in tensors]
