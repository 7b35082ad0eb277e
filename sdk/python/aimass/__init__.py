"""The SDK of AI Mass for Python plugins.

A plugin is a file `src/plugin.py` with one class that is a `Processor` (`aimass.processor`), a `Model`
(`aimass.model`) or a `Format` (`aimass.format`). It imports nothing of the machine: there is no network, no
file and no clock beside what plugin.toml asks for. `random` repeats itself, since its seed is a part
of the component.
"""

from .errors import Error, HostError, InputError, LimitError, NotFoundError, UnsupportedError
from .signature import BATCH, Signature, dynamic, ragged
from .tensor import DType, Tensor

__all__ = [
    "BATCH", "DType", "Error", "HostError", "InputError", "LimitError", "NotFoundError", "Signature",
    "Tensor", "UnsupportedError", "dynamic", "ragged",
]
