"""A site's key file, and the public cards by which people make sites known to each other.

Key file
    ``site.key``, readable by its owner alone, in a directory of the same kind. Written once,
    whole, never overwritten: a site without its keys is another site.
Card
    A text a person can read, print or put on a stick. It says a site's name, its mail address,
    its public keys and, if it gives 32-bit identifiers, their class; it is signed with these keys,
    and ends in a checksum. It has exactly one spelling, so a changed byte anywhere is noticed.
    Nothing in it is secret; whether it is the right one is proven by two people comparing a
    fingerprint.
"""

from __future__ import annotations

import os
import re
from base64 import b32decode, b32encode, b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mailsync.core.sealing import PrivateKeys, PublicKeys, sign_text, verify_text
from mailsync.errors import BadCard, BadKeys, BadSignature, NotInitialised
from mailsync.files import PRIVATE_DIRECTORY, PRIVATE_FILE, create_file, require_private
from mailsync.names import is_address, is_name

KEY_FILE: Final = "site.key"
KEY_SIZE: Final = 32
CARD_CHARACTERS_MAX: Final = 4096

_BEGIN: Final = "-----BEGIN MAILSYNC CARD-----"
_END: Final = "-----END MAILSYNC CARD-----"
_CHECK_SIZE: Final = 5
_FINGERPRINT_SIZE: Final = 12  # 96 bits: more than can be ground out offline

_KEY_TEXT = re.compile(
    r"mailsync site key 1\nsigning ([A-Z2-7]{52})\nsealing ([A-Z2-7]{52})\ncheck ([A-Z2-7]{8})\n"
)
_CARD_TEXT = re.compile(
    rf"({_BEGIN}\n"
    r"Site: ([!-~]+)\n"
    r"Address: ([!-~]+)\n"
    r"Signing key: ([A-Z2-7]{52})\n"
    r"Sealing key: ([A-Z2-7]{52})\n"
    r"(?:Identifiers: timestamp32, class (0|[1-9][0-9]?)\n)?)"
    r"Signature: ([A-Za-z0-9+/]{86}==)\n"
    r"Checksum: ([A-Z2-7]{8})\n"
    rf"{_END}"
)


class DamagedKeys(BadKeys):
    """Restore the key file from a backup; a new one must be paired with every peer again."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says: a site's name, its mail address, its public keys."""

    site: str
    address: str
    public: PublicKeys
    guid_class: int | None = None
    """Of its 32-bit identifiers; None: they have 128 bits."""


def create_keys(directory: Path) -> PrivateKeys:
    """Make the keys of a new site. Raises FileExistsError if there are some already."""
    directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    require_private(directory)
    keys = PrivateKeys(os.urandom(KEY_SIZE), os.urandom(KEY_SIZE))
    body = (
        f"mailsync site key 1\nsigning {_base32(keys.signing)}\nsealing {_base32(keys.sealing)}\n"
    )
    create_file(directory / KEY_FILE, f"{body}check {_check(body)}\n".encode(), PRIVATE_FILE)
    return keys


def load_keys(directory: Path) -> PrivateKeys:
    """The site's keys.

    Raises ``NotInitialised`` if there are none, ``BadKeys`` if others than the owner can get
    at them, ``DamagedKeys`` if the file is not as it was written.
    """
    path = directory / KEY_FILE
    try:
        require_private(directory)
        require_private(path)
        text = path.read_bytes().decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotInitialised(f"no key file {path}") from error
    except OSError as error:
        raise BadKeys(f"cannot read {path}: {error.strerror}") from error
    found = _KEY_TEXT.fullmatch(text)
    if found is None or _check(text.partition("check ")[0]) != found[3]:
        raise DamagedKeys(f"{path} is damaged")
    return PrivateKeys(_from_base32(found[1]), _from_base32(found[2]))


def write_card(keys: PrivateKeys, site: str, address: str, guid_class: int | None = None) -> str:
    """The site's card, always the same text for the same keys, name, address and class.

    Raises ``BadCard`` if name or address could not be read back.
    """
    if not (is_name(site) and is_address(address)):
        raise BadCard(f'no card can hold the name "{site}" with the address "{address}"')
    public = keys.public
    body = (
        f"{_BEGIN}\n"
        f"Site: {site}\n"
        f"Address: {address}\n"
        f"Signing key: {_base32(public.signing)}\n"
        f"Sealing key: {_base32(public.sealing)}\n"
    )
    if guid_class is not None:
        body += f"Identifiers: timestamp32, class {guid_class}\n"
    signature = b64encode(sign_text(body.encode(), sender=keys)).decode()
    signed = f"{body}Signature: {signature}\n"
    return f"{signed}Checksum: {_check(signed)}\n{_END}\n"


def read_card(text: str) -> Card:
    """What a card says. Line ends of either kind and empty lines around it are accepted.

    Raises ``BadCard``: not a card, or not as its site wrote it.
    """
    plain = text.replace("\r\n", "\n").strip("\n")
    if len(text) > CARD_CHARACTERS_MAX or not (_BEGIN in plain or _END in plain):
        raise BadCard("this is not a mailsync card")
    found = _CARD_TEXT.fullmatch(plain)
    if found is None or _check(plain.partition("Checksum: ")[0]) != found[8]:
        raise BadCard("the card was altered on its way here")
    body, site, address = found[1], found[2], found[3]
    public = PublicKeys(_from_base32(found[4]), _from_base32(found[5]))
    try:
        verify_text(body.encode(), b64decode(found[7]), sender=public)
    except BadSignature as error:
        raise BadCard("the card was altered: its signature does not fit") from error
    if not (is_name(site) and is_address(address) and _can_seal(public)):
        raise BadCard("the card was made by something else than mailsync")
    return Card(site, address, public, None if found[6] is None else int(found[6]))


def require_classes(own: int | None, cards: Mapping[str, Card]) -> None:
    """Raise BadCard if two sites may give the same identifier, or give unlike ones. ``own``: our
    class; ``cards``: by peer.
    """
    taken = {} if own is None else {own: "this site"}
    for peer, card in cards.items():
        if (card.guid_class is None) is not (own is None):
            theirs, ours = (
                "timestamp128" if one is None else "timestamp32" for one in (card.guid_class, own)
            )
            raise BadCard(
                f"the identifiers of {peer} are {theirs}, ours {ours}; guid under [site] must be "
                "the same at all sites"
            )
        if card.guid_class is None:
            continue
        other = taken.setdefault(card.guid_class, peer)
        if other != peer:
            raise BadCard(
                f"{peer} and {other} both have guid_class {card.guid_class}; give each site a "
                "number of its own under [site], and exchange the new card"
            )


def blank_certificate() -> bytes:
    """A certificate that says nothing, for TLS of which nobody believes it; with its key, PEM.

    ECDSA with SHA-256, so that RFC 5929 (4.1) says by which hash a connection is bound to it.
    """
    from cryptography import x509  # noqa: PLC0415  slow, and for links alone
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2999, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def fingerprint(one: PublicKeys, other: PublicKeys) -> str:
    """96 bits over both ends' keys, for two people to read to each other.

    Six groups of four hexadecimal digits; the same at both ends.
    """
    both = b"".join(sorted((one.signing + one.sealing, other.signing + other.sealing)))
    return _groups(blake2b(both, digest_size=_FINGERPRINT_SIZE, person=b"mailsync pair"))


def card_fingerprint(public: PublicKeys) -> str:
    """96 bits over one site's keys, in the form of :func:`fingerprint`."""
    keys = public.signing + public.sealing
    return _groups(blake2b(keys, digest_size=_FINGERPRINT_SIZE, person=b"mailsync card"))


def _groups(digest: blake2b) -> str:
    digits = digest.hexdigest()
    return "-".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _check(text: str) -> str:
    return _base32(blake2b(text.encode(), digest_size=_CHECK_SIZE).digest())


def _base32(content: bytes) -> str:
    return b32encode(content).decode().rstrip("=")


def _from_base32(text: str) -> bytes:
    return b32decode(text + "=" * (-len(text) % 8))


def _can_seal(public: PublicKeys) -> bool:
    """Not one of the points with which every shared secret is zero (RFC 7748, 6.1)."""
    own = X25519PrivateKey.from_private_bytes(bytes(range(KEY_SIZE)))
    try:
        own.exchange(X25519PublicKey.from_public_bytes(public.sealing))
    except ValueError:
        return False
    return True
