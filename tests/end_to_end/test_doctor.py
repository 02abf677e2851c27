"""``mailsync doctor`` on real mail servers: every trouble is named, with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailsync.errors import Exit
from tests.end_to_end.site_directory import SiteDirectory, eventually, pair_of_sites
from tests.servers.mail import HOST, PASSWORD, SMALL_LIMIT, MailServer

Pair = tuple[SiteDirectory, SiteDirectory]


@pytest.fixture
def sites(mail_server: MailServer, tmp_path: Path) -> Pair:
    return pair_of_sites(mail_server, tmp_path)


@pytest.fixture
def ship(sites: Pair) -> SiteDirectory:
    return sites[0]


def examined(site: SiteDirectory, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """The findings by name; those that are not good have a fix."""
    lines = site.json("doctor", *arguments, code=code)
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["exit"] == code
    findings = {line["name"]: line for line in lines[:-1]}
    assert all(bool(line["fix"]) == (line["grade"] != "ok") for line in findings.values())
    return findings


def the_failure(site: SiteDirectory, code: int, *arguments: str) -> dict[str, Any]:
    found = examined(site, *(arguments or ("--no-mail",)), code=code)
    (failure,) = [line for line in found.values() if line["grade"] == "failure"]
    return failure


def contents(site: SiteDirectory) -> dict[Path, bytes]:
    """All files but those in which SQLite notes who is reading."""
    files = (path for path in site.path.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.suffix not in (".db-shm", ".db-wal")}


def subjects(server: MailServer, address: str) -> list[bytes]:
    with server.imap(address) as client:
        _, (numbers,) = client.search(None, "ALL")
        if not numbers:
            return []
        _, parts = client.fetch(numbers.decode().replace(" ", ","), "(BODY.PEEK[HEADER])")
        return [part[1] for part in parts if isinstance(part, tuple)]


def test_all_is_well_and_the_mail_to_oneself_leaves_no_trace(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    foreign = b"From: a@b.example\r\nSubject: doctor\r\n\r\nSee you at noon.\r\n"
    mail_server.deliver(ship.address, [foreign])
    ship.insert("bilge pump")
    ship.sync()
    eventually(lambda: shore.sync() and shore.defects())
    shore.insert("radar")
    shore.sync()
    eventually(lambda: ship.sync() and len(ship.defects()) == 2)
    before = subjects(mail_server, ship.address)
    found = examined(ship)
    assert {line["grade"] for line in found.values()} == {"ok"}, found
    assert {"configuration", "keys", "state store", "disk space", "dataset defects"} < set(found)
    assert {"IMAP TLS", "IMAP login", "IMAP rights", "SMTP login", "clock"} < set(found)
    assert "unaltered" in found["mail to oneself"]["what"]
    assert subjects(mail_server, ship.address) == before
    assert PASSWORD not in str(found)


def test_words_for_people_name_grades_and_fixes(ship: SiteDirectory) -> None:
    shown = ship.run("doctor", "--no-mail").stdout
    assert "ok       IMAP login:" in shown
    assert "warning  peer shore: never heard of yet\n         -> See that" in shown
    assert "mail to oneself" not in shown


def test_a_mail_to_oneself_does_not_disturb_a_running_daemon(ship: SiteDirectory) -> None:
    with ship.running("daemon"):
        eventually(lambda: ": at work" in ship.complained(), why=ship.complained)
        assert "unaltered" in examined(ship)["mail to oneself"]["what"]
        ship.insert("bilge pump")
        ship.sync()
    assert "not used" not in ship.complained()


def test_a_wrong_password(ship: SiteDirectory) -> None:
    ship.secret.write_text("wrong-7f3a91c2\n")
    lines = ship.run("--json", "doctor", code=Exit.LOGIN_REFUSED).stdout
    assert "refused" in lines
    assert "wrong-7f3a91c2" not in lines
    assert "mail to oneself" not in lines


def test_no_password(ship: SiteDirectory) -> None:
    ship.secret.unlink()
    assert the_failure(ship, Exit.LOGIN_REFUSED)["name"] == "mail secret"


def test_an_unknown_certificate(ship: SiteDirectory) -> None:
    text = ship.configuration.read_text()
    kept = [line for line in text.splitlines() if not line.startswith("tls_ca")]
    ship.configuration.write_text("\n".join(kept))
    found = examined(ship, "--no-mail", code=Exit.LOGIN_REFUSED)
    assert "certificate not accepted" in found["IMAP"]["what"]
    assert "certificate not accepted" in found["SMTP"]["what"]
    assert "tls_ca" in found["IMAP"]["fix"]


def test_an_unreachable_server(ship: SiteDirectory, mail_server: MailServer) -> None:
    ship.replace(f":{mail_server.ports['imaps']}", ":1")
    assert the_failure(ship, Exit.TEMPORARY)["name"] == "IMAP"


def test_a_server_whose_name_leads_nowhere(ship: SiteDirectory, mail_server: MailServer) -> None:
    ship.replace(f"@{HOST}:{mail_server.ports['smtps']}", "@mail.invalid:465")
    failure = the_failure(ship, Exit.TEMPORARY)
    assert (failure["name"], "mail.invalid" in failure["what"]) == ("SMTP", True)


def test_starttls_is_examined_too(ship: SiteDirectory, mail_server: MailServer) -> None:
    old, new = mail_server.url("smtps", ""), mail_server.url("smtp+starttls", "")
    ship.replace("smtps://", "smtp+starttls://")
    ship.replace(old.rpartition(":")[2], new.rpartition(":")[2])
    found = examined(ship, "--no-mail")
    assert "more days" in found["SMTP TLS"]["what"]


def test_a_server_that_takes_smaller_mails_than_configured(
    ship: SiteDirectory, mail_server: MailServer
) -> None:
    ship.replace(f":{mail_server.ports['smtps']}", f":{mail_server.ports['small']}")
    failure = the_failure(ship, Exit.BAD_CONFIGURATION)
    assert failure["name"] == "mail size for shore"
    assert f'"{SMALL_LIMIT} B"' in failure["fix"]
    ship.set_for_peer("shore", f'max_message = "{SMALL_LIMIT} B"')
    examined(ship, "--no-mail")


def test_a_missing_folder_to_move_mails_to(ship: SiteDirectory) -> None:
    ship.set_for_mail('dispose = "move"\ndispose_folder = "Done"')
    failure = the_failure(ship, Exit.BAD_CONFIGURATION)
    assert (failure["name"], "Done" in failure["what"]) == ("IMAP rights", True)


def test_a_missing_table(ship: SiteDirectory) -> None:
    ship.execute("DROP TABLE defects")
    assert the_failure(ship, Exit.BAD_CONFIGURATION)["name"] == "dataset defects"


def test_a_key_others_can_read(ship: SiteDirectory) -> None:
    (ship.path / "keys" / "site.key").chmod(0o644)
    failure = the_failure(ship, Exit.LOGIN_REFUSED)
    assert (failure["name"], "chmod 600" in failure["what"]) == ("keys", True)


def test_a_card_that_was_altered_and_a_card_that_is_missing(ship: SiteDirectory) -> None:
    card = ship.path / "peers" / "shore.card"
    text = card.read_text()
    card.write_text(text.replace("Site: shore", "Site: shora"))
    assert the_failure(ship, Exit.LOGIN_REFUSED)["name"] == "card of shore"
    card.unlink()
    assert the_failure(ship, Exit.LOGIN_REFUSED, "--no-mail", "shore")["name"] == "card of shore"


def test_an_unknown_peer(ship: SiteDirectory) -> None:
    assert ship.json("doctor", "nobody", code=Exit.USAGE)[-1]["type"] == "error"


def test_nothing_is_written_when_no_mail_is_sent(ship: SiteDirectory) -> None:
    before = contents(ship)
    examined(ship, "--no-mail")
    assert contents(ship) == before


def test_a_mail_to_oneself_that_is_not_taken(sites: Pair) -> None:
    ship, shore = sites
    ship.replace(f'"{ship.address}"', f'"{shore.address}"')  # not this login's own
    failure = the_failure(ship, Exit.FAILED, "shore")
    assert failure["name"] == "mail to oneself"
    assert "not taken" in failure["what"]
