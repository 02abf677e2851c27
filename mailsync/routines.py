"""Users' own code: functions in a Python file that the configuration names.

It is loaded here and nowhere else, runs in this process with its rights, and never comes from
the wire. Whatever a function raises is told in its own words, with the line it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final

from mailsync.errors import BadConfiguration

PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types of what a field can hold."""

Routine = Callable[..., object]
"""A user's function. Raises :class:`RoutineFailed` and nothing else."""


class RoutineFailed(Exception):
    """A user's function gave up; the message says where, and what it said."""


def read_routines(path: Path) -> Mapping[str, object]:
    """What the file defines, by name. Raises :class:`mailsync.errors.BadConfiguration`."""
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise BadConfiguration(f"cannot read the routines in {path}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        place = f"{path}:{getattr(error, 'lineno', None) or 1}"
        raise BadConfiguration(f"{place}: {getattr(error, 'msg', error)}") from error
    module = ModuleType(path.stem)
    try:
        exec(code, module.__dict__)  # noqa: S102  the operator's own file, named by the operator
    except (Exception, SystemExit) as error:
        raise BadConfiguration(_told(error, path)) from error
    return vars(module)


def routine(path: Path, defined: Mapping[str, object], name: str) -> Routine:
    """The function ``name`` among what the file ``path`` defines.

    Raises :class:`mailsync.errors.BadConfiguration` if there is none.
    """
    function = defined.get(name)
    if not callable(function):
        raise BadConfiguration(f"{path} defines no function {name}")

    def call(*values: object) -> object:
        try:
            return function(*values)
        except (Exception, SystemExit) as error:
            raise RoutineFailed(_told(error, path)) from error

    return call


def _told(error: BaseException, path: Path) -> str:
    """``rules.py:12: what it said``; the kind of error too, unless it is a plain ValueError."""
    kind = type(error).__name__
    words = str(error) if type(error) is ValueError and str(error) else f"{kind}: {error}"
    return f"{path.name}:{_line(error.__traceback__, path)}: {words}"


def _line(traceback: TracebackType | None, path: Path) -> int:
    """The innermost line of the file that the error passed through."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
