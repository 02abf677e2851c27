"""Key files that only their owner can use, and cards that show every alteration."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mailsync.core.sealing import PrivateKeys, PublicKeys, sign_text
from mailsync.errors import BadCard, BadKeys, Exit, NotInitialised
from mailsync.keys import (
    KEY_FILE,
    Card,
    DamagedKeys,
    _check,
    card_fingerprint,
    create_keys,
    fingerprint,
    load_keys,
    read_card,
    write_card,
)

KEYS = PrivateKeys(bytes(range(32)), bytes(range(32, 64)))
OTHER = PrivateKeys(bytes(range(64, 96)), bytes(range(96, 128)))
CARD = write_card(KEYS, "mv-aurora", "sync@aurora.example")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


# --- key file ------------------------------------------------------------------------------


def test_keys_are_what_was_created_and_private(directory: Path) -> None:
    keys = create_keys(directory)
    assert load_keys(directory) == keys
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]


def test_keys_of_two_sites_differ(tmp_path: Path) -> None:
    one, other = create_keys(tmp_path / "one"), create_keys(tmp_path / "other")
    assert len({one.signing, one.sealing, other.signing, other.sealing}) == 4


def test_keys_are_private_whatever_the_umask(directory: Path) -> None:
    before = os.umask(0)
    try:
        create_keys(directory)
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_keys_are_never_overwritten(directory: Path) -> None:
    keys = create_keys(directory)
    with pytest.raises(FileExistsError):
        create_keys(directory)
    assert load_keys(directory) == keys
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]


def test_keys_are_never_overwritten_without_hard_links_either(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    keys = create_keys(directory)
    with pytest.raises(FileExistsError):
        create_keys(directory)
    assert load_keys(directory) == keys
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_key_file_open_to_others_is_refused_naming_the_remedy(directory: Path, mode: int) -> None:
    create_keys(directory)
    path = directory / KEY_FILE
    path.chmod(mode)
    with pytest.raises(BadKeys) as caught:
        load_keys(directory)
    assert str(caught.value) == f"{path} is open to others than its owner: chmod 600 {path}"
    assert caught.value.exit_code == Exit.LOGIN_REFUSED


def test_key_directory_open_to_others_is_refused_naming_the_remedy(directory: Path) -> None:
    create_keys(directory)
    directory.chmod(0o750)
    with pytest.raises(BadKeys, match=f"chmod 700 {directory}$"):
        load_keys(directory)


def test_missing_keys_are_not_initialised(directory: Path) -> None:
    with pytest.raises(NotInitialised, match=r"no key file .*site\.key$") as caught:
        load_keys(directory)
    assert caught.value.exit_code == Exit.NOT_INITIALISED


def test_every_changed_byte_of_the_key_file_is_noticed(directory: Path) -> None:
    create_keys(directory)
    path = directory / KEY_FILE
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + b"\x41" + content[position + 1 :])
        if content[position] == 0x41:
            continue
        with pytest.raises(DamagedKeys, match=r"site\.key is damaged$"):
            load_keys(directory)


def test_secret_keys_are_not_shown(directory: Path) -> None:
    keys = create_keys(directory)
    assert keys.signing.hex() not in repr(keys)
    assert repr(keys.signing) not in repr(keys)


def test_full_disk_leaves_nothing_behind(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        create_keys(directory)
    assert list(directory.iterdir()) == []


# --- card ----------------------------------------------------------------------------------


def test_card_says_what_was_written() -> None:
    assert read_card(CARD) == Card("mv-aurora", "sync@aurora.example", KEYS.public)


def test_card_is_short_plain_text_that_a_person_can_read() -> None:
    assert CARD.isascii()
    assert len(CARD) < 500
    assert "Site: mv-aurora\nAddress: sync@aurora.example\n" in CARD


def test_card_is_always_the_same_text() -> None:
    assert write_card(KEYS, "mv-aurora", "sync@aurora.example") == CARD


def test_card_survives_line_ends_and_empty_lines_around_it() -> None:
    assert read_card("\r\n" + CARD.replace("\n", "\r\n") + "\r\n") == read_card(CARD)
    assert read_card(CARD.rstrip("\n")) == read_card(CARD)


def test_every_single_changed_byte_is_noticed() -> None:
    content = CARD.encode()
    for position in range(len(content)):
        for changed in (content[position] ^ 1, content[position] ^ 32, 0x0A, 0x0D, 0x20, 0xFF):
            if changed == content[position]:
                continue
            altered = bytearray(content)
            altered[position] = changed
            with pytest.raises(BadCard, match="the card was altered") as caught:
                read_card(altered.decode("ascii", "replace"))
            assert caught.value.exit_code == Exit.LOGIN_REFUSED


@given(st.data())
def test_cut_or_spliced_cards_are_noticed(data: st.DataObject) -> None:
    other = write_card(OTHER, "hub", "sync@hub.example")
    cut = data.draw(st.integers(1, len(CARD) - 2))
    splice = CARD[:cut] + other[data.draw(st.integers(0, len(other))) :]
    assume(splice.strip("\n") not in (CARD.strip("\n"), other.strip("\n")))
    for text in (CARD[:cut], splice):
        with pytest.raises(BadCard):
            read_card(text)


def test_card_signed_by_another_key_is_refused_although_its_checksum_fits() -> None:
    body = CARD.partition("Signature: ")[0]
    forged = body.replace("aurora", "borealis")
    signature = b64encode(sign_text(forged.encode(), sender=OTHER)).decode()
    signed = f"{forged}Signature: {signature}\n"
    text = f"{signed}Checksum: {_check(signed)}\n{CARD.splitlines()[-1]}\n"
    with pytest.raises(BadCard, match="its signature does not fit"):
        read_card(text)


@pytest.mark.parametrize("text", ["", "hello", '[site]\nname = "x"\n', "\x00" * 100, CARD[40:-40]])
def test_foreign_text_is_not_a_card(text: str) -> None:
    with pytest.raises(BadCard) as caught:
        read_card(text)
    assert str(caught.value) == "this is not a mailsync card"
    assert caught.value.advice.startswith("Ask the peer for its card again")


@given(st.text())
@example("\ud800-----BEGIN MAILSYNC CARD-----")
@example(CARD.replace("mv-aurora", "\ud800"))
@example(CARD.replace("mv-aurora", "mv-äurora"))
@example("-----BEGIN MAILSYNC CARD-----" * 1_000)
def test_arbitrary_text_raises_nothing_but_bad_card(text: str) -> None:
    with pytest.raises(BadCard):
        read_card(text)


@given(
    st.sampled_from(["", "Site: ", "Address: "]),
    st.text(st.characters(min_codepoint=0, max_codepoint=300), max_size=40),
)
def test_names_that_could_break_a_header_never_leave_a_card(prefix: str, text: str) -> None:
    altered = CARD.replace(prefix or "mv-aurora", text, 1)
    assume(altered != CARD)
    with pytest.raises(BadCard):
        read_card(altered)


@pytest.mark.parametrize(
    ("site", "address"),
    [("MV Aurora", "a@b.example"), ("aurora", "a@b.example\nBcc: c"), ("", "a@b.example")],
)
def test_card_for_a_wrong_name_or_address_is_not_written(site: str, address: str) -> None:
    with pytest.raises(BadCard, match="no card can hold"):
        write_card(KEYS, site, address)


def test_sealing_key_with_which_every_secret_is_zero_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weak = PublicKeys(KEYS.public.signing, bytes(32))
    monkeypatch.setattr(PrivateKeys, "public", property(lambda keys: weak))
    text = write_card(KEYS, "hub", "sync@hub.example")
    monkeypatch.undo()
    with pytest.raises(BadCard, match="made by something else than mailsync"):
        read_card(text)


# --- fingerprint ---------------------------------------------------------------------------


def test_both_ends_see_the_same_fingerprint() -> None:
    one, other = KEYS.public, OTHER.public
    assert fingerprint(one, other) == fingerprint(other, one)
    assert len(fingerprint(one, other)) == len("0123-4567-89ab-cdef-0123-4567")


def test_any_other_key_gives_another_fingerprint() -> None:
    one, other = KEYS.public, OTHER.public
    third = PublicKeys(other.signing, one.sealing)
    seen = {fingerprint(one, other), fingerprint(one, third), fingerprint(third, other)}
    seen |= {card_fingerprint(one), card_fingerprint(other), card_fingerprint(third)}
    assert len(seen) == 6
