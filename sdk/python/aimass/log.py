"""Messages to the operator; plugin.toml asks for `log`."""

from wit_world.imports import log as _log
from wit_world.imports.log import Level


def write(level: Level, message: str) -> None:
    """Writes one message, at most 4 KiB; 64 KiB a call, more is dropped and counted."""
    _log.write(level, message)


def info(message: str) -> None:
    """Writes a message of ordinary importance."""
    write(Level.INFO, message)


def warn(message: str) -> None:
    """Writes a message about something that should be mended."""
    write(Level.WARN, message)
