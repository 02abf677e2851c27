"""An SQLite ship and a shore that keeps its tables in PostgreSQL and in MariaDB, by real mail."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.end_to_end.site_directory import pair_of_sites
from tests.servers.databases import DatabaseServer
from tests.servers.mail import MailServer

PARTS = "CREATE TABLE part (no {text} PRIMARY KEY, price DECIMAL(8, 2), seen {time}, spare BOOLEAN)"
SECTION = '\n[datasets.part]\nsource = "{}"\ntable = "part"\nkeys = "shared"\n'


def test_each_site_uses_databases_of_its_own_kinds(
    mail_server: MailServer, postgresql: DatabaseServer, mariadb: DatabaseServer, tmp_path: Path
) -> None:
    ship, shore = pair_of_sites(mail_server, tmp_path)
    defects, parts = postgresql.new(), mariadb.new()
    shore.replace("sqlite:///pms.db", defects.replace("postgres@", "postgres:hush@"))
    ship.configure(SECTION.format("sqlite:///pms.db"))
    shore.configure(SECTION.format(parts))
    with closing(postgresql.connect(defects)) as office, closing(mariadb.connect(parts)) as store:
        office.execute(
            "CREATE TABLE defects (id serial PRIMARY KEY, title text, status varchar(10))"
        )
        cursor = store.cursor()
        cursor.execute(PARTS.format(text="varchar(20)", time="datetime"))
        ship.execute(PARTS.format(text="TEXT", time="DATETIME"))
        ship.execute("INSERT INTO part VALUES ('P-1', 12.5, '2026-01-02 03:04:05', 1)")
        ship.insert("größer als 3 mm")
        office.execute("INSERT INTO defects (title, status) VALUES ('rust', 'open')")
        for _ in range(2):
            ship.sync()
            shore.sync()
        found = office.execute("SELECT title, status FROM defects ORDER BY title").fetchall()
        assert found == ship.defects() == [("größer als 3 mm", "open"), ("rust", "open")]
        cursor.execute("SELECT no, concat(price), concat(seen), spare FROM part")
        assert cursor.fetchall() == (("P-1", "12.50", "2026-01-02 03:04:05", 1),)
        cursor.execute("UPDATE part SET price = 13, spare = 0")
        office.execute("UPDATE defects SET status = 'closed' WHERE title = 'rust'")
        ship.insert("far too long a status for the shore", status="x" * 11)
        ship.sync()
        shore.sync(code=3)
        ship.sync()
        [held, _] = shore.json("held", "list")
        assert "status holds texts of up to 10 characters" in held["reason"]
        assert ship.query("SELECT * FROM part") == [("P-1", 13, "2026-01-02 03:04:05", 0)]
        assert ("rust", "closed") in ship.defects()
        for words in (["config", "show"], ["status"], ["doctor", "--no-mail"]):
            done = shore.run(*words)
            assert "hush" not in done.stdout + done.stderr
