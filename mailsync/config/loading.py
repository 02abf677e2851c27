"""Find the configuration file and read it, naming all its mistakes at once."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mailsync.config.lines import key_lines, line_of
from mailsync.config.mistakes import (
    Mistake,
    mistakes_in,
    unfit_tables,
    unknown_datasets,
    unknown_peers,
    unlinked_peers,
)
from mailsync.config.settings import Settings
from mailsync.errors import BadConfiguration, NotInitialised

FILE_NAME: Final = "mailsync.toml"
VARIABLE: Final = "MAILSYNC_CONFIG"

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def find(option: Path | None, environment: Mapping[str, str]) -> Path:
    """The configuration file: named by option or environment, or in one of the usual places.

    Raises ``NotInitialised``; a file that was named is never replaced by one that was not.
    """
    variable = environment.get(VARIABLE)
    if option is not None or variable:
        named = option if option is not None else Path(variable or "")
        if not _is_there(named):
            origin = "" if option is not None else f" (named by ${VARIABLE})"
            raise NotInitialised(f"no configuration file {named}{origin}")
        return named
    places = list(_usual_places(environment))
    for place in places:
        if _is_there(place):
            return place
    raise NotInitialised(f"no configuration file; looked for {', '.join(map(str, places))}")


def load(path: Path) -> Settings:
    """The settings in a file. Raises ``BadConfiguration`` naming every mistake and its line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> Settings:
    """The settings in a file's content, whether or not the file exists yet.

    Raises ``BadConfiguration`` naming every mistake and its line.
    """
    text = _decoded(content, path)
    document = _parsed(text, path)
    mistakes = [
        *unknown_datasets(document),
        *unknown_peers(document),
        *unfit_tables(document),
        *unlinked_peers(document),
    ]
    if "path" in document:  # an attribute of Settings, but not a key of the file
        mistakes.append(Mistake(("path",), "unknown section"))
    absolute = path.absolute()
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(
            {**document, "path": absolute}, context={"base": absolute.parent}
        )
    except ValidationError as error:
        mistakes += mistakes_in(error)
    if mistakes or settings is None:
        raise BadConfiguration(_report(mistakes, text, path))
    return settings


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # not even its directory may be read
        return False


def _usual_places(environment: Mapping[str, str]) -> Iterator[Path]:
    yield Path(FILE_NAME)
    home = _home()
    if sys.platform == "win32":
        user = environment.get("APPDATA") or home / "AppData" / "Roaming"
        system = environment.get("PROGRAMDATA") or r"C:\ProgramData"
    elif sys.platform == "darwin":
        user = home / "Library" / "Application Support"
        system = "/Library/Application Support"
    else:
        user = environment.get("XDG_CONFIG_HOME") or home / ".config"
        system = "/etc"
    yield Path(user) / "mailsync" / FILE_NAME
    yield Path(system) / "mailsync" / FILE_NAME


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a service's user need not have one
        return Path("/")


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")  # some editors begin with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadConfiguration(f"{path}:{line}: not UTF-8 text") from error


def _parsed(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise BadConfiguration(f"{path}: nested too deeply") from error
    except ValueError as error:
        place = _TOML_PLACE.search(str(error))
        message = _TOML_PLACE.sub("", str(error))
        if place and place[1]:
            raise BadConfiguration(f"{path}:{place[1]}: {message} (column {place[2]})") from error
        end = max(1, len(text.splitlines()))
        raise BadConfiguration(f"{path}:{end}: {message} at the end of the file") from error


def _report(mistakes: Iterable[Mistake], text: str, path: Path) -> str:
    """One line a mistake, in the order of the file."""
    lines = key_lines(text)
    found = sorted((line_of(lines, mistake.path) or 0, str(mistake)) for mistake in mistakes)
    return "\n".join(f"{path}:{line or 1}: {mistake}" for line, mistake in found)
