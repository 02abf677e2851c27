"""How two sites prove to each other who they are, on a connection that nobody can listen to.

Rules
-----
* Who calls proves itself first, and signs whom it means: who is not meant, or is nobody's peer,
  learns nothing of who is there.
* A proof is worth something on one connection alone: it covers the certificate that this one is
  sealed with (RFC 5929, tls-server-end-point) and fresh numbers of both ends. Whoever sits between
  two ends has two certificates, and can pass on neither end's proof.
* The two roles sign under profiles of their own: a proof cannot be sent back.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final, NamedTuple

from mailsync.core.sealing import PrivateKeys, PublicKeys, open_as, sign_as
from mailsync.core.strict_cbor import encode
from mailsync.errors import BadSignature

NONCE_SIZE: Final = 32


class Role(Enum):
    """Of the one who proves: its profile, as in :mod:`mailsync.core.sealing`."""

    CALLER = "LC"
    LISTENER = "LL"


class Session(NamedTuple):
    """What tells this connection from every other one."""

    binding: bytes
    """SHA-256 of the listener's certificate."""
    listener_nonce: bytes
    caller_nonce: bytes


def prove(role: Role, session: Session, *, sender: PrivateKeys, recipient: PublicKeys) -> bytes:
    """What the sender says to the recipient on this connection."""
    return sign_as(role.value, encode(list(session)), sender=sender, recipient=recipient, epoch=0)


def proven(
    role: Role,
    proof: bytes,
    session: Session,
    *,
    receiver: PrivateKeys,
    peers: Collection[PublicKeys],
) -> PublicKeys:
    """Which of these peers is at the other end. Raises BadSignature or BadFormat: none of them."""
    opened = open_as(role.value, proof, receiver=receiver, peers=peers, epoch=0)
    if opened.content != encode(list(session)):
        raise BadSignature("the proof is of another connection")
    return opened.sender
