"""How large the whole mails are that bring a container to a peer, and so what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mailsync.carriers.base import NAME_SIZE, Letter, name_of_mail
from mailsync.cycle.site import Peer, Site
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

_NOW = datetime(2000, 1, 1, tzinfo=UTC)
"""Every date takes the same room."""


def mail_sizes(site: Site, peer: Peer, containers: Sequence[bytes], step: int) -> list[int]:
    """Bytes of the whole mails that would carry a bundle, at this step of the carrier ladder."""
    count = len(containers)
    return [
        _mail_size(site, peer, content, number, count, step)
        for number, content in enumerate(containers, start=1)
    ]


def queued_size(site: Site, transaction: Transaction, peer: Peer, item: Queued, step: int) -> int:
    """Bytes of the whole mail that would carry this part."""
    container = transaction.outbox.container(item.number)
    return _mail_size(site, peer, container, item.part, item.parts, step)


def _mail_size(site: Site, peer: Peer, container: bytes, part: int, parts: int, step: int) -> int:
    from mailsync.carriers.message import compose_message  # noqa: PLC0415  slow

    address = "nobody@example.org" if site.settings.mail is None else site.settings.mail.address
    letter = Letter(
        recipient=peer.address,
        container=container,
        message_id=name_of_mail(bytes(NAME_SIZE), address),
        label="00000000",
        part=part,
        parts=parts,
        profile=peer.settings.form,
        step=step,
    )
    return len(
        compose_message(letter, sender=address, date=_NOW, boundary="=" * 32, site=site.name)
    )
