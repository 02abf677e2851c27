"""Where passwords are kept, and fetching them from there. None is ever logged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from mailsync.config.section import FilePath, Section, Text
from mailsync.errors import LoginRefused
from mailsync.files import require_private

COMMAND_SECONDS_MAX: Final = 30
_BYTES_MAX = 65_536


class SecretSettings(Section):
    """Where a password is kept: exactly one of the three is set."""

    command: Annotated[list[Text], Field(min_length=1)] | None = None
    """Program and arguments, run without a shell; the password is what it prints."""
    file: FilePath | None = None
    """A file that holds the password and that only its owner can read."""
    env: Text | None = None
    """Name of an environment variable."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.command, self.file, self.env].count(None) != 2:
            raise ValueError("must name exactly one of command, file and env")
        return self


def _no_literal_secret(secret: object) -> object:
    if isinstance(secret, str):
        raise ValueError(  # noqa: TRY004  pydantic collects ValueErrors only
            "a password does not belong in this file; name where it is kept: "
            '{ command = ["pass", "show", "mail"] }, { file = "secret" } or { env = "NAME" }'
        )
    return secret


Secret = Annotated[SecretSettings, BeforeValidator(_no_literal_secret)]


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
        raise LoginRefused(f"the environment variable {name} (a secret) is not set")
    return os.fsencode(os.environ[name])


def _checked(found: bytes) -> str:
    try:
        text = found.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise LoginRefused("the secret is not UTF-8 text") from None
    if not text:
        raise LoginRefused("the secret is empty")
    if len(found) > _BYTES_MAX or not text.isprintable():
        raise LoginRefused("the secret is not one line of text")
    return text
