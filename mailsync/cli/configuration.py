"""``mailsync config``: is the configuration right, and what does it come to?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mailsync.cli.invocation import Invocation
from mailsync.errors import BadCard, BadConfiguration

if TYPE_CHECKING:
    from mailsync.config import Settings


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@click.pass_obj
def check(invocation: Invocation) -> None:
    """Name every mistake, also in the peers' cards, and what of the datasets will not travel."""
    from mailsync.doctor.foresight import foresee  # noqa: PLC0415  slow

    settings = invocation.settings()
    foreseen = list(foresee(settings))
    mistakes = [
        *_card_mistakes(settings),
        *(f"[datasets.{one.dataset}] {one.text}" for one in foreseen if one.is_mistake),
    ]
    if mistakes:
        raise BadConfiguration("\n".join(f"{settings.path}: {mistake}" for mistake in mistakes))
    for one in foreseen:
        invocation.output.say(f"{one.dataset}: {one.text}")
        invocation.output.line("warning", dataset=one.dataset, text=one.text)
    counts = {"peers": len(settings.peers), "datasets": len(settings.datasets)}
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    invocation.output.show(f"{settings.path} is right: site {settings.site.name}, {told}")
    invocation.output.line("summary", configuration=settings.path, **counts)


@config.command()
@click.pass_obj
def show(invocation: Invocation) -> None:
    """Show the configuration with all defaults; passwords are never in it."""
    import tomlkit  # noqa: PLC0415  slow

    settings = invocation.settings()
    document, groups = _document(settings), _groups(settings)
    invocation.output.show(f"# {settings.path}\n{tomlkit.dumps(document).rstrip()}")
    for name, group in groups.items():
        if group["problem"]:
            invocation.output.show(f"# {name}: {group['problem']}")
        invocation.output.show(f"# {name} stands for {', '.join(group['datasets']) or 'nothing'}")
        for table, reason in group["left_out"].items():
            invocation.output.show(f"# {name} leaves out {table}: {reason}")
    invocation.output.line("summary", configuration=settings.path, settings=document, groups=groups)


def _groups(settings: Settings) -> dict[str, dict[str, Any]]:
    """What each group of datasets stands for."""
    if not any(section.is_group for section in settings.datasets.values()):
        return {}
    from mailsync.cycle.groups import Memory, Opened, expand  # noqa: PLC0415  slow

    with closing(Opened(settings.path.parent)) as opened:
        found = expand(settings, Memory(), opened)
    return {
        group: {
            "datasets": [name for name in found.sections if settings.section_of(name) == group],
            "left_out": found.left_out.get(group, {}),
            "problem": str(found.unavailable.get(group, "")),
        }
        for group, section in settings.datasets.items()
        if section.is_group
    }


def _card_mistakes(settings: Settings) -> list[str]:
    from mailsync.keys import CARD_CHARACTERS_MAX, read_card  # noqa: PLC0415  slow

    mistakes = []
    for name, peer in settings.peers.items():
        try:
            with peer.card.open("rb") as file:
                read_card(file.read(CARD_CHARACTERS_MAX + 1).decode("ascii", "replace"))
        except BadCard as error:
            mistakes.append(f"[peers.{name}] card {peer.card}: {error}")
        except OSError as error:
            mistakes.append(f"[peers.{name}] card {peer.card}: {error.strerror}")
    return mistakes


def _document(settings: Settings) -> dict[str, Any]:
    """The settings as the file would say them, a secret command without its arguments."""
    document = settings.model_dump(mode="json", exclude_none=True, exclude={"path"})
    command = document.get("mail", {}).get("secret", {}).get("command")
    if command is not None:
        command[1:] = ["..."] * len(command[1:])
    return document
