from __future__ import annotations

import base64
import binascii
import html
import quopri
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.carriers.armour import DENSE_START, dense
from mailsync.carriers.base import NAME_SIZE, Letter, Profile, name_of_mail
from mailsync.carriers.message import (
    Limits,
    compose_message,
    containers_in,
    contents_of,
    mail_address,
)
from mailsync.core.container import MAGIC, Kind, frame
from mailsync.errors import BadConfiguration, MailsyncError
from tests.carriers.letters import NOW, container, foreign_mail, letter
from tests.servers.tampering import corrupted, stripped, truncated, with_footer, wrapped_again

SENDER = "sync@ship.example"
PROFILES: tuple[Profile, ...] = ("robust", "thin")


def composed(content: bytes, profile: Profile = "robust", **changes: object) -> bytes:
    one = replace(letter("sync@hub.example", content, profile=profile), **changes)  # type: ignore[arg-type]
    return compose_message(one, sender=SENDER, date=NOW, boundary="=_edge", site="aurora")


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 1000, 200_000])
def test_what_is_composed_is_found_byte_for_byte(profile: Profile, size: int) -> None:
    content = container(size)
    assert containers_in(composed(content, profile)) == (content,)


@pytest.mark.parametrize(
    ("profile", "step", "width"), [("robust", 0, 76), ("thin", 0, 900), ("thin", 1, 76)]
)
def test_a_mail_is_seven_bit_and_its_lines_are_short(
    profile: Profile, step: int, width: int
) -> None:
    raw = composed(container(5000), profile, step=step)
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    header, _, body = raw.partition(b"\r\n\r\n")
    assert max(map(len, header.split(b"\r\n"))) <= 200
    assert max(map(len, body.split(b"\r\n"))) == width


def test_composing_is_a_function_of_its_arguments() -> None:
    assert composed(container(100)) == composed(container(100))


def test_a_robust_mail_explains_itself_to_people_and_robots() -> None:
    message = parsed(composed(container(100), part=2, parts=5))
    assert message["Subject"] == "[mailsync] label001 part 2/5"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "RN, NRN, OOF, AutoReply"
    assert len(message["X-Mailsync"]) < 200
    assert message["Date"].datetime == NOW
    text, attachment = message.iter_parts()
    assert isinstance(attachment, EmailMessage)
    assert "do not reply" in text.get_content()
    assert "mailsync bundle import label001-2of5.msync" in text.get_content()
    assert attachment.get_content_type() == "application/octet-stream"
    assert attachment.get_filename() == "label001-2of5.msync"
    assert attachment.get_content() == container(100)


THIN = b"""\
From: sync@ship.example\r
To: sync@hub.example\r
Date: 2 Nov 2026 12:00 +0000\r
Message-ID: <1@mail.example>\r
\r
iEUGPZetA!0SI9rV`yP+XJxLl1M,a]\r
"""
THIN_IN_BASE64 = b"""\
From: sync@ship.example\r
To: sync@hub.example\r
Date: 2 Nov 2026 12:00 +0000\r
Message-ID: <1@mail.example>\r
X-Mailsync: c=1\r
\r
iW1TeW5jDQoBCGEgY2hhbmdlrrMD8g==\r
"""


def test_a_thin_mail_byte_for_byte() -> None:
    content = frame(Kind.BUNDLE, b"a change")
    one = letter("sync@hub.example", content, profile="thin")
    for step, golden in enumerate((THIN, THIN_IN_BASE64)):
        raw = compose_message(
            replace(one, step=step),
            sender=SENDER,
            date=NOW.replace(day=2),
            boundary="x",
            site="aurora",
        )
        assert raw == golden
        assert containers_in(raw) == (content,)
        message = parsed(raw)
        assert message["Date"].datetime == NOW.replace(day=2)
        assert (message.get_content_type(), message.get_content_charset("us-ascii")) == (
            "text/plain",
            "us-ascii",
        )


def test_a_signed_change_of_105_bytes_travels_in_400() -> None:
    content = frame(Kind.BUNDLE, bytes(105 + 81))
    name = name_of_mail(bytes(NAME_SIZE), SENDER)
    assert len(composed(content, "thin", message_id=name)) <= 400


def test_a_thin_mail_that_came_to_nothing_twice_goes_as_a_robust_one() -> None:
    assert composed(CONTENT, "thin", step=2) == composed(CONTENT, step=2)


def test_all_our_headers_stay_below_a_kilobyte() -> None:
    header, _, _ = composed(container(1), part=999, parts=999).partition(b"\r\n\r\n")
    assert len(header) < 1000


@given(
    st.sampled_from(["recipient", "message_id", "label", "site", "sender"]),
    st.one_of(st.text(), st.from_regex(r"<?[a-z]*@?[a-z.]*>?\s?.?[A-Z]?", fullmatch=True)),
)
def test_no_text_in_any_place_adds_a_header_or_a_part(place: str, text: str) -> None:
    words = {"recipient": "sync@hub.example", "message_id": "<1@x>", "label": "a1"} | {place: text}
    one = Letter(words["recipient"], container(3), words["message_id"], words["label"])
    try:
        raw = compose_message(
            one,
            sender=words.get("sender", SENDER),
            date=NOW,
            boundary="x",
            site=words.get("site", "aurora"),
        )
    except MailsyncError:
        return
    message = parsed(raw)
    assert len(message.keys()) == 10
    assert len(list(message.iter_parts())) == 2


@given(
    st.from_regex(r"[a-z]+@[a-z]+\.example", fullmatch=True),
    st.sampled_from(["\r\n", "\n", "\r", "\0", " ", "\t", "é", "\u2028", ",", "<", ";", '"']),
    st.integers(0, 30),
)
def test_an_address_with_a_foreign_character_anywhere_is_refused(
    address: str, foreign: str, place: int
) -> None:
    at = min(place, len(address))
    with pytest.raises(BadConfiguration):
        mail_address(address[:at] + foreign + address[at:])


@pytest.mark.parametrize("address", ["a@b.example", "o'neil+x@[127.0.0.1]", "a.b_c@x-y.example"])
def test_usual_addresses_are_taken_as_they_are(address: str) -> None:
    assert mail_address(address) == address


# --- what the world does to mails ----------------------------------------------------------

CONTENT = container(3000)


def wrapped_twice_with_a_footer(raw: bytes) -> bytes:  # F13
    inner = message_from_bytes(raw)
    for footer in ("Disclaimer", "Scanned\n-- \nby a gateway"):
        outer = MIMEMultipart("mixed")
        outer.attach(inner)
        outer.attach(MIMEText(footer, "plain", "utf-8"))
        inner = outer
    return inner.as_bytes()


def forwarded_as_attachment(raw: bytes) -> bytes:  # F14
    outer = MIMEMultipart("mixed")
    outer["Subject"] = "Fwd"
    outer.attach(MIMEText("please load this"))
    outer.attach(MIMEMessage(message_from_bytes(raw)))
    return outer.as_bytes()


def forwarded_as_encoded_attachment(raw: bytes) -> bytes:
    return mail_with(base64.encodebytes(raw), "message/rfc822", "base64")


def forwarded_as_file(raw: bytes) -> bytes:
    return mail_with(base64.encodebytes(raw), "application/octet-stream", "base64")


def in_winmail_dat(raw: bytes) -> bytes:  # F14
    blob = b"\x78\x9f\x3e\x22" + bytes(range(256)) + CONTENT + bytes(100)
    return mail_with(base64.encodebytes(blob), "application/ms-tnef", "base64")


def rewrapped_to_72_columns(raw: bytes) -> bytes:  # F15
    text = base64.b64encode(CONTENT)
    lines = b"".join(text[at : at + 72] + b"\n" for at in range(0, len(text), 72))
    return mail_with(lines, "application/octet-stream", "BASE64")


def on_one_endless_line(raw: bytes) -> bytes:
    return mail_with(base64.b64encode(CONTENT), "application/octet-stream", "base64")


def as_quoted_printable(raw: bytes) -> bytes:
    encoded = quopri.encodestring(CONTENT.replace(b"\n", b"\0LF\0")).replace(b"=00LF=00", b"=0A")
    return mail_with(encoded, "application/octet-stream", "quoted-printable")


def as_uuencode(raw: bytes) -> bytes:
    lines = [binascii.b2a_uu(CONTENT[at : at + 45]) for at in range(0, len(CONTENT), 45)]
    body = b"begin 644 x\n" + b"".join(lines) + b"`\nend\n"
    return mail_with(body, "application/octet-stream", "x-uuencode")


def as_binary(raw: bytes) -> bytes:
    return mail_with(CONTENT, "application/octet-stream", "binary")


def with_plain_text_after_the_base64(raw: bytes) -> bytes:
    return raw.replace(b"\r\n--=_edge--", b"\r\n-- \r\nThis mail was scanned!\r\n--=_edge--")


def with_a_banner_before_the_base64(raw: bytes) -> bytes:
    return raw.replace(b"\r\n\r\niW1T", b"\r\n\r\nCAUTION external mail.\r\niW1T")


def with_text_after_the_last_boundary(raw: bytes) -> bytes:
    return raw + b"\r\nFooter\r\n"


def with_line_feeds_only(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n")


def with_all_headers_of_ours_gone(raw: bytes) -> bytes:  # F4
    return raw.replace(b"X-Mailsync", b"X-Other").replace(b"[mailsync]", b"[EXT]")


def with_the_encoding_header_gone(raw: bytes) -> bytes:
    return raw.replace(b"Content-Transfer-Encoding: base64\r\n", b"")


def with_the_boundary_changed_in_the_header_only(raw: bytes) -> bytes:
    return raw.replace(b'boundary="=_edge"', b'boundary="other"')


def with_the_last_boundary_cut_off(raw: bytes) -> bytes:
    return raw.removesuffix(b"--=_edge--\r\n")


def quoted_in_a_reply(raw: bytes) -> bytes:
    text = base64.encodebytes(CONTENT).replace(b"\n", b"\n> ")
    return mail_with(b"He wrote:\n> " + text, "text/plain", "7bit")


def as_text_inside_quoted_printable(raw: bytes) -> bytes:
    text = quopri.encodestring(base64.encodebytes(CONTENT))
    return mail_with(text, "text/plain", "quoted-printable")


def mail_with(body: bytes, kind: str, encoding: str) -> bytes:
    head = f"Subject: x\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + body


@pytest.mark.parametrize(
    "alter",
    [
        wrapped_twice_with_a_footer,
        forwarded_as_attachment,
        forwarded_as_encoded_attachment,
        forwarded_as_file,
        in_winmail_dat,
        rewrapped_to_72_columns,
        on_one_endless_line,
        as_quoted_printable,
        as_uuencode,
        as_binary,
        with_plain_text_after_the_base64,
        with_a_banner_before_the_base64,
        with_text_after_the_last_boundary,
        with_line_feeds_only,
        with_all_headers_of_ours_gone,
        with_the_encoding_header_gone,
        with_the_boundary_changed_in_the_header_only,
        with_the_last_boundary_cut_off,
        quoted_in_a_reply,
        as_text_inside_quoted_printable,
    ],
)
def test_an_altered_mail_is_still_recognised(alter: Callable[[bytes], bytes]) -> None:
    raw = composed(CONTENT)
    altered = alter(raw)
    assert altered != raw
    assert contents_of(altered)[:2] == ((CONTENT,), None)


def test_several_containers_come_in_their_order_and_each_once() -> None:
    contents = [container(500, seed) for seed in (1, 2, 3, 1)]
    outer = MIMEMultipart("mixed")
    for content in contents:
        outer.attach(MIMEMessage(message_from_bytes(composed(content))))
    assert containers_in(outer.as_bytes()) == tuple(contents[:3])


def test_a_removed_attachment_is_reported() -> None:  # F9
    raw = composed(CONTENT)
    start, end = raw.index(b"iW1T"), raw.rindex(b"--=_edge--")
    stripped = raw[:start] + b"The attachment was removed.\r\n" + raw[end:]
    contents = contents_of(stripped)
    assert contents.containers == ()
    assert "attachment was removed" in str(contents.problem)


def test_a_cut_container_is_reported() -> None:
    raw = composed(CONTENT, "thin")
    assert contents_of(raw[: len(raw) // 2]).problem == "the container in it is cut"


def test_foreign_mail_is_no_problem() -> None:
    assert contents_of(foreign_mail())[:2] == ((), None)


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("profile", ["robust", "thin"])
def test_every_step_of_the_ladder_is_read(profile: Profile, step: int) -> None:
    raw = composed(CONTENT, profile, step=step)
    assert contents_of(raw)[:2] == ((CONTENT,), None)
    binaries = {part.get_content_type() for part in parsed(raw).walk()} - {"text/plain"}
    assert ("application/octet-stream" in binaries) == (profile == "robust" and step == 0)
    assert parsed(raw).is_multipart() == (profile == "robust" and step < 2)


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("headers", [True, False])
def test_a_stripped_mail_says_at_which_step_it_was_sent(step: int, *, headers: bool) -> None:
    raw = re.sub(rb"iW1TeW5j[A-Za-z0-9+/=\r\n]*", b"", composed(CONTENT, step=step))
    if not headers:
        raw = b"\r\n".join(
            line for line in raw.split(b"\r\n") if not line.startswith((b"X-Mailsync", b"Subject"))
        )
    contents = contents_of(raw)
    assert (contents.unfinished, contents.stripped) == (True, step + 1)
    assert contents_of(b"In-Reply-To: <1@x>\r\n" + raw).stripped == 0


def bare(step: int) -> bytes:
    """A thin mail under a name as sites give them."""
    return composed(CONTENT, "thin", step=step, message_id=name_of_mail(bytes(6), SENDER))


@pytest.mark.parametrize("step", [0, 1])
def test_a_stripped_thin_mail_says_at_which_step_it_was_sent(step: int) -> None:
    header, end, _ = bare(step).partition(b"\r\n\r\n")
    contents = contents_of(header + end + b"removed by policy\r\n")
    assert (contents.unfinished, contents.stripped) == (True, step + 1)
    assert contents_of(b"In-Reply-To: <1@x>\r\n" + header + end).stripped == 0


@pytest.mark.parametrize("character", [b"iEUGPZetA!", b"A", b"$", b"@", b"_", b"{"])
def test_dense_armour_damaged_by_a_gateway_asks_for_the_next_step(character: bytes) -> None:
    header, end, body = bare(0).partition(b"\r\n\r\n")
    contents = contents_of(header + end + body.replace(character, b"?"))
    assert (contents.containers, contents.unfinished, contents.stripped) == ((), True, 1)


def test_damaged_base64_asks_for_no_other_form() -> None:
    for raw in (bare(1), composed(CONTENT)):
        damaged = raw.replace(b"aaa", b"aaA", 1).replace(b"A", b"B")
        assert contents_of(raw[: len(raw) // 2]).stripped == 0
        assert contents_of(damaged).containers == ()
    reply = b"In-Reply-To: <1@x>\r\n" + bare(0)
    assert contents_of(reply[: len(reply) // 2]).stripped == 0


@given(
    st.binary(max_size=3000),
    st.sampled_from([0, 1]),
    st.integers(20, 1000),
    st.sampled_from(["", "> ", ">> ", "\t", "    "]),
    st.sampled_from(["", " ", "  \t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "CAUTION: external mail.", "He wrote:\n"]),
    st.sampled_from(["", "Scanned", "-- \nScanned by x.", "\n\nDisclaimer\n", "ABC+/=", "~~~~~~"]),
)
def test_armour_survives_wrapping_quoting_and_footers(
    body: bytes, step: int, width: int, quote: str, space: str, end: str, above: str, below: str
) -> None:
    content = frame(Kind.BUNDLE, body)
    header, _, armour = composed(content, "thin", step=step).partition(b"\r\n\r\n")
    text = b"".join(armour.split()).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    quoted = [f"{quote}{line}{space}" for line in (*above.split("\n"), *lines, *below.split("\n"))]
    assert containers_in(header + b"\n\n" + end.join(quoted).encode()) == (content,)


@pytest.mark.parametrize(
    "alter",
    [
        wrapped_twice_with_a_footer,
        forwarded_as_attachment,
        forwarded_as_encoded_attachment,
        forwarded_as_file,
        with_text_after_the_last_boundary,
        with_line_feeds_only,
        lambda raw: raw.replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n<pre>", 1),
        lambda raw: html.escape(raw.decode(), quote=True).encode(),
        lambda raw: mail_with(
            quopri.encodestring(raw.partition(b"\r\n\r\n")[2]), "text/plain", "quoted-printable"
        ),
        lambda raw: mail_with(
            base64.encodebytes(raw.partition(b"\r\n\r\n")[2]), "text/plain", "base64"
        ),
    ],
)
def test_an_altered_thin_mail_is_still_recognised(alter: Callable[[bytes], bytes]) -> None:
    raw = composed(CONTENT, "thin")
    altered = alter(raw)
    assert altered != raw
    assert contents_of(altered)[:2] == ((CONTENT,), None)


@pytest.mark.parametrize("change", [wrapped_again, with_footer])
@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_a_thin_mail_survives_the_relay(
    change: Callable[[bytes, random.Random], bytes], step: int, seed: int
) -> None:
    altered = change(bare(step), random.Random(seed))
    assert altered != bare(step)
    assert containers_in(altered) == (CONTENT,)


@pytest.mark.parametrize("change", [truncated, corrupted, stripped])
def test_a_thin_mail_that_the_relay_damages_asks_for_the_next_step(
    change: Callable[[bytes, random.Random], bytes],
) -> None:
    contents = contents_of(change(bare(0), random.Random(1)))
    assert (contents.containers, contents.stripped) == ((), 1)


# --- hostile mails -------------------------------------------------------------------------


@given(st.binary(max_size=3000))
def test_no_bytes_whatever_raise(data: bytes) -> None:
    contents_of(data)


@given(
    st.lists(st.sampled_from([DENSE_START, MAGIC, b"~~~~~", b"0", b">", b" ", b"\n", b"."])),
    st.binary(max_size=200),
)
def test_hostile_armour_does_not_raise(pieces: list[bytes], tail: bytes) -> None:
    contents_of(b"".join(pieces) + tail)
    contents_of(DENSE_START + b"".join(pieces))


def test_groups_that_no_bytes_have_are_foreign() -> None:
    raw = dense(CONTENT)
    assert containers_in(raw + b"~~~~~" * 10) == (CONTENT,)
    assert contents_of(DENSE_START + b"~~~~~" * 10).problem == "the container in it is altered"
    assert contents_of(DENSE_START * 100_000).containers == ()


@given(
    st.lists(
        st.sampled_from(
            [
                b"\r\n",
                b"\n",
                b"--b",
                b"--b--",
                b"\r\n--b\r\n",
                b"Content-Type: multipart/mixed; boundary=b\r\n",
                b'Content-Type: multipart/x; boundary="b"\r\n',
                b"Content-Type: message/rfc822\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b"Content-Transfer-Encoding: x-uuencode\r\n",
                b"Content-Transfer-Encoding: quoted-printable\r\n",
                b"Subject: [mailsync]\r\n",
                MAGIC,
                base64.b64encode(MAGIC),
                base64.encodebytes(container(20)),
                dense(MAGIC),
                dense(container(20)),
                b"=",
                b" ",
                b"\xff\0",
            ]
        ),
        max_size=40,
    )
)
def test_no_arrangement_of_mime_pieces_raises(pieces: list[bytes]) -> None:
    contents_of(b"".join(pieces))


def nested(levels: int, inner: Message) -> bytes:
    for level in range(levels):
        outer = MIMEMultipart("mixed", boundary=f"b{level}b")
        outer.attach(inner)
        inner = outer
    return inner.as_bytes()


def test_depth_is_bounded_and_within_the_bound_found() -> None:
    inner = message_from_bytes(composed(CONTENT))
    assert containers_in(nested(9, inner)) == (CONTENT,)
    assert len(containers_in(nested(60, MIMEText("x")))) == 0


def test_ten_thousand_levels_of_nesting_do_not_overflow() -> None:  # T9
    head = b"Content-Type: message/rfc822\r\n\r\n"
    assert contents_of(head * 10_000)[:2] == ((), None)
    many = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(10_000)
    )
    assert contents_of(many)[:2] == ((), None)


def test_ten_thousand_parts_are_not_all_looked_at() -> None:  # T9
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 10_000
    assert contents_of(raw).problem == "more than the 500 parts looked at"


def test_endless_headers_and_lines_are_passed_over() -> None:  # T9
    assert contents_of(b"X: " + b"y" * 2_000_000 + b"\r\n\r\nbody")[:2] == ((), None)
    assert contents_of(b"X-Long: y\r\n" * 100_000)[:2] == ((), None)
    assert contents_of(b"Content-Type: multipart/x; boundary" + b" " * 100_000)[:2] == ((), None)


def test_a_container_behind_an_endless_header_is_found_by_itself() -> None:
    raw = b"X: " + b"y" * 500_000 + b"\r\n" + composed(CONTENT)
    assert containers_in(raw) == (CONTENT,)


def test_a_mail_above_the_size_limit_is_not_looked_into() -> None:
    raw = composed(CONTENT)
    contents = contents_of(raw, Limits(size=len(raw) - 1))
    assert contents.containers == ()
    assert "larger than" in str(contents.problem)
    assert containers_in(raw, Limits(size=len(raw))) == (CONTENT,)


def test_a_flood_of_containers_is_refused() -> None:
    flood = b"".join(container(1, seed) for seed in range(200))
    contents = contents_of(mail_with(flood, "application/octet-stream", "binary"))
    assert contents[:2] == ((), "more than 64 containers in one mail")


def test_the_date_is_written_with_its_zone() -> None:
    one = letter("sync@hub.example", CONTENT)
    raw = compose_message(
        one,
        sender=SENDER,
        date=NOW + timedelta(days=1),
        boundary="b",
        site="aurora",
    )
    assert b"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n" in raw
