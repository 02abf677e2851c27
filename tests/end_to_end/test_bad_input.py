"""What goes wrong is said in one clear line, loses nothing and leaves nothing half done."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import socket
import subprocess
from base64 import encodebytes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailsync.carriers.message import containers_in
from mailsync.core import container
from mailsync.errors import Exit
from tests.end_to_end.exchange import (
    Exchange,
    contents,
    crew,
    flags,
    set_text_line,
    text_line,
    write_whole,
)
from tests.end_to_end.site_directory import (
    SiteDirectory,
    environment,
    eventually,
    introduce,
    make_site,
)
from tests.servers.authority import write_certificates
from tests.servers.mail import HOST, PASSWORD, MailServer

CONTACT = "contact-01@contacts.example"
BROKEN = "contact-02.vcf"
BROKEN_UID = "urn:uuid:6e15ea15-85df-4b0e-ac89-3c8cc3b0f99e"


@pytest.fixture
def edited(exchange: Exchange) -> Exchange:
    """Two sites with an edit at each that the other does not know of yet."""
    exchange.ship.execute("UPDATE defects SET note = 'ship' WHERE no = 'D-00001'")
    exchange.shore.execute("UPDATE defects SET note = 'shore' WHERE no = 'D-00002'")
    return exchange


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command complained of on standard error: a line each, then a line of advice."""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    found = [line for line in lines if line.startswith("mailsync: error: ")]
    assert len(lines) == 2 * len(found), done.stderr
    return [line.removeprefix("mailsync: error: ") for line in found]


def refused(site: SiteDirectory, code: Exit, *words: str) -> list[str]:
    """The complaints of a command that must change no dataset."""
    before = contents(site)
    lines = complaints(site.run(*(words or ("sync",)), code=code))
    assert lines
    assert contents(site) == before
    return lines


def assert_heals(exchange: Exchange) -> None:
    """Nothing was lost: once all is well, both edits are at both ends."""
    exchange.settle()
    notes = {row[0]: row[3] for row in exchange.assert_equal()["defects"]}
    assert (notes["D-00001"], notes["D-00002"]) == ("ship", "shore")


# --- servers -----------------------------------------------------------------------------------


def test_a_wrong_password_is_said_and_nothing_is_lost(edited: Exchange) -> None:
    edited.ship.secret.write_text("wrong\n")
    for line in refused(edited.ship, Exit.LOGIN_REFUSED):
        assert re.search(r"imaps?://|smtps?://|localhost", line)
        assert "wrong" not in line
        assert PASSWORD not in line
    edited.ship.secret.write_text(f"{PASSWORD}\n")
    assert_heals(edited)


def test_an_unknown_certificate_is_refused(edited: Exchange, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_certificates(other, HOST)
    ours, theirs = str(edited.server.ca), str(other / "ca.pem")
    edited.ship.replace(ours, theirs)
    assert all("certificate" in line for line in refused(edited.ship, Exit.LOGIN_REFUSED))
    edited.ship.replace(theirs, ours)
    assert_heals(edited)


def test_a_certificate_for_another_host_is_refused(edited: Exchange) -> None:
    edited.ship.replace("@localhost:", "@127.0.0.1:")
    assert all("certificate" in line for line in refused(edited.ship, Exit.LOGIN_REFUSED))
    edited.ship.replace("@127.0.0.1:", "@localhost:")
    assert_heals(edited)


def test_an_unreachable_server_is_a_temporary_failure(edited: Exchange) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        closed = nobody.getsockname()[1]
        text = edited.ship.configuration.read_text()
        broken = re.sub(r'(@localhost:)\d+"', rf'\g<1>{closed}"', text)
        edited.ship.configuration.write_text(broken)
        lines = refused(edited.ship, Exit.TEMPORARY)
    assert all(f"localhost:{closed}" in line for line in lines)
    edited.ship.configuration.write_text(text)
    assert_heals(edited)


# --- configuration, keys, cards ----------------------------------------------------------------


MISTAKES = (
    ("\n[datasets.defects]\n", "\n[datasets.defects]\ntabel = 1\n", "tabel"),
    ('keys = "local"', "keys = 5", "keys"),
    ("\n[datasets.defects]\n", "\n[datasets.defects\n", ""),
    ("[mail]", '[mail]\ndispose_after = "soon"', "dispose_after"),
)


def test_a_malformed_configuration_is_named_by_key_and_line(edited: Exchange) -> None:
    ship = edited.ship
    for old, new, named in MISTAKES:
        ship.replace(old, new)
        lines = ship.configuration.read_text().splitlines()
        wrong = lines.index(new.splitlines()[-1]) + 1
        [line] = refused(ship, Exit.BAD_CONFIGURATION)
        assert f"mailsync.toml:{wrong}: " in line
        assert named in line
        ship.replace(new, old)
    assert_heals(edited)


def test_a_card_of_which_one_byte_was_changed_is_refused(edited: Exchange) -> None:
    [card] = edited.ship.path.glob("peers/*.card")
    right = card.read_bytes()
    for place in (right.index(b"shore"), right.index(b"Signing") + 20, len(right) - 45):
        wrong = bytearray(right)
        wrong[place] ^= 1
        card.write_bytes(wrong)
        [line] = refused(edited.ship, Exit.LOGIN_REFUSED)
        assert "[peers.shore]" in line
    card.write_bytes(right)
    assert_heals(edited)


def test_secrets_that_others_can_read_are_not_used(edited: Exchange) -> None:
    for name in ("keys/site.key", "state.db"):
        path = edited.ship.path / name
        path.chmod(0o644)
        [line] = refused(edited.ship, Exit.LOGIN_REFUSED)
        assert f"chmod 600 {path}" in line
        path.chmod(0o600)
    assert_heals(edited)


def test_a_site_that_is_not_initialised_is_said_to_be(edited: Exchange) -> None:
    for name in ("mailsync.toml", "state.db", "keys/site.key"):
        path = edited.ship.path / name
        hidden = path.rename(edited.ship.path / "hidden")
        [line] = refused(edited.ship, Exit.NOT_INITIALISED)
        assert name in line
        assert not path.exists()
        hidden.rename(path)
    assert_heals(edited)


def test_an_unknown_peer_is_a_mistake_of_usage(edited: Exchange) -> None:
    [line] = refused(edited.ship, Exit.USAGE, "sync", "nowhere")
    assert "nowhere" in line
    assert "shore" in line
    assert_heals(edited)


def test_of_two_processes_at_once_the_second_is_turned_away(edited: Exchange) -> None:
    ship = edited.ship
    asked, answer = ship.path / "asked", ship.path / "answer"
    slow = f"touch {asked}; until test -e {answer}; do sleep 0.05; done; cat secret"
    ship.replace('["cat", "secret"]', f'["sh", "-c", "{slow}"]')
    with ship.running("sync") as first:
        eventually(asked.exists, why=ship.complained)
        [line] = refused(ship, Exit.LOCKED)
        assert "state.db" in line
        answer.touch()
        assert first.wait(60) == 0
    assert_heals(edited)


# --- datasets that cannot be used --------------------------------------------------------------


def change_all(site: SiteDirectory) -> None:
    site.execute("UPDATE defects SET note = 'ship' WHERE no = 'D-00001'")
    site.execute("UPDATE stock SET place = 'hold' WHERE part = 'P-0001'")
    set_text_line(crew(site), CONTACT, "TITLE", "Chandler")


def test_a_missing_table_is_said_and_the_other_datasets_go_on(exchange: Exchange) -> None:
    ship, shore = exchange.sites
    change_all(ship)
    exchange.sync(ship)
    shore.execute("ALTER TABLE defects RENAME TO hidden")
    [line] = complaints(shore.run("sync", code=Exit.BAD_CONFIGURATION))
    assert "defects" in line
    assert shore.query("SELECT place FROM stock WHERE part = 'P-0001'") == [("hold",)]
    assert text_line(crew(shore), CONTACT, "TITLE") == "Chandler"
    shore.execute("ALTER TABLE hidden RENAME TO defects")
    exchange.settle()
    assert len(exchange.assert_equal()["defects"]) == 20


def test_a_missing_database_is_not_made_and_the_other_datasets_go_on(
    exchange: Exchange,
) -> None:
    ship, shore = exchange.sites
    change_all(ship)
    exchange.sync(ship)
    hidden = shore.database.rename(shore.path / "hidden.db")
    lines = complaints(shore.run("sync", code=Exit.BAD_CONFIGURATION))
    assert len(lines) == 1  # not one for each of its tables
    assert all("pms.db" in line for line in lines)
    assert not shore.database.exists()
    assert text_line(crew(shore), CONTACT, "TITLE") == "Chandler"
    hidden.rename(shore.database)
    exchange.settle()
    assert len(exchange.assert_equal()["defects"]) == 20


@pytest.mark.parametrize("where", ["ship", "shore"])
def test_a_card_that_does_not_parse_is_held_until_it_is_repaired(
    exchange: Exchange, where: str
) -> None:
    """``ship`` has a file a card, ``shore`` one file; meanwhile the peer edits that very card."""
    site = exchange.ship if where == "ship" else exchange.shore
    peer = exchange.peer_of(site)
    [file] = [one for one in _card_files(site) if BROKEN_UID in one.read_text()]
    right = file.read_text()
    fn = next(line for line in right.splitlines() if line.startswith("FN:Tomas"))
    write_whole(file, right.replace(fn, "This is no property"))
    set_text_line(crew(peer), BROKEN_UID, "TITLE", "Pilot")
    exchange.sync(peer)
    site.execute("UPDATE stock SET place = 'hold' WHERE part = 'P-0001'")
    done = site.run("--json", "sync", code=Exit.PARTLY)
    assert "Traceback" not in done.stderr
    held = [line for line in done.stderr.splitlines() if line.startswith("held: crew ")]
    assert any((BROKEN if where == "ship" else BROKEN_UID) in line for line in held)
    exchange.await_delivery()
    exchange.sync(peer)
    assert peer.query("SELECT place FROM stock WHERE part = 'P-0001'") == [("hold",)]
    assert text_line(crew(peer), BROKEN_UID, "FN") == fn.removeprefix("FN:")
    assert "This is no property" in file.read_text()
    write_whole(file, file.read_text().replace("This is no property", "FN:Tomas Repaired"))
    exchange.settle()
    exchange.assert_equal()
    for one in exchange.sites:
        assert text_line(crew(one), BROKEN_UID, "FN") == "Tomas Repaired"
        assert text_line(crew(one), BROKEN_UID, "TITLE") == "Pilot"


def _card_files(site: SiteDirectory) -> list[Path]:
    return list(crew(site).iterdir()) if crew(site).is_dir() else [crew(site)]


@contextlib.contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    subprocess.run(["mount", *options, str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_loses_nothing_and_the_next_sync_goes_on(
    exchange: Exchange, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    with mounted(small, "-t", "tmpfs", "-o", "size=10m", "tmpfs"):
        shutil.copytree(exchange.shore.path, small / "shore")
        shore = dataclasses.replace(exchange.shore, path=small / "shore")
        crowded = dataclasses.replace(exchange, shore=shore)
        crowded.ship.execute("UPDATE defects SET photo = randomblob(50000)")
        crowded.ship.execute("UPDATE stock SET place = 'hold'")
        crowded.sync(crowded.ship)
        codes = [sync_with_free(crowded, size) for size in (0, 40_000, 300_000, 1_500_000)]
        assert codes[0] == Exit.TEMPORARY
        assert set(codes) <= {Exit.OK, Exit.TEMPORARY}
        crowded.settle()
        crowded.assert_equal()


def sync_with_free(exchange: Exchange, free: int) -> int:
    """Sync the shore while the disk has so many bytes free; the exit code."""
    shore = exchange.shore
    before = contents(shore)
    filler = shore.path.parent / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(shore.path).free - free))
    done = subprocess.run(
        shore.command("sync"),
        cwd=shore.path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    filler.unlink()
    assert all("space" in line or "full" in line for line in complaints(done))
    here, there = contents(shore), contents(exchange.ship)
    for name, rows in here.items():  # all of a transaction or nothing
        assert rows in (before[name], there[name]), f"{name} is half applied"
    return done.returncode


def test_a_dataset_that_cannot_be_written_waits_and_goes_on_later(
    exchange: Exchange,
) -> None:
    ship, shore = exchange.sites
    place = shore.path / "shared"
    place.mkdir()
    for name in ("pms.db", "crew.vcf"):
        (shore.path / name).rename(place / name)
    shore.replace("sqlite:///pms.db", "sqlite:///shared/pms.db")
    shore.replace("vcard:crew.vcf", "vcard:shared/crew.vcf")
    change_all(ship)
    set_text_line(ship.path / "schedule", "watch-handover@schedule.example", "SUMMARY", "Handover")
    exchange.sync(ship)
    before = {path: path.read_bytes() for path in place.iterdir()}
    with mounted(place, "--bind", str(place)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        lines = complaints(shore.run("sync", code=Exit.PARTLY))
        assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert len(lines) == 2  # one a database or file
    assert all("pms.db" in line or "crew.vcf" in line for line in lines)
    summary = text_line(shore.path / "schedule.ics", "watch-handover@schedule.example", "SUMMARY")
    assert summary == "Handover"  # the other datasets went on
    for name in ("pms.db", "crew.vcf"):
        (place / name).rename(shore.path / name)
    shore.replace("shared/", "")
    exchange.settle()
    rows = exchange.assert_equal()["defects"]
    assert rows[0][3] == "ship"


# --- mails that are not what they seem -----------------------------------------------------------


def newest_mail(exchange: Exchange, site: SiteDirectory) -> bytes:
    mails = exchange.mailbox(site)
    return mails[max(mails)]


def with_attachment(mail: bytes, content: bytes) -> bytes:
    """The mail with another attachment."""
    head, separator, rest = mail.rpartition(b'.msync"\r\n\r\n')
    assert separator
    tail = rest[rest.index(b"\r\n--") :]
    return head + separator + encodebytes(content).replace(b"\n", b"\r\n") + tail


def remove_newest(exchange: Exchange, site: SiteDirectory) -> None:
    with exchange.server.imap(site.address) as client:
        client.select("INBOX")
        client.uid("STORE", f"{max(exchange.mailbox(site))}", "+FLAGS", r"(\Deleted)")
        client.expunge()


def plant(exchange: Exchange, site: SiteDirectory, mail: bytes) -> None:
    """Put a mail into the site's inbox; its owner has read and flagged it."""
    exchange.server.deliver(site.address, [mail])
    with exchange.server.imap(site.address) as client:
        client.select("INBOX")
        newest = client.uid("SEARCH", "ALL")[1][0].split()[-1].decode()
        client.uid("STORE", newest, "+FLAGS", r"(\Seen \Flagged)")


def rejections(exchange: Exchange, site: SiteDirectory) -> list[str]:
    """Sync the site: exit 0, no dataset changed, every mail left as it was. What was rejected."""
    box = exchange.mailbox(site), flags(exchange.server, site.address)
    before = contents(site)
    done = site.run("--json", "sync")
    assert "Traceback" not in done.stderr
    assert contents(site) == before
    assert (exchange.mailbox(site), flags(exchange.server, site.address)) == box
    return [line for line in done.stderr.splitlines() if line.startswith("not used: ")]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:60] + bytes([content[60] ^ 4]) + content[61:]


def forged(content: bytes) -> bytes:
    """Altered by somebody who knows how to make the check fit."""
    taken = container.unframe(content)
    return container.frame(taken.kind, flipped(taken.body))


def relabelled(content: bytes) -> bytes:
    """A whole bundle that claims to be a part."""
    taken = container.unframe(content)
    other = container.Kind.PART if taken.kind is container.Kind.BUNDLE else container.Kind.BUNDLE
    return container.frame(other, taken.body)


@pytest.mark.parametrize("alter", [cut, flipped, forged, relabelled])
def test_an_altered_mail_is_rejected_and_the_true_one_still_counts(
    edited: Exchange, alter: Callable[[bytes], bytes]
) -> None:
    edited.sync(edited.ship)
    mail = newest_mail(edited, edited.shore)
    remove_newest(edited, edited.shore)
    [content] = containers_in(mail)
    plant(edited, edited.shore, with_attachment(mail, alter(content)))
    assert len(rejections(edited, edited.shore)) == 1
    assert rejections(edited, edited.shore) == []  # said once
    plant(edited, edited.shore, mail)
    assert_heals(edited)


def test_a_replayed_mail_has_no_effect_and_causes_no_mail(edited: Exchange) -> None:
    edited.sync(edited.ship)
    mail = newest_mail(edited, edited.shore)
    assert_heals(edited)
    edited.shore.execute("UPDATE defects SET note = 'newer' WHERE no = 'D-00001'")
    edited.ship.execute("DELETE FROM defects WHERE no = 'D-00003'")
    edited.settle()
    result = edited.assert_equal()
    for _ in range(2):
        plant(edited, edited.shore, mail)
        assert rejections(edited, edited.shore) == []
        assert edited.sync(edited.shore)["sent"]["mails"] == 0
    assert edited.assert_equal() == result
    edited.assert_mail_rests()


def test_our_own_mail_sent_back_to_us_is_rejected(edited: Exchange) -> None:
    edited.sync(edited.ship)
    plant(edited, edited.ship, newest_mail(edited, edited.shore))
    assert len(rejections(edited, edited.ship)) == 1
    assert_heals(edited)


def test_a_strangers_mail_and_a_mail_for_another_peer_are_rejected(
    edited: Exchange, mail_server: MailServer, tmp_path: Path
) -> None:
    ship, shore = edited.sites
    yard = make_site(mail_server, tmp_path / "yard", "yard")
    introduce(ship, yard)
    yard.run("pair", "add", ship.path / "shore.card")  # shore did not accept yard
    yard.insert("a stranger's")
    yard.sync()
    ship.sync("yard")
    edited.await_delivery()
    for mail in edited.mailbox(yard).values():  # from ship, but for yard
        plant(edited, shore, mail)
    assert len(rejections(edited, shore)) == 2
    assert_heals(edited)


def test_an_unsealed_bundle_is_rejected_where_sealing_is_on(edited: Exchange) -> None:
    edited.ship.set_for_peer("shore", "seal = false")
    edited.sync(edited.ship)
    assert len(rejections(edited, edited.shore)) == 1
    edited.ship.replace("seal = false\n", "")
    assert edited.sync(edited.ship, "--full")["sent"]["upserts"] == 1
    assert_heals(edited)


def test_a_mail_of_200_megabytes_is_skipped_and_the_next_one_is_used(edited: Exchange) -> None:
    edited.sync(edited.ship)
    mail = newest_mail(edited, edited.shore)
    remove_newest(edited, edited.shore)
    plant(edited, edited.shore, with_attachment(mail, bytes(200_000_000)))
    [line] = rejections(edited, edited.shore)
    assert "larger than" in line
    plant(edited, edited.shore, mail)
    assert_heals(edited)


def test_a_flood_of_odd_mail_hides_nothing(edited: Exchange) -> None:
    odd: list[Any] = [
        b"",
        b"\r\n\r\n",
        b"Subject: [mailsync] nothing in it\r\n\r\n",
        b"Subject: [mailsync] x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 300,
        b"From: \xff\xfe\r\nX-Mailsync: v=9\r\n\r\n\xff" + container.MAGIC + b"\x01\xff\xff",
        b"Subject: [mailsync]\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    ]
    edited.server.deliver(edited.shore.address, [*odd, *odd])
    edited.sync(edited.ship)
    box = edited.mailbox(edited.shore)
    assert_heals(edited)
    assert edited.mailbox(edited.shore).items() >= box.items()
