"""A message is worth something only at its receiver, from its sender, as it was written."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.sealing import (
    PrivateKeys,
    PublicKeys,
    derive_key,
    open_message,
    seal,
    sign,
    sign_as,
    sign_text,
    verify_text,
)
from mailsync.core.strict_cbor import encode
from mailsync.errors import BadBundle, BadFormat, BadSignature

ANNA, BERT, CARL = (PrivateKeys(bytes([n]) * 32, bytes([n + 9]) * 32) for n in (1, 2, 3))
PEERS = [ANNA.public, BERT.public, CARL.public]
EPHEMERAL = bytes(range(32))
NONCE = bytes(range(12))
CONTENT = b"\x01\x00some content"


def signed() -> bytes:
    return sign(CONTENT, sender=ANNA, recipient=BERT.public)


def sealed() -> bytes:
    return seal(CONTENT, sender=ANNA, recipient=BERT.public, ephemeral=EPHEMERAL, nonce=NONCE)


def stripped() -> bytes:
    """What is inside ``sealed()``, as a thief of Bert's key would lay it bare."""
    return sign_as("SE", CONTENT, sender=ANNA, recipient=BERT.public, epoch=0)


def bits_flipped(message: bytes) -> list[bytes]:
    number = int.from_bytes(message, "big")
    return [(number ^ 1 << bit).to_bytes(len(message), "big") for bit in range(len(message) * 8)]


def refused(message: bytes, receiver: PrivateKeys = BERT) -> bool:
    try:
        open_message(message, receiver=receiver, peers=PEERS)
    except (BadSignature, BadFormat) as problem:
        return len(str(problem).splitlines()) == 1
    return False


@given(st.binary(max_size=1000))
def test_round_trip(content: bytes) -> None:
    plain = sign(content, sender=ANNA, recipient=BERT.public)
    secret = seal(content, sender=ANNA, recipient=BERT.public, ephemeral=EPHEMERAL, nonce=NONCE)
    assert open_message(plain, receiver=BERT, peers=PEERS) == (ANNA.public, content, False)
    assert open_message(secret, receiver=BERT, peers=PEERS) == (ANNA.public, content, True)


def test_overhead_does_not_grow() -> None:
    kilobyte = bytes(1000)
    plain = sign(kilobyte, sender=ANNA, recipient=BERT.public)
    secret = seal(kilobyte, sender=ANNA, recipient=BERT.public, ephemeral=EPHEMERAL, nonce=NONCE)
    assert len(plain) - 1000 == 82
    assert len(secret) - 1000 == 180


@pytest.mark.parametrize("message", [signed(), sealed()], ids=["signed", "sealed"])
def test_every_bit_flip_is_refused(message: bytes) -> None:
    assert [flipped for flipped in bits_flipped(message) if not refused(flipped)] == []


@pytest.mark.parametrize("message", [signed(), sealed()], ids=["signed", "sealed"])
def test_every_truncation_and_extension_is_refused(message: bytes) -> None:
    assert [size for size in range(len(message)) if not refused(message[:size])] == []
    assert [byte for byte in range(256) if not refused(message + bytes([byte]))] == []
    assert refused(message + message)


@pytest.mark.parametrize("message", [signed(), sealed()], ids=["signed", "sealed"])
def test_worthless_elsewhere(message: bytes) -> None:
    assert not refused(message)
    assert refused(message, receiver=CARL)
    assert refused(message, receiver=ANNA)
    half_bert = PrivateKeys(BERT.signing, CARL.sealing)
    assert refused(message, receiver=half_bert)


@pytest.mark.parametrize("message", [signed(), sealed()], ids=["signed", "sealed"])
def test_sender_must_be_an_accepted_peer(message: bytes) -> None:
    for peers in ([], [CARL.public], [BERT.public], [PublicKeys(*reversed(ANNA.public))]):
        with pytest.raises(BadSignature):
            open_message(message, receiver=BERT, peers=peers)


@pytest.mark.parametrize("message", [signed(), sealed()], ids=["signed", "sealed"])
def test_another_epoch_is_refused(message: bytes) -> None:
    with pytest.raises(BadSignature):
        open_message(message, receiver=BERT, peers=PEERS, epoch=1)


def test_epochs_agree() -> None:
    message = sign(CONTENT, sender=ANNA, recipient=BERT.public, epoch=7)
    assert open_message(message, receiver=BERT, peers=PEERS, epoch=7).content == CONTENT


def test_profiles_do_not_stand_in_for_each_other() -> None:
    assert refused(stripped())
    assert refused(sign_as("P", CONTENT, sender=ANNA, recipient=BERT.public, epoch=0))


def test_unsealed_is_refused_where_sealing_is_on() -> None:
    required = frozenset({ANNA.public.thumbprint})
    with pytest.raises(BadSignature, match="not sealed"):
        open_message(signed(), receiver=BERT, peers=PEERS, sealing_required=required)
    assert open_message(sealed(), receiver=BERT, peers=PEERS, sealing_required=required).sealed
    others = frozenset({CARL.public.thumbprint})
    assert open_message(signed(), receiver=BERT, peers=PEERS, sealing_required=others)


def test_a_seal_around_a_plainly_signed_message_is_refused() -> None:
    """An attacker who holds a signed message cannot pass it off as having been secret."""
    inner = sign(CONTENT, sender=ANNA, recipient=BERT.public)
    assert refused(sealed_around(inner))
    assert not refused(sealed_around(stripped()))


def sealed_around(inner: bytes) -> bytes:
    """A seal put around any bytes, written out by hand from RFC 9052 5.3 and RFC 9053 5.2."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    once = X25519PrivateKey.from_private_bytes(EPHEMERAL)
    public = once.public_key().public_bytes_raw()
    secret = once.exchange(X25519PublicKey.from_public_bytes(BERT.public.sealing))
    info = bytes.fromhex("84 1818 83f6f6f6 83f6f6f6 82 190100 44a1013818")
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)
    to = BERT.public.thumbprint
    external = b"\x84\x6amailsync/1\x62SE\x50" + to + b"\x58\x20" + public
    aad = b"\x83\x67Encrypt\x44\xa1\x01\x18\x18\x58" + bytes([len(external)]) + external
    ciphertext = ChaCha20Poly1305(key).encrypt(NONCE, inner, aad)
    head = b"\xd8\x60\x84\x44\xa1\x01\x18\x18\xa1\x05\x4c" + NONCE
    unprotected = b"\xa2\x20\xa3\x01\x01\x20\x04\x21\x58\x20" + public + b"\x04\x44" + to[:4]
    recipient = b"\x83\x44\xa1\x01\x38\x18" + unprotected + b"\x40"
    return head + b"\x58" + bytes([len(ciphertext)]) + ciphertext + b"\x81" + recipient


def test_sealed_message_matches_one_written_by_hand() -> None:
    assert sealed_around(stripped()) == sealed()


def test_signature_is_over_the_structure_of_rfc_9052() -> None:
    anna, bert = ANNA.public.thumbprint, BERT.public.thumbprint
    link = sha256(min(anna, bert) + max(anna, bert)).digest()[:16]
    external = b"\x86\x6amailsync/1\x61S\x50" + link + b"\x00\x50" + anna + b"\x50" + bert
    structure = b"\x84\x6aSignature1\x43\xa1\x01\x32\x58" + bytes([len(external)]) + external
    structure += bytes([0x40 + len(CONTENT)]) + CONTENT
    message = signed()
    body = bytes([0x40 + len(CONTENT)]) + CONTENT
    head = b"\xd2\x84\x43\xa1\x01\x32\xa1\x04\x44" + anna[:4] + body + b"\x58\x40"
    assert message.startswith(head)
    key = Ed25519PublicKey.from_public_bytes(ANNA.public.signing)
    key.verify(message[len(head) :], structure)


def test_public_keys_are_those_of_published_vectors() -> None:
    """RFC 8032 7.1 test 1, and the ephemeral key of cose-wg/Examples, X25519-tests."""
    keys = PrivateKeys(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
        bytes.fromhex("1a553c409ef9dbb9249d91c464e68d9b092b20caa028ceec05d0f86fc314ca82"),
    )
    signing = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert keys.public.signing.hex() == signing
    sealing = "72fc171c21bf5c682c64d2ef3a71ac877b40013d3754f63d4c3c3a965f1ba776"
    assert keys.public.sealing.hex() == sealing


def test_key_derivation_is_that_of_the_cose_working_group() -> None:
    """cose-wg/Examples, X25519-tests/x25519-hkdf-256-direct: a 128-bit key for A128GCM."""
    shared = "b5da948f36b6847add95bbe6dc0ad254222f3a7040e9fad6acb335928917db7f"
    key = derive_key(bytes.fromhex(shared), 1, 16)
    assert key.hex() == "ff38572d1ebe0abeac5eee1f48f9ca64"


def test_peers_with_the_same_kid_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicKeys, "kid", b"same")
    message = signed()
    for peers in ([CARL.public, ANNA.public], [ANNA.public, CARL.public]):
        assert open_message(message, receiver=BERT, peers=peers).sender == ANNA.public


def test_kid_alone_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicKeys, "kid", b"same")
    with pytest.raises(BadSignature):
        open_message(signed(), receiver=BERT, peers=[CARL.public])


@pytest.mark.parametrize(
    "item",
    [
        [b"\xa1\x01\x32", {4: ANNA.public.kid}, CONTENT, bytes(64), 0],
        [b"\xa1\x01\x32", {4: ANNA.public.kid, 3: "text/plain"}, CONTENT, bytes(64)],
        [b"\xa1\x01\x27", {4: ANNA.public.kid}, CONTENT, bytes(64)],
        [b"", {1: -19, 4: ANNA.public.kid}, CONTENT, bytes(64)],
        [b"\xa1\x01\x32", {4: ANNA.public.kid}, None, bytes(64)],
        [b"\xa1\x01\x32", {4: ANNA.public.kid}, CONTENT, bytes(63)],
        [b"\xa1\x01\x32", {4.0: ANNA.public.kid}, CONTENT, bytes(64)],
        {},
        7,
    ],
)
def test_other_structures_are_bad_format(item: object) -> None:
    with pytest.raises(BadFormat):
        open_message(b"\xd2" + encode(item), receiver=BERT, peers=PEERS)


def test_low_order_point_is_refused() -> None:
    message = sealed()
    public = X25519PrivateKey.from_private_bytes(EPHEMERAL).public_key().public_bytes_raw()
    assert message.count(public) == 1
    assert refused(message.replace(public, bytes(32)))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    for head in (b"", b"\xd2", b"\xd8\x60", b"\xd2\x84\x43\xa1\x01\x32"):
        with pytest.raises(BadBundle):
            open_message(head + data, receiver=BERT, peers=PEERS)


def test_private_keys_do_not_show() -> None:
    keys = PrivateKeys(b"very secret signing key, do tell", b"very secret sealing key, do tell")
    assert "secret" not in repr(keys)
    assert "secret" not in f"{keys}"


def test_names_of_keys() -> None:
    assert len(ANNA.public.thumbprint) == 16
    assert ANNA.public.site_number == int.from_bytes(ANNA.public.thumbprint[:8], "big")
    assert ANNA.public.thumbprint != PublicKeys(*reversed(ANNA.public)).thumbprint
    written = b"\x82\xa3\x01\x01\x20\x06\x21\x58\x20" + ANNA.public.signing
    written += b"\xa3\x01\x01\x20\x04\x21\x58\x20" + ANNA.public.sealing
    assert ANNA.public.thumbprint == sha256(written).digest()[:16]


def test_keys_from_elsewhere_may_be_unusable() -> None:
    signing, sealing = ANNA.public
    assert ANNA.public.usable
    low_order = bytes([1]) + bytes(31)
    for keys in ((signing, sealing[1:]), (signing + b"x", sealing), (signing, low_order)):
        assert not PublicKeys(*keys).usable


def test_text_signatures() -> None:
    card = b"site = anna"
    signature = sign_text(card, sender=ANNA)
    verify_text(card, signature, sender=ANNA.public)
    wrong = [(card + b" ", signature, ANNA), (card, signature, BERT), (card, b"", ANNA)]
    wrong += [(card, flipped, ANNA) for flipped in bits_flipped(signature)]
    for text, other, sender in wrong:
        with pytest.raises(BadSignature):
            verify_text(text, other, sender=sender.public)
