"""What a plugin answers instead of outputs.

The family decides who is told: only `InputError` reaches the client as its own fault (HTTP 400),
everything else is the operator's or the plugin author's to mend.
"""

from componentize_py_types import Err
from wit_world.imports import types


class Error(Exception):
    """An error of `family` with a stable `code` in kebab-case (at most 64 bytes) and a `message`
    for a person (at most 4 KiB): what was expected, what came, how to mend it."""

    family = types.ErrorFamily.INTERNAL

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def _to_host(self) -> types.Error:
        return types.Error(self.family, self.code, self.message)


class InputError(Error):
    """The caller's input is at fault: a shape, a dtype, a value, the configuration."""

    family = types.ErrorFamily.INPUT


class NotFoundError(Error):
    """Something named does not exist."""

    family = types.ErrorFamily.NOT_FOUND


class LimitError(Error):
    """A limit is reached."""

    family = types.ErrorFamily.LIMIT


class UnsupportedError(Error):
    """The plugin knows what is asked for, but has no code for it."""

    family = types.ErrorFamily.UNSUPPORTED


class HostError(Error):
    """The host refused something; `family` says who has to act."""

    def __init__(self, error: types.Error):
        super().__init__(error.code, error.message)
        self.family = error.family


def ask(function, *arguments):
    """Calls a function of the host; its refusal is raised as `HostError`."""
    try:
        return function(*arguments)
    except Err as refusal:
        raise HostError(refusal.value) from None


def to_host(error: BaseException) -> types.Error:
    """Any exception as the contract's error; an unexpected one is a defect of the plugin."""
    if isinstance(error, Error):
        return error._to_host()
    if isinstance(error, Err):
        return error.value
    trace, where = error.__traceback__, ""
    while trace is not None:
        where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    message = f"{type(error).__name__}: {error}{where}"
    return types.Error(types.ErrorFamily.INTERNAL, "exception", message)
