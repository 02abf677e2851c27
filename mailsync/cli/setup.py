"""``mailsync init``: a new site's configuration, keys and place for its peers' cards."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from mailsync.cli.invocation import Invocation
from mailsync.errors import BadConfiguration, OperatorError, UsageError

if TYPE_CHECKING:
    from mailsync.core.sealing import PrivateKeys

_TEMPLATE = """\
# mailsync.toml: one site. Check it with: mailsync config check
# Relative paths are relative to this file.

[site]
name = {name}                # peers know this site by this name
state = "state.db"           # what mailsync remembers of your data
keys = "keys"                # the site's private keys; keep a backup, show them to nobody

[mail]
address = {address}
imap = {imap}  # imap:// to this machine only
smtp = {smtp}  # or smtp+starttls://; smtp:// to this machine only
{secret}
# folder = "INBOX"
# tls_ca = "ca.pem"          # an own authority; verification is never off
# dispose = "delete"         # of our own mails, once used: "keep", "delete" or "move"
# dispose_after = "7d"
# dispose_folder = "Done"    # for dispose = "move"

# A dataset has the same name at every site.
# [datasets.defects]
# source = "sqlite:///pms.db"       # or vcard:FOLDER for an address book, ical:FOLDER
# table = "defects"
# keys = "local"                    # each site its own primary keys; "shared" for natural ones

# Peers are added by: mailsync pair add FILE
"""

_HINT = """\
# The password never stands in this file; name where it is kept:
# secret = { command = ["pass", "show", "mail"] }   # or { file = "secret" } or { env = "NAME" }"""


class AlreadyInitialised(OperatorError):
    """Name another place with -c FILE, or go on with: mailsync config check."""


@click.command()
@click.option("--site", required=True, metavar="NAME", help="This site's name for its peers.")
@click.option("--address", required=True, metavar="ADDR", help="This site's mail address.")
@click.option("--imap", metavar="URL", help="imaps://USER@HOST:PORT, where mail arrives.")
@click.option("--smtp", metavar="URL", help="smtps:// or smtp+starttls://, where mail leaves.")
@click.option("--secret-command", metavar="CMD", help="Command that prints the mail password.")
@click.option("--join", metavar="INVITE", help="Accept an invite (not in this version).")
@click.pass_obj
def init(
    invocation: Invocation,
    site: str,
    address: str,
    imap: str | None,
    smtp: str | None,
    secret_command: str | None,
    join: str | None,
) -> None:
    """Write a commented configuration and keys; overwrite nothing."""
    from mailsync.config import FILE_NAME  # noqa: PLC0415  pydantic is slow to import
    from mailsync.files import PRIVATE_FILE, create_file, not_written  # noqa: PLC0415
    from mailsync.keys import card_fingerprint  # noqa: PLC0415

    if join is not None:
        raise UsageError("--join: not supported by this version; exchange cards by pair add")
    path = invocation.option or Path(os.environ.get("MAILSYNC_CONFIG") or FILE_NAME)
    content = _content(site, address, imap, smtp, secret_command)
    _check(content, path)
    directory = path.absolute().parent
    try:
        if path.exists():
            raise AlreadyInitialised(f"{path} exists already and stays as it is")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "peers").mkdir(exist_ok=True)
        keys = _keys(invocation, directory / "keys")
        _state(invocation, directory / "state.db")
        create_file(path, content, PRIVATE_FILE)
    except OSError as error:
        raise not_written(Path(error.filename or path), error) from error
    _tell(invocation, path, card_fingerprint(keys.public))
    if imap is None or smtp is None:
        invocation.output.say("The mail servers in it are guessed from the address: check them.")


def _content(
    site: str, address: str, imap: str | None, smtp: str | None, secret_command: str | None
) -> bytes:
    user, domain = quote(address, safe=""), address.rpartition("@")[2]
    secret = _HINT
    if secret_command is not None:
        secret = f"secret = {{ command = {json.dumps(_arguments(secret_command))} }}"
    text = _TEMPLATE.format(
        name=_quoted(site),
        address=_quoted(address),
        imap=_quoted(imap or f"imaps://{user}@imap.{domain}:993"),
        smtp=_quoted(smtp or f"smtps://{user}@smtp.{domain}:465"),
        secret=secret,
    )
    return text.encode(errors="backslashreplace")


def _arguments(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--secret-command: {error}") from error


def _quoted(text: str) -> str:
    """As a TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _check(content: bytes, path: Path) -> None:
    """Refuse options that would give a configuration we could not read."""
    from mailsync.config import parse  # noqa: PLC0415  see above

    try:
        parse(content, path)
    except BadConfiguration as error:
        lines = [line.removeprefix(f"{path}:") for line in str(error).splitlines()]
        raise UsageError("\n".join(line.partition(": ")[2] for line in lines)) from error


def _keys(invocation: Invocation, directory: Path) -> PrivateKeys:
    """New keys, or those that are there: they may be a backup's, or of an init cut short."""
    from mailsync.keys import KEY_FILE, create_keys, load_keys  # noqa: PLC0415  see above

    if (directory / KEY_FILE).exists():
        invocation.output.say(f"kept the keys in {directory}")
        return load_keys(directory)
    return create_keys(directory)


def _state(invocation: Invocation, path: Path) -> None:
    """A new state store, or the one that is there, as with the keys."""
    from mailsync.store.state import StateStore  # noqa: PLC0415  SQLAlchemy is slow to import

    if path.exists():
        invocation.output.say(f"kept the state store {path}")
    else:
        StateStore.create(path).close()


def _tell(invocation: Invocation, path: Path, fingerprint: str) -> None:
    output = invocation.output
    output.show(f"wrote {path} and this site's keys")
    output.show(f"card fingerprint  {fingerprint}")
    output.line("summary", configuration=path, fingerprint=fingerprint)
    output.say(
        "Next: add datasets to it, then hand your card over (mailsync pair card -o FILE)\n"
        "and take the peer's (mailsync pair add FILE)."
    )
