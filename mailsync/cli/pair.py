"""``mailsync pair``: make two sites known to each other by cards that people hand over.

Nothing is accepted on the word of a mail: each end adds the other's card, and two people
compare one fingerprint over both ends' keys.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.errors import BadCard, BadConfiguration, UsageError

if TYPE_CHECKING:
    from mailsync.config import PeerSettings, Settings
    from mailsync.keys import Card

_BYTES_MAX = 65_536


@click.group()
def pair() -> None:
    """Exchange cards with another site."""


@pair.command("card")
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write here.")
@click.pass_obj
def show_card(invocation: Invocation, target: Path | None) -> None:
    """Show this site's card, to be handed to a peer."""
    from mailsync.keys import card_fingerprint, load_keys, write_card  # noqa: PLC0415  slow

    settings = invocation.settings()
    keys = load_keys(settings.site.keys)
    text = write_card(keys, settings.site.name, _own_address(settings), settings.site.guid_class)
    output = invocation.output
    if target is None:
        output.show(text.rstrip("\n"))
    else:
        _write_once(target, text)
        output.show(f"wrote {target}")
    fingerprint = card_fingerprint(keys.public)
    output.say(f"card fingerprint  {fingerprint}")
    output.line("summary", card=text, fingerprint=fingerprint)


@pair.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--datasets", metavar="A,B", help="Only these; otherwise all.")
@click.option("--name", metavar="NAME", help="What to call the peer here; else as it does.")
@click.pass_obj
def add(invocation: Invocation, file: Path, datasets: str | None, name: str | None) -> None:
    """Accept the card in FILE ("-": standard input) as a peer's."""
    from mailsync.config import add_peer  # noqa: PLC0415  pydantic is slow to import
    from mailsync.keys import read_card  # noqa: PLC0415  slow

    settings = invocation.settings()
    text = _read(file)
    card = read_card(text)
    peer = name or card.site
    wanted = _wanted(datasets, settings)
    if peer in settings.peers:
        _require_same(peer, card, settings.peers[peer])
        _require_classes(peer, card, settings)
        _renew(invocation, peer, text, settings.peers[peer].card)
    else:
        _require_new(card, settings)
        _require_classes(peer, card, settings)
        place = settings.path.parent / "peers" / f"{peer}.card"
        _require_name(peer)
        _write_once(place, text)
        add_peer(settings.path, peer, place, wanted)
    _compare(invocation, settings, peer, card)


@pair.command("list")
@click.pass_obj
def list_peers(invocation: Invocation) -> None:
    """List the peers and the fingerprints to compare."""
    from mailsync.keys import fingerprint, load_keys  # noqa: PLC0415  slow

    settings = invocation.settings()
    own = load_keys(settings.site.keys).public
    rows = []
    for name, peer in settings.peers.items():
        card = _card_of(name, peer)
        address = peer.address or card.address
        both = fingerprint(own, card.public)
        rows.append((name, address, ", ".join(peer.datasets or ["(all)"]), both))
        invocation.output.line(
            "peer", name=name, address=address, datasets=peer.datasets, fingerprint=both
        )
    invocation.output.table(("peer", "address", "datasets", "fingerprint of both ends"), rows)
    invocation.output.line("summary", peers=len(rows))


def _own_address(settings: Settings) -> str:
    if settings.mail is None:
        raise BadConfiguration(f"{settings.path}: [mail] missing: the card holds its address")
    return settings.mail.address


def _read(file: Path) -> str:
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(_BYTES_MAX)
        else:
            with file.open("rb") as stream:
                content = stream.read(_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    return content.decode("ascii", "replace")


def _wanted(datasets: str | None, settings: Settings) -> list[str] | None:
    if datasets is None:
        return None
    wanted = [name.strip() for name in datasets.split(",")]
    for name in wanted:
        if not settings.section_of(name):
            raise UsageError(f"--datasets: {settings.path} has no section [datasets.{name}]")
    return wanted


def _require_name(peer: str) -> None:
    from mailsync.names import NAME_RULE, is_name  # noqa: PLC0415  beside its only use

    if not is_name(peer):
        raise UsageError(f'--name "{peer}": must be {NAME_RULE}')


def _require_same(name: str, card: Card, peer: PeerSettings) -> None:
    if _card_of(name, peer).public != card.public:
        raise BadCard(
            f"{name} is a peer with another key, and a changed key is never accepted silently; "
            f"if {name} really has new keys, remove [peers.{name}] and its card first"
        )


def _require_new(card: Card, settings: Settings) -> None:
    from mailsync.keys import load_keys  # noqa: PLC0415  slow

    if card.public == load_keys(settings.site.keys).public:
        raise BadCard("this is this site's own card")
    for name, peer in settings.peers.items():
        if _card_of(name, peer).public == card.public:
            raise BadCard(f"this key is the peer {name}'s already")


def _require_classes(peer: str, card: Card, settings: Settings) -> None:
    from mailsync.keys import require_classes  # noqa: PLC0415  slow

    known = {name: _card_of(name, one) for name, one in settings.peers.items()}
    require_classes(settings.site.guid_class, {**known, peer: card})


def _renew(invocation: Invocation, peer: str, text: str, place: Path) -> None:
    """The card of a peer with the same key: it may say another address or class."""
    from mailsync.files import replace_file  # noqa: PLC0415  slow

    if _read(place) == text:
        invocation.output.say(f"{peer} is a peer with this very card already; nothing changed")
        return
    replace_file(place, text.encode("ascii"))
    invocation.output.say(f"{peer} is a peer with this very key already; its new card is kept")


def _card_of(name: str, peer: PeerSettings) -> Card:
    from mailsync.keys import read_card  # noqa: PLC0415  slow

    try:
        return read_card(_read(peer.card))
    except (BadCard, UsageError) as error:
        raise BadCard(f"[peers.{name}] card {peer.card}: {error}") from error


def _write_once(path: Path, text: str) -> None:
    """Write a card, unless the very same one is there; never overwrite another file."""
    from mailsync.files import PUBLIC_FILE, create_file, not_written  # noqa: PLC0415  as above

    try:
        path.parent.mkdir(exist_ok=True)
        create_file(path, text.encode("ascii", "replace"), PUBLIC_FILE)
    except FileExistsError as error:
        if _read(path) != text:
            raise UsageError(f"{path} holds something else and stays as it is") from error
    except OSError as error:
        raise not_written(path, error) from error


def _compare(invocation: Invocation, settings: Settings, peer: str, card: Card) -> None:
    from mailsync.keys import fingerprint, load_keys  # noqa: PLC0415  slow

    both = fingerprint(load_keys(settings.site.keys).public, card.public)
    output = invocation.output
    output.show(f"{settings.site.name} <-> {peer}  {card.address}")
    output.show(f"fingerprint of both ends  {both}")
    output.say(f"Compare it with what {peer} sees (pair list), by telephone or face to face.")
    output.line("summary", peer=peer, address=card.address, fingerprint=both)
