"""What is taken out of a text comes back, to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.noise import NoiseReader, NoiseWriter
from mailsync.core.varints import varint
from mailsync.errors import BadFormat

HEX = "0123456789abcdef"

digits = st.text("0123456789", max_size=40)
hexadecimal = st.sampled_from([31, 32, 33, 40, 64]).flatmap(
    lambda size: st.text(HEX, min_size=size, max_size=size)
)
identifiers = hexadecimal | st.uuids().map(str)
odd = st.text([*map(chr, range(0x20)), "\\", "\x7f", "n", "0", "٣", "é", "-", "/"], max_size=4)
texts = st.lists(
    digits | identifiers | identifiers.map(str.upper) | odd | st.text(max_size=5), max_size=6
).map("".join)


def there_and_back(some: list[str]) -> tuple[list[str], bytes]:
    writer = NoiseWriter()
    templates = [writer.template(text) for text in some]
    noise = writer.written()
    reader = NoiseReader(noise)
    assert [reader.text(template) for template in templates] == some
    reader.finish()
    return templates, noise


@given(st.lists(texts, max_size=8))
def test_there_and_back(some: list[str]) -> None:
    templates, _ = there_and_back(some)
    assert not any("\n" in template for template in templates)
    assert templates == there_and_back(some)[0]


@pytest.mark.parametrize("length", range(1, 80))
@pytest.mark.parametrize("digit", "0179")
def test_digits_of_every_length(length: int, digit: str) -> None:
    number = digit * length
    (template, *_), noise = there_and_back([number, f"x{number}y {number}-{number}"])
    taken = length in {7, *range(9, 14), *range(15, 19)}
    identifier = length in {32, 40, 64}
    assert (len(template) == 1) == (taken or identifier or length == 1)
    assert bool(noise) == (taken or identifier)


def test_layout_is_the_published_one() -> None:
    writer = NoiseWriter()
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    assert writer.template("tel 5550123, " + "9" * 12) == "tel \x10, \x14"
    assert writer.template(uuid) == "\x1c"
    assert writer.template(uuid.upper()) == "\x1d"
    assert writer.template(uuid.replace("-", "")) == "\x1a"
    assert writer.template(uuid.replace("-", "").upper()) == "\x1b"
    assert writer.template("ab" * 20) == "\x1e"
    assert writer.template("ab" * 32) == "\x1f"
    assert writer.template("20261122 a\nb\\ \x10 \x02") == "20261122 a\\nb\\\\ \\\x10 \x02"
    twelve, seven = int("5550123" + "99999"), 9999999
    octets = bytes.fromhex(uuid.replace("-", ""))
    expected = varint(19) + twelve.to_bytes(5, "big") + seven.to_bytes(3, "big")
    assert writer.written() == expected + 4 * octets + b"\xab" * 52


def test_mixed_case_and_longer_words_stay() -> None:
    for text in ("Ab" * 16, "g" * 32, "ab" * 15, "0x" + "ab" * 16, "AB" * 20, "٣" * 12):
        assert NoiseWriter().template(text) == text


@pytest.mark.parametrize("template", ["\\", "\\a", "a\\", "\\\\\\", "\\\x01", "\\é", "\\\x20"])
def test_odd_escapes_are_refused(template: str) -> None:
    with pytest.raises(BadFormat, match="oddly"):
        NoiseReader(b"").text(template)


@pytest.mark.parametrize("mark", [chr(number) for number in range(0x10, 0x20)])
def test_noise_that_is_missing_or_left_over_is_refused(mark: str) -> None:
    with pytest.raises(BadFormat):
        NoiseReader(b"").text(mark)
    for noise in (varint(7) + bytes(3), varint(0) + bytes(16)):
        with pytest.raises(BadFormat):
            NoiseReader(noise).finish()


@pytest.mark.parametrize("count", [1, 12, 13, 2**20, 2**31, 2**32 - 1, 2**32])
def test_a_count_of_digits_alone_costs_nothing(count: int) -> None:
    with pytest.raises(BadFormat):
        NoiseReader(varint(count))


def test_more_than_so_many_digits_are_refused() -> None:
    with pytest.raises(BadFormat, match="oddly"):
        NoiseReader(varint(12) + b"\xff" * 5)
    with pytest.raises(BadFormat, match="oddly"):
        NoiseReader(varint(1) + b"\x0a")


@given(st.binary(max_size=60), st.text([*map(chr, range(0x10, 0x20)), "a", "\\"], max_size=8))
def test_random_bytes_raise_bad_format_alone(noise: bytes, template: str) -> None:
    try:
        reader = NoiseReader(noise)
        text = reader.text(template)
        reader.finish()
    except BadFormat:
        return
    assert NoiseWriter().template(text) is not None
