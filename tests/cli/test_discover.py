"""``mailsync discover``: what it finds, and that a configuration takes it as it is printed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailsync.config.loading import parse
from mailsync.datasets.kinds import open_dataset
from mailsync.datasets.sql.mariadb import explain
from mailsync.errors import DatasetLoginRefused, Exit
from tests.cli.invoking import lines_of, refuse, run, succeed
from tests.servers.databases import DatabaseServer

CARD = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:{0}\r\nFN:Ann\r\nEND:VCARD\r\n"
SITE = '[site]\nname = "ship"\nstate = "state.db"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILSYNC_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def database(script: str, name: str = "pms.db") -> None:
    connection = sqlite3.connect(name)
    connection.executescript(script)
    connection.close()


def usable(printed: str, here: Path) -> list[str]:
    """Paste it into a configuration: what ``config check`` says is right, and opens."""
    path = here / "mailsync.toml"
    path.write_text(SITE + printed, encoding="utf-8")
    succeed("config", "check")
    sections = parse(path.read_bytes(), path).datasets
    for one in sections.values():
        dataset = open_dataset(one.source, table=one.table, keys=one.keys, key=one.key, base=here)
        list(dataset.changes({}))
        dataset.close()
    path.unlink()
    return sorted(sections)


def test_each_table_is_a_section_with_a_guess_and_its_reason(here: Path) -> None:
    database("""
        CREATE TABLE ship (id INTEGER PRIMARY KEY, name TEXT, big AS (name || '!') STORED);
        CREATE TABLE crew (id INTEGER PRIMARY KEY, ship INTEGER REFERENCES ship,
            boss INTEGER REFERENCES crew);
        CREATE TABLE watch (crew INTEGER PRIMARY KEY REFERENCES crew, hours INTEGER);
        CREATE TABLE parts (no TEXT, maker TEXT, PRIMARY KEY (no, maker));
        CREATE TABLE serial (no TEXT NOT NULL, x TEXT UNIQUE, a TEXT NOT NULL, b TEXT NOT NULL);
        CREATE UNIQUE INDEX both ON serial (a, b);
        CREATE UNIQUE INDEX some ON serial (no) WHERE x IS NOT NULL;
        CREATE TABLE log (at TEXT, what TEXT);
        CREATE VIEW names AS SELECT name FROM ship;
    """)
    done = succeed("discover", "sqlite:///pms.db")
    assert (
        done.stdout
        == """
[datasets.crew]
source = "sqlite:///pms.db"
table = "crew"
keys = "local"    # each site counts id up by itself
# ship refers to ship: take that one, too

[datasets.log]
source = "sqlite:///pms.db"
table = "log"
key = ["*"]    # it has no key: rows are told apart by all they hold; better give it one

[datasets.parts]
source = "sqlite:///pms.db"
table = "parts"
keys = "shared"    # its key is data like the rest: no, maker

[datasets.serial]
source = "sqlite:///pms.db"
table = "serial"
key = ["a", "b"]    # it has no primary key, but a, b is unique and never empty

[datasets.ship]
source = "sqlite:///pms.db"
table = "ship"
keys = "local"    # each site counts id up by itself
# computed by the database, so it does not travel: big

[datasets.watch]
source = "sqlite:///pms.db"
table = "watch"
keys = "shared"    # its key is data like the rest: crew
# crew refers to crew: take that one, too

# names: it is a view
"""
    )
    assert done.stderr == "6 can be datasets, 1 cannot\n"
    assert usable(done.stdout, here) == ["crew", "log", "parts", "serial", "ship", "watch"]


def test_names_of_tables_may_be_anything(here: Path) -> None:
    names = ["conflicts", "Parts", "parts ", 'dr"op\\ [x]', "größe", "g\u00a0r", "...", "x" * 90]
    database(
        ";".join(
            f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" (k TEXT PRIMARY KEY)'
            for name in names
        )
    )
    printed = succeed("discover", "pms.db").stdout
    assert usable(printed, here) == [
        "conflicts-2", "dataset", "dr-op-x", "g-r", "gr-e", "parts", "parts-2", "x" * 50
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_tables_of_servers(kind: str, here: Path, request: pytest.FixtureRequest) -> None:
    server: DatabaseServer = request.getfixturevalue(kind)
    url = server.new()
    user = server.connect(url).cursor()
    own = "bigint GENERATED ALWAYS AS IDENTITY" if kind == "postgresql" else "bigint AUTO_INCREMENT"
    user.execute(f"CREATE TABLE crew (id {own} PRIMARY KEY, name varchar(20), twice varchar(40)"
                 f" GENERATED ALWAYS AS (lower(name)) STORED)")  # fmt: skip
    user.execute("CREATE TABLE ship (imo int PRIMARY KEY, name text)")
    user.execute("CREATE TABLE berth (place varchar(9) NOT NULL, day date NOT NULL, x int)")
    user.execute("CREATE UNIQUE INDEX one ON berth (place, day)")
    user.execute("CREATE TABLE log (what text)")
    user.execute("CREATE VIEW names AS SELECT name FROM ship")
    if kind == "mariadb":
        user.execute("CREATE TABLE quick (k int PRIMARY KEY) ENGINE = Aria")
        user.execute("CREATE TABLE spot (k char(3) PRIMARY KEY, at point)")
    else:
        user.execute("CREATE SCHEMA yard")
        user.execute("CREATE TABLE yard.dock (no int PRIMARY KEY, crew int REFERENCES crew)")
    done = succeed("--json", "discover", url)
    *found, summary = lines_of(done)
    told = {one.get("name") or one["title"]: one for one in found}
    crew, ship, berth = told["crew"], told["ship"], told["berth"]
    assert (crew["keys"], crew["because"]) == ("local", "each site counts id up by itself")
    assert crew["notes"] == ["computed by the database, so it does not travel: twice"]
    assert [one["name"] for one in crew["columns"]] == ["id", "name"]
    assert ship["keys"] == "shared"
    assert "nothing counts imo up" in ship["because"]
    assert sorted(berth["key"]) == ["day", "place"]
    assert (told["names"]["type"], told["names"]["reason"]) == ("left_out", "it is a view")
    assert told["log"]["key"] == ["*"]
    if kind == "mariadb":
        assert "Aria has no transactions" in told["quick"]["reason"]
        assert "column at: " in told["spot"]["notes"][0]
    else:
        assert told["yard-dock"]["table"] == "yard.dock"
        assert told["yard-dock"]["notes"] == ["crew refers to crew: take that one, too"]
    assert (summary["datasets"], summary["left_out"]) == (5, 2 if kind == "mariadb" else 1)
    assert len(usable(succeed("discover", url).stdout, here)) == summary["datasets"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("no;name\n1;a\n2;a\n", 'key = ["no"]    # no differs in every row\n# 2 records'),
        ("a,b,no\nx,1,7\nx,2,8\ny,1,8\n", 'key = ["a", "b"]    # a and b differ in every row'),
        ("a,b\n,1\n,2\n", 'key = ["b"]    # b differs in every row'),
        ("no,name\n", 'key = ["no"]    # no differs in every row\n# 0 records'),
        ('no,name\n1,5" pipe\n2,b\n', "# 2 records, 1 of which cannot be read: row 2 has a quot"),
    ],
)
def test_a_csv_file_gets_the_key_that_its_rows_have(here: Path, text: str, key: str) -> None:
    (here / "The Parts.csv").write_text(text)
    printed = succeed("discover", "csv:The Parts.csv").stdout
    assert '[datasets.the-parts]\nsource = "csv:The Parts.csv"\n' in printed
    assert key in printed
    assert usable(printed, here) == ["the-parts"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,1\n1,1\n", "neither one column nor two of them are different in every row"),
        ('a,b\n1,"1\n', "row 2: a quotation mark is never closed"),
        ("", "row 1 must name every column; it has: nothing"),
    ],
)
def test_a_csv_file_without_a_key_is_told_why(here: Path, text: str, reason: str) -> None:
    (here / "a.csv").write_text(text)
    done = run("discover", "a.csv")
    assert done.exit_code == Exit.PARTLY
    assert done.stdout == f"\n# a.csv: {reason}\n"
    assert usable(done.stdout, here) == []


def test_a_path_stands_for_all_that_is_there(here: Path) -> None:
    (here / "crew").mkdir()
    for name in ("a", "b"):
        (here / "crew" / f"{name}.vcf").write_text(CARD.format(name))
    (here / "crew" / "c.vcf").write_text("no card\n")
    (here / "crew" / "watch.ics").touch()
    (here / "crew" / "list.csv").write_text("no\n1\n")
    database("CREATE TABLE ship (imo TEXT PRIMARY KEY)", "crew/fleet.db")
    (here / "crew" / "notes.txt").write_text("nothing of ours")
    printed = succeed("discover", "crew").stdout
    assert 'source = "vcard:crew"\n# 3 records, 1 of which cannot be read: c.vcf' in printed
    for source in ("ical:crew", "csv:crew/list.csv", "sqlite:///crew/fleet.db"):
        assert f'source = "{source}"\n' in printed
    (here / "crew" / "watch.ics").unlink()
    assert usable(succeed("discover", "crew").stdout, here) == ["crew", "list", "ship"]
    assert 'source = "vcard:crew/a.vcf"\n' in succeed("discover", "crew/a.vcf").stdout


def test_sources_are_relative_to_where_the_configuration_is(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "data").mkdir()
    (here / "data" / "a.csv").write_text("no\n1\n")
    (here / "mailsync.toml").touch()
    monkeypatch.chdir(here / "data")
    monkeypatch.setenv("MAILSYNC_CONFIG", str(here / "mailsync.toml"))
    assert 'source = "csv:data/a.csv"\n' in succeed("discover", "a.csv").stdout
    (here / "data" / "site").mkdir()
    (here / "data" / "site" / "mailsync.toml").touch()
    monkeypatch.setenv("MAILSYNC_CONFIG", "site/mailsync.toml")
    assert f'source = "csv:{here}/data/a.csv"\n' in succeed("discover", "a.csv").stdout


@pytest.mark.parametrize(
    ("place", "code", "told"),
    [
        ("caldav:http://dav.example/", Exit.USAGE, "clear text goes to this machine only"),
        ("carddav:https://u:hunter2@dav.example/", Exit.USAGE, "must hold no password"),
        ("carddav:http://u@127.0.0.1:1/", Exit.TEMPORARY, "http://127.0.0.1:1"),
        ("oracle://x/y", Exit.USAGE, "must begin with the kind of dataset"),
        ("none.db", Exit.BAD_CONFIGURATION, "there is no "),
        ("sqlite:///none.db", Exit.BAD_CONFIGURATION, "there is no database file"),
        ("csv:none.csv", Exit.BAD_CONFIGURATION, "there is no file"),
        ("vcard:none", Exit.BAD_CONFIGURATION, "there is no folder"),
        ("sqlite:///text.db", Exit.PARTLY, "file is not a database"),
        ("mariadb://u:hunter2@127.0.0.1:1/x", Exit.TEMPORARY, "x at 127.0.0.1"),
        ("postgresql+psycopg://u:hunter2@127.0.0.1:1/x", Exit.TEMPORARY, "x at 127.0.0.1"),
    ],
)
def test_what_is_not_there_is_one_clear_line(here: Path, place: str, code: Exit, told: str) -> None:
    (here / "text.db").write_text("x" * 5000)
    first, *_ = refuse(code, "discover", place)
    assert told in first
    assert "hunter2" not in first


def test_a_refused_login_is_no_missing_server(postgresql: DatabaseServer) -> None:
    url = postgresql.new()
    postgresql.connect(url).cursor().execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest NOLOGIN")
    for user in ("guest", "nobody-here"):
        asked = url.replace("postgres@", f"{user}:hunter2@")
        [told, advice] = refuse(Exit.LOGIN_REFUSED, "discover", asked)
        assert user in told
        assert "password of its source" in advice
    error = Exception(1045, "Access denied for user 'guest'@'localhost' (using password: YES)")
    assert isinstance(explain(error, "fleet at shore"), DatasetLoginRefused)


def test_a_password_is_left_out(postgresql: DatabaseServer, here: Path) -> None:
    url = postgresql.new()
    postgresql.connect(url).cursor().execute("CREATE TABLE ship (imo int PRIMARY KEY)")
    asked = url.replace("postgres@", "postgres:hunter2@")
    printed = succeed("discover", asked).output
    assert f'source = "{url}"\n# its password is left out' in printed
    assert "hunter2" not in printed + succeed("--json", "discover", asked).output
    assert usable(succeed("discover", asked).stdout, here) == ["ship"]
