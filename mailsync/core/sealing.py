"""Signing and sealing: COSE messages (RFC 9052, RFC 9053) that bind who to whom.

Rules
-----
* A signature covers both ends, the link's epoch and the profile: a message is worthless at a
  third peer, back at its sender, after re-pairing, or stripped of its seal.
* A message is read by taking its variable parts out and is accepted only if writing them back
  gives the received bytes. Unknown headers and other spellings have no chance.
* Sign first, then seal, so that only the receiver learns who signed.
* Ephemeral keys and nonces are arguments; whoever passes one twice breaks the seal.

::

    S   #6.18([<{1: -19}>, {4: kid}, content, signature])
    P   the same over a part of a message
    SE  #6.96([<{1: 24}>, {5: nonce}, ciphertext of an S-shaped message,
               [[<{1: -25}>, {-1: {1: 1, -1: 4, -2: ephemeral}, 4: kid}, h'']]])

    external aad of a signature  ["mailsync/1", profile, link, epoch, from, to]
    external aad of a seal       ["mailsync/1", "SE", to, ephemeral]

-19 is Ed25519 (RFC 9864), 24 ChaCha20/Poly1305, -25 ECDH-ES + HKDF-256 (RFC 9053 6.3.1).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailsync.core.strict_cbor import decode, encode
from mailsync.errors import BadFormat, BadSignature

CONTEXT: Final = "mailsync/1"
TEXT_CONTEXT: Final = b"mailsync/1 text\x00"

SIGNED: Final = "S"
SEALED: Final = "SE"
PART: Final = "P"
RECEIPT: Final = "R"

SIGN1_TAG: Final = b"\xd2"
ENCRYPT_TAG: Final = b"\xd8\x60"

ED25519: Final = -19
CHACHA20: Final = 24
ECDH_ES: Final = -25

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
SIGNATURE_SIZE: Final = 64
THUMBPRINT_SIZE: Final = 16
KID_SIZE: Final = 4

_SIGNER: Final = encode({1: ED25519})
_CIPHER: Final = encode({1: CHACHA20})
_AGREEMENT: Final = encode({1: ECDH_ES})


class PublicKeys(NamedTuple):
    """What a peer may know of a site: raw Ed25519 and X25519 public keys, 32 bytes each."""

    signing: bytes
    sealing: bytes

    @property
    def thumbprint(self) -> bytes:
        """16 bytes that name the pair: SHA-256 over both COSE_Keys (RFC 9679 in spirit)."""
        keys = [{1: 1, -1: 6, -2: self.signing}, {1: 1, -1: 4, -2: self.sealing}]
        return sha256(encode(keys)).digest()[:THUMBPRINT_SIZE]

    @property
    def usable(self) -> bool:
        """Can one verify and seal with them? For keys that come from elsewhere (pairing)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.signing)
            anybody = X25519PrivateKey.from_private_bytes(bytes(KEY_SIZE))
            anybody.exchange(X25519PublicKey.from_public_bytes(self.sealing))
        except ValueError:  # a wrong size, or a point of low order
            return False
        return True

    @property
    def site_number(self) -> int:
        """The site's 64-bit number in dots."""
        return int.from_bytes(self.thumbprint[:8], "big")

    @property
    def kid(self) -> bytes:
        """4 bytes by which a message names the keys; a hint, never a proof."""
        return self.thumbprint[:KID_SIZE]


@dataclass(frozen=True)
class PrivateKeys:
    """A site's secret: raw Ed25519 and X25519 private keys, 32 bytes each."""

    signing: bytes = field(repr=False)
    sealing: bytes = field(repr=False)

    @cached_property
    def public(self) -> PublicKeys:
        """What peers may know."""
        return PublicKeys(
            Ed25519PrivateKey.from_private_bytes(self.signing).public_key().public_bytes_raw(),
            X25519PrivateKey.from_private_bytes(self.sealing).public_key().public_bytes_raw(),
        )


class Opened(NamedTuple):
    """A message whose sender is proven."""

    sender: PublicKeys
    content: bytes
    sealed: bool


class _Sign1(NamedTuple):
    """The variable parts of a COSE_Sign1 (RFC 9052 4.2)."""

    kid: bytes
    payload: bytes
    signature: bytes

    def written(self) -> bytes:
        return SIGN1_TAG + encode([_SIGNER, {4: self.kid}, self.payload, self.signature])


class _Encrypt(NamedTuple):
    """The variable parts of a COSE_Encrypt with one recipient (RFC 9052 5.1)."""

    nonce: bytes
    ciphertext: bytes
    ephemeral: bytes
    kid: bytes

    def written(self) -> bytes:
        unprotected = {-1: {1: 1, -1: 4, -2: self.ephemeral}, 4: self.kid}
        recipient = [_AGREEMENT, unprotected, b""]
        return ENCRYPT_TAG + encode([_CIPHER, {5: self.nonce}, self.ciphertext, [recipient]])


def sign(content: bytes, *, sender: PrivateKeys, recipient: PublicKeys, epoch: int = 0) -> bytes:
    """Profile S: the content readable by all, written by the sender for this recipient."""
    return sign_as(SIGNED, content, sender=sender, recipient=recipient, epoch=epoch)


def seal(
    content: bytes,
    *,
    sender: PrivateKeys,
    recipient: PublicKeys,
    ephemeral: bytes,
    nonce: bytes,
    epoch: int = 0,
) -> bytes:
    """Profile SE: the content readable by the recipient alone.

    ``ephemeral`` (32 bytes, an X25519 private key) and ``nonce`` (12 bytes) must be fresh.
    """
    inner = sign_as(SEALED, content, sender=sender, recipient=recipient, epoch=epoch)
    once = X25519PrivateKey.from_private_bytes(ephemeral)
    public = once.public_key().public_bytes_raw()
    secret = once.exchange(X25519PublicKey.from_public_bytes(recipient.sealing))
    cipher = ChaCha20Poly1305(derive_key(secret, CHACHA20, KEY_SIZE))
    ciphertext = cipher.encrypt(nonce, inner, _enc_structure(recipient, public))
    return _Encrypt(nonce, ciphertext, public, recipient.kid).written()


def open_message(
    message: bytes,
    *,
    receiver: PrivateKeys,
    peers: Collection[PublicKeys],
    sealing_required: frozenset[bytes] = frozenset(),
    epoch: int = 0,
) -> Opened:
    """The content of a message that one of these peers signed for this receiver.

    ``sealing_required`` holds the thumbprints of peers whose unsealed messages are refused.
    Raises BadSignature if no accepted peer signed it for us, BadFormat if it is no message.
    """
    if not message.startswith(ENCRYPT_TAG):
        opened = open_as(SIGNED, message, receiver=receiver, peers=peers, epoch=epoch)
        if opened.sender.thumbprint in sealing_required:
            raise BadSignature("the message is not sealed, and this peer's messages must be")
        return opened
    inner = _unseal(message, receiver)
    return open_as(SEALED, inner, receiver=receiver, peers=peers, epoch=epoch)


def sign_as(
    profile: str, payload: bytes, *, sender: PrivateKeys, recipient: PublicKeys, epoch: int
) -> bytes:
    """A COSE_Sign1 whose signature holds under this profile alone."""
    public = sender.public
    external = _external_aad(profile, public, recipient, epoch)
    key = Ed25519PrivateKey.from_private_bytes(sender.signing)
    signature = key.sign(_sig_structure(external, payload))
    return _Sign1(public.kid, payload, signature).written()


def open_as(
    profile: str,
    message: bytes,
    *,
    receiver: PrivateKeys,
    peers: Collection[PublicKeys],
    epoch: int,
) -> Opened:
    """Open a COSE_Sign1 signed under this profile. Raises BadSignature or BadFormat."""
    parts = _read_sign1(message)
    here = receiver.public
    for peer in peers:
        external = _external_aad(profile, peer, here, epoch)
        signed = _sig_structure(external, parts.payload)
        if peer.kid == parts.kid and _holds(peer, parts.signature, signed):
            return Opened(peer, parts.payload, profile == SEALED)
    raise BadSignature("no accepted peer signed this message for this site")


def sign_text(text: bytes, *, sender: PrivateKeys) -> bytes:
    """A detached signature (64 bytes) over a text for everybody, such as a pairing card."""
    return Ed25519PrivateKey.from_private_bytes(sender.signing).sign(TEXT_CONTEXT + text)


def verify_text(text: bytes, signature: bytes, *, sender: PublicKeys) -> None:
    """Raise BadSignature unless the sender signed exactly this text with ``sign_text``."""
    if not _holds(sender, signature, TEXT_CONTEXT + text):
        raise BadSignature("the text was not signed by the keys it names, or was altered")


def derive_key(secret: bytes, algorithm: int, size: int) -> bytes:
    """The content key of ``size`` bytes for a COSE algorithm (RFC 9053 5.1 and 5.2)."""
    nobody = [None, None, None]
    context = encode([algorithm, nobody, nobody, [size * 8, _AGREEMENT]])
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=context).derive(secret)


def _unseal(message: bytes, receiver: PrivateKeys) -> bytes:
    """The signed message inside a sealed one."""
    parts = _read_encrypt(message)
    here = receiver.public
    if parts.kid != here.kid:
        raise BadSignature("the message is sealed for another site")
    own = X25519PrivateKey.from_private_bytes(receiver.sealing)
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(parts.ephemeral))
        cipher = ChaCha20Poly1305(derive_key(secret, CHACHA20, KEY_SIZE))
        return cipher.decrypt(parts.nonce, parts.ciphertext, _enc_structure(here, parts.ephemeral))
    except (InvalidTag, ValueError):  # ValueError: an ephemeral point of low order
        raise BadSignature("the seal is broken, or made for other keys") from None


def _read_sign1(message: bytes) -> _Sign1:
    """Take a COSE_Sign1 apart. Raises BadFormat if it is not exactly one of ours."""
    if message.startswith(SIGN1_TAG):
        match decode(message[len(SIGN1_TAG) :]):
            case [bytes(), {4: bytes(kid)}, bytes(payload), bytes(signature)]:
                parts = _Sign1(kid, payload, signature)
                if parts.written() == message and len(signature) == SIGNATURE_SIZE:
                    return parts
    raise BadFormat("not a signed message as this version of mailsync writes it")


def _read_encrypt(message: bytes) -> _Encrypt:
    """Take a COSE_Encrypt apart. Raises BadFormat if it is not exactly one of ours."""
    match decode(message[len(ENCRYPT_TAG) :]):
        case [
            bytes(),
            {5: bytes(nonce)},
            bytes(ciphertext),
            [[bytes(), {-1: {-2: bytes(ephemeral)}, 4: bytes(kid)}, bytes()]],
        ] if len(nonce) == NONCE_SIZE and len(ephemeral) == KEY_SIZE:
            parts = _Encrypt(nonce, ciphertext, ephemeral, kid)
            if parts.written() == message:
                return parts
    raise BadFormat("not a sealed message as this version of mailsync writes it")


def _holds(signer: PublicKeys, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(signer.signing).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _external_aad(profile: str, sender: PublicKeys, recipient: PublicKeys, epoch: int) -> bytes:
    """What a signature covers without sending it (wire format, "external-aad")."""
    ends = sender.thumbprint, recipient.thumbprint
    link = sha256(b"".join(sorted(ends))).digest()[:THUMBPRINT_SIZE]
    return encode([CONTEXT, profile, link, epoch, *ends])


def _sig_structure(external: bytes, payload: bytes) -> bytes:
    """RFC 9052 4.4."""
    return encode(["Signature1", _SIGNER, external, payload])


def _enc_structure(recipient: PublicKeys, ephemeral: bytes) -> bytes:
    """RFC 9052 5.3. X25519 ignores a bit of the ephemeral key, hence the key is covered."""
    external = encode([CONTEXT, SEALED, recipient.thumbprint, ephemeral])
    return encode(["Encrypt", _CIPHER, external])
