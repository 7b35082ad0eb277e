"""World `format`: reads a package's files and builds graphs from them, once, at load."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import files as _files
from wit_world.imports import graph as _graph

from .call import World, only_class
from .errors import ask, to_host
from .signature import to_dims


class Format:
    """A model format. Weights stay in the host: a graph names ranges of files."""

    def __init__(self, config: dict):
        """Runs once for a configuration."""

    def detect(self, files: dict[str, int]) -> str | None:
        """The format's name if these files (name to bytes) are of it."""
        raise NotImplementedError

    def load(self, files: dict[str, int]) -> "dict[str, Graph]":
        """The model's graphs by name; a static model has one, `main`, whose signature is the model's."""
        raise NotImplementedError


class File:
    """An open file of the package. Raises `not-found/file`."""

    def __init__(self, name: str):
        self.handle = ask(_files.open, name)

    def __len__(self) -> int:
        return self.handle.size()

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from `offset`, at most 64 MiB; all of the rest if `length` is None."""
        length = len(self) - offset if length is None else length
        return ask(self.handle.read, offset, length)


class Graph:
    """A graph under construction. Methods are those of the contract's `builder`, in snake case
    (`graph.matmul(x, w)`); values are numbers. A refusal of the host is raised as `HostError`."""

    def __init__(self):
        self._builder = _graph.Builder()

    def input(self, name, dtype, dims) -> int:
        """Declares an input; an `int` in dims is a fixed extent."""
        return ask(self._builder.input, name, dtype, to_dims(dims))

    def weight(self, name, dtype, shape, file: File, offset: int = 0) -> int:
        """A weight: the bytes of `file` from `offset`. The plugin does not read them."""
        return ask(self._builder.weight, name, dtype, list(shape), file.handle, offset)

    def __getattr__(self, op: str):
        method = getattr(self._builder, op)
        return lambda *arguments: ask(method, *arguments)

    def finish(self):
        """The checked graph."""
        return ask(_graph.Builder.finish, self._builder)


class _Exports(World):
    def detect(self, files):
        return World.plugin.detect({file.name: file.size for file in files})

    def load(self, files):
        try:
            graphs = World.plugin.load({file.name: file.size for file in files})
            finished = [(name, graph.finish()) for name, graph in graphs.items()]
        except Exception as error:
            raise Err(to_host(error)) from None
        signature = dict(finished).get("main", finished[0][1]).signature()
        plans = [wit_world.NamedPlan(name, graph) for name, graph in finished]
        return wit_world.LoadedModel(plans, signature)


def export(module):
    """The world's exports around the one `Format` of the author's module."""
    return type("WitWorld", (_Exports,), {"plugin_class": only_class(module, Format)})
