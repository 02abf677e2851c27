from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.kinds import open_dataset
from mailsync.datasets.sql.table import SqlTable
from mailsync.datasets.texts.ical import IcalFile, IcalFolder
from mailsync.datasets.texts.vcard import VcardFile, VcardFolder
from mailsync.errors import BadConfiguration


@pytest.fixture
def base(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "pms data.db")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.close()
    for name in ("a.vcf", "A.ICS"):
        (tmp_path / name).touch()
    (tmp_path / "a.csv").write_text("no,name\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_a_csv_file_has_a_key_and_no_table(base: Path) -> None:
    opened = open_dataset("csv:a.csv", table=None, keys=None, key=["no"], base=base)
    assert isinstance(opened, CsvFile)
    for key, table, told in ((None, None, "key = "), (["no"], "t", "table")):
        with pytest.raises(BadConfiguration, match=told):
            open_dataset("csv:a.csv", table=table, keys=None, key=key, base=base)


@pytest.mark.parametrize(
    ("source", "table", "kind"),
    [
        ("sqlite:///pms data.db", "t", SqlTable),
        ("vcard:folder", None, VcardFolder),
        ("vcard:a.vcf", None, VcardFile),
        ("ical:folder", None, IcalFolder),
        ("ical:A.ICS", None, IcalFile),
    ],
)
def test_the_source_chooses_the_adapter(
    base: Path, source: str, table: str | None, kind: type
) -> None:
    assert isinstance(open_dataset(source, table=table, keys=None, base=base), kind)
    scheme, path = source.replace("///", "").split(":")
    absolute = f"{scheme}:{'///' if scheme == 'sqlite' else ''}{base / path}"
    assert isinstance(open_dataset(absolute, table=table, keys=None, base=Path("/")), kind)


@pytest.mark.parametrize(
    ("source", "table", "keys", "told"),
    [
        ("carrier-pigeon:x", None, None, "vcard:"),
        ("oracle://x/y", "t", None, "sqlite:///"),
        ("vcard:", None, None, "vcard:"),
        ("", None, None, "sqlite:///"),
        ("sqlite:///pms data.db", None, None, "table"),
        ("sqlite:///pms data.db", "t", "both", "shared"),
        ("vcard:folder", "t", None, "table"),
    ],
)
def test_what_is_not_understood_is_said(
    base: Path, source: str, table: str | None, keys: str | None, told: str
) -> None:
    with pytest.raises(BadConfiguration, match=told):
        open_dataset(source, table=table, keys=keys, base=base)


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://ann:sesame@db.example/x",
        "postgresql+psycopg://ann:sesame@db.example:high/x",
        "mariadb://ann:sesame@db.example:high/x",
        "carddav:https://ann:sesame@dav.example/",
        "carddav:https://ann@dav.example:high/",
        "carddav:https://ann@[dav.example/",
        "carddav:https://ann@d\N{LATIN SMALL LETTER A WITH DIAERESIS}v..example/",
        "carddav:https://ann@dav.example/\x01",
        "postgresql+psycopg://ann:sesame@127.0.0.1:1/x?nonsense=1",
        "mariadb+pymysql://ann:sesame@127.0.0.1:1/x?nonsense=1",
        "mariadb+pymysql://ann:sesame@127.0.0.1:1/x?connect_timeout=long",
    ],
)
def test_a_url_that_cannot_be_is_said_so_and_no_password_with_it(base: Path, source: str) -> None:
    with pytest.raises(BadConfiguration) as told:
        open_dataset(source, table="t", keys=None, base=base)
    assert "sesame" not in str(told.value)
