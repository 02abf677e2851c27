"""``mailsync discover``: what can be synchronized, as sections ready for the configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsync.cli.invocation import Invocation
from mailsync.core.model import CONFLICTS
from mailsync.errors import Exit, NotInitialised

if TYPE_CHECKING:
    from mailsync.config import DatasetSettings
    from mailsync.datasets.offers import LeftOut, Offer

_URL: Final = re.compile(r"[a-z][a-z0-9+]*:")
_PLACE: Final = re.compile(r"(?<=:)(?:///)?")
_PASSWORD: Final = re.compile(r"^([a-z+]+://[^:/@]*):[^/]*@")
_STEM_LENGTH: Final = 50
"""Characters of a name, without the number behind it."""


@click.command()
@click.argument("place", metavar="URL")
@click.option(
    "--secret-command", metavar="CMD", help="Command that prints the password of a DAV server."
)
@click.option("--tls-ca", metavar="FILE", help="Certificates of a DAV server's own authority.")
@click.pass_context
def discover(
    ctx: click.Context, place: str, secret_command: str | None, tls_ca: str | None
) -> None:
    """List what a database, a folder, a file or a DAV server offers, as sections.

    URL is written as a source in the configuration; the path of a folder or file will do.
    """
    from mailsync.config import asked_source  # noqa: PLC0415  slow, as all below
    from mailsync.datasets.discovery import sources_at  # noqa: PLC0415
    from mailsync.datasets.offers import LeftOut  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    output = invocation.output
    here, base = Path.cwd(), _base(invocation)
    command = shlex.split(secret_command) if secret_command else None
    keys = {"secret": command and {"command": command}, "tls_ca": tls_ca}
    places = [place] if _URL.match(place) else sources_at(here / place)
    names: set[str] = set()
    left_out = 0
    asked = [asked_source(one, keys, here) for one in places]
    for section, found in _found(asked, here):
        if isinstance(found, LeftOut):
            left_out += 1
            output.show(f"\n# {_in_one_line(found.title)}: {_in_one_line(found.reason)}")
            output.line("left_out", title=found.title, reason=found.reason)
            continue
        name = _name_for(found.title, names)
        names.add(name)
        source = _written(found.source, base)
        output.show("\n" + "\n".join(_section(name, source, section, found)))
        output.line(
            "dataset",
            name=name,
            source=source,
            table=found.table,
            keys=found.keys,
            key=found.key,
            because=found.because,
            columns=[{"name": one, "type": kind} for one, kind in found.columns.items()],
            notes=found.notes,
        )
    output.say(f"{len(names)} can be datasets, {left_out} cannot")
    output.line("summary", datasets=len(names), left_out=left_out)
    ctx.exit(Exit.OK if names else Exit.PARTLY)


def _found(
    asked: Sequence[DatasetSettings], here: Path
) -> Iterator[tuple[DatasetSettings, Offer | LeftOut]]:
    """What there is at each of the places, beside what was asked for."""
    from mailsync.cycle.groups import access  # noqa: PLC0415  slow
    from mailsync.datasets.discovery import discover as look  # noqa: PLC0415

    for section in asked:
        for found in look(section.source, access(section, here)):
            yield section, found


def _section(name: str, source: str, asked: DatasetSettings, offer: Offer) -> Iterator[str]:
    because = f"    # {_in_one_line(offer.because)}" if offer.because else ""
    yield f"[datasets.{name}]"
    yield f"source = {_quoted(source)}"
    if _PASSWORD.match(offer.source):
        yield "# its password is left out: keep it where the manual says"
    if asked.secret is not None:
        command = ", ".join(map(_quoted, asked.secret.command or ()))
        yield f"secret = {{ command = [{command}] }}"
    if asked.tls_ca is not None:
        yield f"tls_ca = {_quoted(str(asked.tls_ca))}"
    if offer.table is not None:
        yield f"table = {_quoted(offer.table)}"
    if offer.key:
        yield f"key = [{', '.join(map(_quoted, offer.key))}]{because}"
    elif offer.keys is not None:
        yield f"keys = {_quoted(offer.keys)}{because}"
    yield from (f"# {_in_one_line(note)}" for note in offer.notes)


def _written(source: str, base: Path) -> str:
    """The source as a configuration in ``base`` says it, without a password."""
    path = _PLACE.split(source, maxsplit=1)[1]
    if "://" in source and not source.startswith("sqlite:"):
        return _PASSWORD.sub(r"\1@", source)
    inside = Path(path).is_relative_to(base)
    return f"{source.removesuffix(path)}{Path(path).relative_to(base) if inside else path}"


def _base(invocation: Invocation) -> Path:
    """Where the configuration is, or would be."""
    try:
        return invocation.configuration_path().resolve().parent
    except NotInitialised:
        return Path.cwd()


def _name_for(title: str, taken: Collection[str]) -> str:
    """A name for a dataset that nothing else has."""
    stem = re.sub(r"[^a-z0-9_-]+", "-", title.lower()).strip("-_")[:_STEM_LENGTH] or "dataset"
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 4)))
    return next(name for name in names if name not in taken and name != CONFLICTS)


def _quoted(text: str) -> str:
    """A text of TOML in which nothing needs an escape to be shown."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    shown = (one if one.isprintable() else f"\\U{ord(one):08X}" for one in plain)
    return f'"{"".join(shown)}"'


def _in_one_line(text: str) -> str:
    """What may stand in a comment."""
    return "".join(one if one.isprintable() else " " for one in text)
