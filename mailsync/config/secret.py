"""Fetch the mail password from where the configuration says it is kept. It is never logged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from mailsync.config.settings import SecretSettings
from mailsync.errors import LoginRefused
from mailsync.files import require_private

COMMAND_SECONDS_MAX: Final = 30
_BYTES_MAX = 65_536


def read_secret(secret: SecretSettings, base: Path) -> str:
    """The password, without one trailing newline.

    A command runs without a shell in the directory ``base``; a relative file is relative to
    it. Raises ``LoginRefused`` if there is no usable password, ``BadKeys`` if others can read
    the file.
    """
    if secret.command is not None:
        found = _from_command(secret.command, base)
    elif secret.file is not None:
        found = _from_file(base / secret.file)
    else:
        found = _from_environment(secret.env or "")
    return _checked(found)


def _from_command(command: list[str], base: Path) -> bytes:
    name = command[0]
    try:
        done = subprocess.run(  # noqa: S603  the operator's own configuration names it
            command,
            cwd=base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # Without the cause: it holds whatever of the password was printed.
        raise LoginRefused(
            f"the secret command {name} took more than {COMMAND_SECONDS_MAX} s"
        ) from None
    except OSError as error:
        raise LoginRefused(f"cannot run the secret command {name}: {error.strerror}") from error
    if done.returncode != 0:
        raise LoginRefused(f"the secret command {name} failed with exit code {done.returncode}")
    return done.stdout


def _from_file(path: Path) -> bytes:
    try:
        require_private(path)
        with path.open("rb") as file:
            return file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise LoginRefused(f"cannot read the secret file {path}: {error.strerror}") from error


def _from_environment(name: str) -> bytes:
    if name not in os.environ:
        raise LoginRefused(f"the environment variable {name} (the mail secret) is not set")
    return os.fsencode(os.environ[name])


def _checked(found: bytes) -> str:
    try:
        text = found.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise LoginRefused("the mail secret is not UTF-8 text") from None
    if not text:
        raise LoginRefused("the mail secret is empty")
    if len(found) > _BYTES_MAX or not text.isprintable():
        raise LoginRefused("the mail secret is not one line of text")
    return text
