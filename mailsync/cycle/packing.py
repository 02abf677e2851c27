"""A bundle as it travels: sealed or signed, in one container or in parts.

A container is as large as the mail it goes in allows, or the carrier that takes it instead.
"""

from __future__ import annotations

from mailsync.core import container, sealing
from mailsync.core.parts import sign_part, split
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.ways import largest_mail
from mailsync.store.routes import Route

MAIL_OVERHEAD = 2_048
"""Bytes of a mail around its attachment, at most."""

BASE64_GROWTH = 1.3685
"""Of base64 in lines of 76 characters (RFC 2045, 6.8)."""


def containers(site: Site, peer: Peer, content: bytes, name: bytes, room: int) -> list[bytes]:
    """A bundle as it travels: one container, or one for each part, of ``room`` bytes at most.

    ``name``: 8 bytes that the parts are known by.
    """
    if peer.settings.seal:
        message = sealing.seal(
            content,
            sender=site.keys,
            recipient=peer.public,
            ephemeral=site.surroundings.octets(sealing.KEY_SIZE),
            nonce=site.surroundings.octets(sealing.NONCE_SIZE),
        )
    else:
        message = sealing.sign(content, sender=site.keys, recipient=peer.public)
    whole = container.frame(container.Kind.BUNDLE, message)
    if len(whole) <= room:
        return [whole]
    return [
        container.frame(
            container.Kind.PART, sign_part(part, sender=site.keys, recipient=peer.public)
        )
        for part in split(message, name, room - 256)
    ]


def room_for(peer: Peer, route: Route, now: int) -> int:
    """Bytes of the largest container that goes to the peer."""
    if peer.largest is not None:
        return peer.largest
    largest = largest_mail(route, peer.settings.max_message, now)
    return int((largest - MAIL_OVERHEAD) / BASE64_GROWTH)
