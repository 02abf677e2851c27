"""A table, an address book and a schedule between two sites, over real mail servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.carriers import OFTEN, SETTLING
from tests.end_to_end.exchange import (
    DEFECTS,
    FILL_DEFECTS,
    Exchange,
    add_card,
    blocks,
    contents,
    crew,
    defects,
    flags,
    mails,
    make_exchange,
    remove_text,
    schedule,
    set_text_line,
    text_line,
)
from tests.end_to_end.site_directory import SiteDirectory
from tests.servers.mail import MailServer

CONTACT = "contact-01@contacts.example"
EVENT = "watch-handover@schedule.example"


def foreign_mail(subject: str) -> bytes:
    head = f"From: Anna <anna@friends.example>\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x>"
    return f"{head}\r\nX-Odd:  two\r\n\r\nDear all,\r\n.dot\r\n{'long ' * 150}\r\n".encode()


def conflicts(site: SiteDirectory, *words: str) -> list[dict[str, Any]]:
    return site.json("conflicts", "list", *words)[:-1]


# --- the whole way ---------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", SETTLING)
def test_two_thousand_rows_cards_and_series_arrive_then_changes_cross_then_silence(
    mail_server: MailServer, tmp_path: Path, carrier: str
) -> None:
    exchange = make_exchange(mail_server, tmp_path, defects=2000, stock=300)
    settle = SETTLING[carrier]
    ship, shore = exchange.sites
    for site in exchange.sites:
        site.set_for_peer(exchange.peer_of(site).name, OFTEN)
    before = contents(ship)
    settle(exchange)
    assert contents(ship) == before  # what was sent is not written back
    assert exchange.assert_equal()["defects"] == before["defects"]
    assert any("RECURRENCE-ID" in line for block in before["schedule"] for line in block[1])
    exchange.assert_mail_rests()

    oracle = SiteDirectory(tmp_path, "oracle", "")
    oracle.execute(DEFECTS)
    oracle.execute(FILL_DEFECTS, 2000)
    for offset, site in enumerate(exchange.sites):
        for place in (site, oracle):
            change_one_percent(place, offset)
    set_text_line(crew(ship), CONTACT, "TITLE", "Chandler")
    set_text_line(crew(shore), "contact-13@contacts.example", "FN", "Somebody Else")
    set_text_line(schedule(ship), EVENT, "SUMMARY", "Handover of the watch")
    set_text_line(schedule(shore), "tokyo-call@schedule.example", "SUMMARY", "電話会議")
    remove_text(crew(ship), "contact-05@contacts.example")
    add_card(crew(shore), "added@shore.example", "New Agent")
    shore.execute("UPDATE stock SET quantity = 99 WHERE part IN ('P-0001', 'P-0002', 'P-0003')")
    ship.execute("DELETE FROM stock WHERE part = 'P-0004'")
    settle(exchange)

    result = exchange.assert_equal()
    assert result["defects"] == defects(oracle)
    assert len(result["stock"]) == 299
    assert sum(row[2] == 99 for row in result["stock"]) == 3
    assert len(result["crew"]) == len(before["crew"])
    for site in exchange.sites:
        assert text_line(crew(site), CONTACT, "TITLE") == "Chandler"
        assert text_line(crew(site), "contact-13@contacts.example", "FN") == "Somebody Else"
        assert text_line(schedule(site), EVENT, "SUMMARY") == "Handover of the watch"
        assert conflicts(site, "--all") == []
    exchange.assert_mail_rests()
    if carrier not in ("mail", "mixed"):
        assert [exchange.mailbox(site) for site in exchange.sites] == [{}, {}]


def change_one_percent(site: SiteDirectory, offset: int) -> None:
    """Ten inserts, ten edits, five deletes; other ones for another offset."""
    for number in range(10):
        site.execute(
            "INSERT INTO defects (no, title, hours) VALUES (?, 'new', 0.1)",
            f"N-{offset}-{number}",
        )
        edited = f"D-{100 * number + offset + 1:05}"
        site.execute("UPDATE defects SET status = 'closed', note = NULL WHERE no = ?", edited)
    for number in range(5):
        site.execute("DELETE FROM defects WHERE no = ?", f"D-{1500 + 10 * number + offset:05}")


@pytest.mark.parametrize(
    "options",
    ["seal = false", 'profile = "thin"', 'max_message = "16 KiB"'],
    ids=["unsealed", "thin", "parts"],
)
def test_every_kind_of_link_brings_both_ends_to_the_same(
    mail_server: MailServer, tmp_path: Path, options: str
) -> None:
    exchange = make_exchange(mail_server, tmp_path, defects=400)
    for site in exchange.sites:
        site.set_for_peer(exchange.peer_of(site).name, options)
    exchange.ship.execute("UPDATE defects SET photo = randomblob(20000) WHERE no < 'D-00006'")
    before = contents(exchange.ship)
    first = exchange.sync(exchange.ship)
    exchange.settle()
    assert exchange.assert_equal() == before
    exchange.shore.execute("UPDATE defects SET note = 'shore' WHERE no = 'D-00007'")
    exchange.settle()
    exchange.ship.execute("DELETE FROM defects WHERE no = 'D-00008'")
    second = exchange.sync(exchange.ship)
    exchange.settle()
    assert len(exchange.assert_equal()["defects"]) == 399
    exchange.assert_mail_rests()
    arrived = exchange.mailbox(exchange.shore).values()
    for head in (mail.partition(b"\r\n\r\n")[0] for mail in arrived):
        assert (b"\r\nSubject:" in head) is ("thin" not in options)
        assert (b"\r\nMIME-Version:" in head) is ("thin" not in options)
    if "thin" in options:
        assert second["sent"]["bytes"] < 600  # one delete, sealed
    if "max_message" in options:
        assert first["sent"]["mails"] > first["sent"]["bundles"]  # a photo fits no mail
        assert max(map(len, arrived)) < 20_000  # with the servers' trace headers
    else:
        assert first["sent"]["mails"] == first["sent"]["bundles"]


# --- merging -----------------------------------------------------------------------------------


def test_edits_of_different_fields_are_merged_without_a_conflict(exchange: Exchange) -> None:
    ship, shore = exchange.sites
    ship.execute("UPDATE defects SET status = 'closed' WHERE no = 'D-00001'")
    set_text_line(crew(ship), CONTACT, "TITLE", "Chandler")
    set_text_line(schedule(ship), EVENT, "SUMMARY", "Handover")
    exchange.sync(ship)
    shore.execute("UPDATE defects SET note = 'approved' WHERE no = 'D-00001'")
    set_text_line(crew(shore), CONTACT, "FN", "Anna L.")
    set_text_line(schedule(shore), EVENT, "RRULE", "FREQ=DAILY;INTERVAL=2")
    exchange.settle()
    exchange.assert_equal()
    for site in exchange.sites:
        query = "SELECT status, note FROM defects WHERE no = 'D-00001'"
        assert site.query(query) == [("closed", "approved")]
        assert text_line(crew(site), CONTACT, "TITLE") == "Chandler"
        assert text_line(crew(site), CONTACT, "FN") == "Anna L."
        assert text_line(schedule(site), EVENT, "SUMMARY") == "Handover"
        assert text_line(schedule(site), EVENT, "RRULE") == "FREQ=DAILY;INTERVAL=2"
        assert conflicts(site, "--all") == []


def write_value(site: SiteDirectory, kind: str, value: str) -> None:
    if kind == "row":
        site.execute("UPDATE defects SET title = ? WHERE no = 'D-00001'", value)
    elif kind == "card":
        set_text_line(crew(site), CONTACT, "TITLE", value)
    else:
        set_text_line(schedule(site), EVENT, "SUMMARY", value)


def read_value(site: SiteDirectory, kind: str) -> str:
    if kind == "row":
        return str(site.query("SELECT title FROM defects WHERE no = 'D-00001'")[0][0])
    if kind == "card":
        return text_line(crew(site), CONTACT, "TITLE")
    return text_line(schedule(site), EVENT, "SUMMARY")


@pytest.mark.parametrize(
    ("kind", "later", "field"),
    [
        ("row", "shore", "title"),
        ("row", "ship", "title"),
        ("card", "shore", "title"),
        ("event", "ship", "summary"),
    ],
)
def test_the_newest_of_two_edits_wins_and_the_other_is_restored_by_one_command(
    exchange: Exchange, kind: str, later: str, field: str
) -> None:
    second = exchange.ship if later == "ship" else exchange.shore
    first = exchange.peer_of(second)
    write_value(first, kind, "written first")
    exchange.sync(first)
    write_value(second, kind, "written last")
    exchange.settle()
    exchange.assert_equal()
    for site in exchange.sites:
        assert read_value(site, kind) == "written last"
        [conflict] = conflicts(site)
        assert conflict["field"] == field
        assert conflict["winner"].endswith("written last")
        assert conflict["loser"].endswith("written first")
        assert conflict["sites"] == [second.name, first.name]
    second.run("conflicts", "restore", conflict["id"][:8])
    exchange.settle()
    exchange.assert_equal()
    for site in exchange.sites:
        assert read_value(site, kind) == "written first"
        assert conflicts(site) == []
    exchange.assert_mail_rests()


@pytest.mark.parametrize("deleted_first", [True, False])
def test_a_delete_against_an_unseen_edit_is_a_conflict_and_can_be_restored(
    exchange: Exchange, *, deleted_first: bool
) -> None:
    deletion = (exchange.ship, "DELETE FROM defects WHERE no = 'D-00001'")
    edit = (exchange.shore, "UPDATE defects SET title = 'unseen' WHERE no = 'D-00001'")
    steps = (deletion, edit) if deleted_first else (edit, deletion)
    for site, statement in steps:
        site.execute(statement)
        exchange.sync(site, "--no-receive")
    exchange.settle()
    assert len(exchange.assert_equal()["defects"]) == 20
    for site in exchange.sites:
        assert read_value(site, "row") == "unseen"
        [conflict] = conflicts(site)
        assert conflict["dataset"] == "defects"
        assert conflict["field"] is None
    exchange.shore.run("conflicts", "restore", conflict["id"][:8])
    exchange.settle()
    assert len(exchange.assert_equal()["defects"]) == 19
    assert conflicts(exchange.ship) == conflicts(exchange.shore) == []


def test_rows_inserted_at_both_sites_under_one_local_key_are_two_records(
    exchange: Exchange,
) -> None:
    for site in exchange.sites:
        site.execute(
            "INSERT INTO defects (id, no, title) VALUES (5001, ?, ?)", site.name, f"of {site.name}"
        )
    exchange.settle()
    found = [row[:2] for row in exchange.assert_equal()["defects"] if row[0][0] == "s"]
    assert found == [("ship", "of ship"), ("shore", "of shore")]
    for site in exchange.sites:  # nobody's own row was moved away
        assert site.query("SELECT no FROM defects WHERE id = 5001") == [(site.name,)]
        assert conflicts(site, "--all") == []


def test_rows_inserted_at_both_sites_under_one_natural_key_are_one_record(
    exchange: Exchange,
) -> None:
    ship, shore = exchange.sites
    ship.execute("INSERT INTO stock VALUES ('Aurora', 'P-9', 3, 'deck')")
    exchange.sync(ship)
    shore.execute("INSERT INTO stock VALUES ('Aurora', 'P-9', 5, 'deck')")
    exchange.settle()
    found = [row for row in exchange.assert_equal()["stock"] if row[1] == "P-9"]
    assert found == [("Aurora", "P-9", 5, "deck")]
    for site in exchange.sites:
        [conflict] = conflicts(site)
        assert (conflict["field"], conflict["winner"], conflict["loser"]) == ("quantity", 5, 3)
    ship.run("conflicts", "restore", conflict["id"][:8])
    exchange.settle()
    found = [row for row in exchange.assert_equal()["stock"] if row[1] == "P-9"]
    assert found == [("Aurora", "P-9", 3, "deck")]
    exchange.assert_mail_rests()


def test_the_same_change_at_both_sites_is_no_conflict(exchange: Exchange) -> None:
    for site in exchange.sites:
        for kind in ("row", "card", "event"):
            write_value(site, kind, "the same")
        site.execute("INSERT INTO stock VALUES ('Aurora', 'P-9', 3, 'deck')")
        site.execute("DELETE FROM defects WHERE no = 'D-00002'")
    exchange.settle()
    exchange.assert_equal()
    for site in exchange.sites:
        assert conflicts(site, "--all") == []
    exchange.assert_mail_rests()


def test_what_a_user_never_touched_stays_byte_for_byte(exchange: Exchange) -> None:
    ship, shore = exchange.sites
    before = {
        file: file.read_bytes() for path in (crew(ship), schedule(ship)) for file in path.iterdir()
    }
    set_text_line(crew(shore), CONTACT, "TITLE", "Chandler")
    exchange.settle()
    assert exchange.assert_equal()["crew"] == blocks(crew(shore))
    changed = [file for file, content in before.items() if file.read_bytes() != content]
    assert [file.name for file in changed] == ["contact-01.vcf"]
    old, new = before[changed[0]].splitlines(), changed[0].read_bytes().splitlines()
    assert [line for line in new if line not in old] == [b"TITLE:Chandler"]
    assert len(old) == len(new)


# --- a mailbox shared with a person ------------------------------------------------------------


def other_peoples_mail(exchange: Exchange) -> dict[str, object]:
    """All of a person's mail in the shore's mailbox: bytes, flags, folders."""
    server, address = exchange.server, exchange.shore.address
    found: dict[str, object] = {}
    for folder in ("INBOX", "Private"):
        content = mails(server, address, folder)
        theirs = {uid for uid, mail in content.items() if b"X-Odd" in mail}
        found[folder] = {uid: content[uid] for uid in theirs}
        found[f"{folder} flags"] = {
            uid: flag for uid, flag in flags(server, address, folder).items() if uid in theirs
        }
    with server.imap(address) as client:
        found["folders"] = sorted(str(line) for line in client.list()[1])
    return found


def share_mailbox(exchange: Exchange) -> dict[str, object]:
    """A person's mails, some of them read, flagged, marked deleted, one in another folder."""
    server, address = exchange.server, exchange.shore.address
    server.deliver(address, [foreign_mail(word) for word in ("one", "two", "three", "four")])
    with server.imap(address) as client:
        client.select("INBOX")
        client.create("Private")
        client.create("Empty")
        client.copy("1", "Private")
        client.store("2", "+FLAGS", r"(\Seen \Flagged holiday)")
        client.store("3", "+FLAGS", r"(\Deleted)")
    return other_peoples_mail(exchange)


def test_in_a_shared_mailbox_other_mail_stays_as_it_is(exchange: Exchange) -> None:
    before = share_mailbox(exchange)
    exchange.ship.execute("UPDATE defects SET note = 'ship'")
    exchange.settle()
    exchange.assert_equal()
    assert other_peoples_mail(exchange) == before
    ours = len(exchange.mailbox(exchange.shore)) - 4
    assert ours > 0
    exchange.assert_mail_rests()
    assert len(exchange.mailbox(exchange.shore)) == ours + 4  # within the grace time all stay


def test_after_the_grace_time_our_mails_go_and_no_others(exchange: Exchange) -> None:
    before = share_mailbox(exchange)
    exchange.ship.execute("UPDATE defects SET note = 'ship'")
    exchange.shore.execute("UPDATE defects SET status = 'shore'")
    for site in exchange.sites:
        site.set_for_mail('dispose_after = "1s"')
    exchange.settle()
    exchange.settle()
    exchange.assert_equal()
    assert other_peoples_mail(exchange) == before
    assert len(exchange.mailbox(exchange.shore)) == 4
    assert exchange.mailbox(exchange.ship) == {}
    exchange.shore.execute("UPDATE defects SET note = 'x' WHERE no = 'D-00001'")
    exchange.settle()
    exchange.assert_equal()
    assert other_peoples_mail(exchange) == before
