"""Inputs and outputs of a plugin, with the classes of their dimensions."""

from typing import Sequence, Union

from wit_world.imports import types
from wit_world.imports.types import Dim_Batch, Dim_Dynamic, Dim_Fixed, Dim_Ragged
from wit_world.imports.types import Dtype as DType

Dim = Union[int, Dim_Batch, Dim_Ragged, Dim_Dynamic]

BATCH = Dim_Batch()
"""Independent items, one row each; calls may be joined along it."""


def ragged(offsets: str) -> Dim:
    """Sequences one after the other; `offsets` names the u32 input that holds their offsets."""
    return Dim_Ragged(offsets)


def dynamic(name: str = "") -> Dim:
    """Any extent; equal names mean equal extents within one call."""
    return Dim_Dynamic(name)


class Signature:
    """Inputs and outputs in order, at most 64 of each; built by chaining."""

    def __init__(self):
        self._signature = types.Signature([], [])

    def input(
        self, name: str, dtype: DType | None, dims: Sequence[Dim] | None, description: str = ""
    ) -> "Signature":
        """Adds an input. `None` as dtype or dims accepts any; an `int` in dims is a fixed extent."""
        self._signature.inputs.append(_spec(name, dtype, dims, description))
        return self

    def output(
        self, name: str, dtype: DType | None, dims: Sequence[Dim] | None, description: str = ""
    ) -> "Signature":
        """Adds an output, as `input`."""
        self._signature.outputs.append(_spec(name, dtype, dims, description))
        return self

    def to_host(self) -> types.Signature:
        """The signature as the contract has it."""
        return self._signature


def to_dims(dims: Sequence[Dim]) -> list[types.Dim]:
    """Dimensions as the contract has them."""
    return [Dim_Fixed(dim) if isinstance(dim, int) else dim for dim in dims]


def _spec(name, dtype, dims, description) -> types.TensorSpec:
    return types.TensorSpec(name, dtype, None if dims is None else to_dims(dims), description)
