"""The configuration file: what it may say, and how its mistakes are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.config import (
    Settings,
    load,
    parse,
)
from mailsync.config.mistakes import LATER
from mailsync.core.mapping import Constant, Place
from mailsync.errors import (
    BadConfiguration,
    Exit,
    MailsyncError,
)

EXAMPLE = Path(__file__).parent.parent / "config" / "mailsync.example.toml"

SITE = '[site]\nname = "ship"\nstate = "state.db"\n'
MAIL = (
    '[mail]\naddress = "sync@ship.example"\nimap = "imaps://ship@mail.example"\n'
    'smtp = "smtps://ship@mail.example"\n'
)
PEER = '[peers.hub]\ncard = "peers/hub.card"\n'
DATASET = '[datasets.defects]\nsource = "sqlite:///pms.db"\ntable = "defects"\n'
LITE = '[datasets.x]\nsource = "sqlite:///x"\n'
PATH = Path("/place/mailsync.toml")


def read(text: str) -> Settings:
    return parse(text.encode(), PATH)


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        read(text)
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION
    return str(caught.value).splitlines()


def found_in(text: str) -> list[str]:
    """The mistakes; none if it is right."""
    try:
        read(text)
    except BadConfiguration as error:
        return str(error).splitlines()
    return []


def only_mistake_of(text: str) -> str:
    (mistake,) = mistakes_of(text)
    return mistake


# --- what it says --------------------------------------------------------------------------


def test_least_configuration_has_the_documented_defaults() -> None:
    settings = read(SITE + MAIL + PEER + DATASET)
    assert settings.path == PATH
    assert settings.site.state == Path("/place/state.db")
    assert settings.site.keys == Path("/place/keys")
    mail, peer, dataset = settings.mail, settings.peers["hub"], settings.datasets["defects"]
    assert mail is not None
    assert (mail.secret, mail.folder, mail.tls_ca, mail.dedicated) == (None, "INBOX", None, False)
    assert (mail.dispose, mail.dispose_after, mail.dispose_folder) == ("delete", 604_800, None)
    assert (peer.card, peer.address) == (Path("/place/peers/hub.card"), None)
    assert (peer.datasets, peer.poll, peer.max_message) == (None, 900, 9_500_000)
    assert (peer.profile, peer.seal, peer.acknowledge_after) == ("robust", True, 3_600)
    assert (peer.resend_after, peer.retention, peer.verify) == (86_400, 2_592_000, None)
    assert (dataset.source, dataset.table) == ("sqlite:////place/pms.db", "defects")
    assert (dataset.keys, dataset.conflict) == (None, {"*": "newest"})


@pytest.mark.parametrize(
    ("lines", "form"),
    [
        ("", "robust"),
        ('profile = "thin"\n', "thin"),
        ('profile = "auto"\n', "robust"),
        ('profile = "auto"\nmax_message = "64 kB"\n', "robust"),
        ('profile = "auto"\nmax_message = "63.9 kB"\n', "thin"),
        ('profile = "auto"\nprice_per_mb = "5.80 USD"\n', "thin"),
        ('price_per_mb = "5.80 USD"\n', "robust"),
    ],
)
def test_the_form_of_mails_may_be_left_to_what_the_way_is_like(lines: str, form: str) -> None:
    assert read(SITE + PEER + lines).peers["hub"].form == form


def test_a_budget_is_read() -> None:
    lines = 'budget = { per_day = "20 MB", quiet = "22:00-06:30", priority = ["defects", "*"] }\n'
    found = read(SITE + PEER + lines + DATASET).peers["hub"].budget
    assert found is not None
    assert (found.per_day, found.quiet) == (20_000_000, (1_320, 390))
    assert found.priority == ["defects", "*"]


def test_site_alone_is_enough() -> None:
    settings = read(SITE)
    assert (settings.mail, settings.peers, settings.datasets) == (None, {}, {})


def test_example_configuration_loads_and_uses_every_kind_of_section() -> None:
    settings = load(EXAMPLE)
    assert settings.peers["hub"].poll == "*/20 6-22 * * *"
    assert settings.peers["hub"].profile == "thin"
    assert {settings.datasets[name].keys for name in settings.datasets} == {
        "local",
        "shared",
        None,
    }


def test_example_configuration_names_every_supported_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for section in ("SiteSettings", "MailSettings", "PeerSettings", "DatasetSettings"):
        module = sys.modules["mailsync.config"]
        for key in getattr(module, section).model_fields:
            assert f"{key} = " in text, key


def test_a_dataset_is_of_its_own_section_or_of_a_groups() -> None:
    groups = 'tables = ["Crew", "port"]\n[datasets."x.y"]\nsource = "sqlite:///y"\ntable = "*"\n'
    settings = read(SITE + DATASET + LITE + groups)
    owners = {
        "defects": "defects", "x.crew": "x", "x.port": "x", "x.Crew": "", "x.y.z": "x.y",
        "x.y": "x.y", "x": "x", "y": "",
    }  # fmt: skip
    assert {name: settings.section_of(name) for name in owners} == owners


def test_settings_cannot_be_changed() -> None:
    settings = read(SITE)
    with pytest.raises(ValueError, match="frozen"):
        settings.site.name = "other"


@pytest.mark.parametrize(
    ("written", "absolute"),
    [
        ("sqlite:///pms.db", "sqlite:////place/pms.db"),
        ("sqlite:////data/pms.db", "sqlite:////data/pms.db"),
        ("vcard:contacts", "vcard:/place/contacts"),
        ("ical:/data/schedule", "ical:/data/schedule"),
        ("csv:lists/parts.csv", "csv:/place/lists/parts.csv"),
        ("mariadb://h:3306/d?read_default_file=/etc/m.cnf",) * 2,
        ("postgresql+psycopg://u@/d?host=/run/postgresql",) * 2,
    ],
)
def test_source_paths_are_relative_to_the_file(written: str, absolute: str) -> None:
    more = {"vcard": "", "ical": "", "csv": 'key = ["no"]\n'}
    table = more.get(written.partition(":")[0], 'table = "t"\n')
    settings = read(f'{SITE}[datasets.x]\nsource = "{written}"\n{table}')
    assert settings.datasets["x"].source == absolute


def test_a_mapping_is_read_and_its_routines_are_beside_the_file() -> None:
    section = (
        '[datasets.crew]\nsource = "vcard:x"\nset = { "org/name" = "Aurora", number = 1 }\n'
        'map = { name = "fn", mobile = { field = "tel", routine = "rules.py:phone" }, '
        "kind = { value = true } }\n"
    )
    crew = read(SITE + section).datasets["crew"]
    assert crew.map == {
        "name": Place("fn"),
        "mobile": Place("tel", "/place/rules.py:phone"),
        "kind": Constant(value=True),
    }
    assert crew.set == {"org/name": "Aurora", "number": 1}
    assert crew.model_dump(mode="json")["map"] == {
        "name": "fn",
        "mobile": {"field": "tel", "routine": "/place/rules.py:phone"},
        "kind": {"value": True},
    }


MAPPED = SITE + '[datasets.x]\nsource = "vcard:x"\n'


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("map = {}", "map: must not be empty"),
        ('map = { a = "fn", b = "fn" }', "map: a and b would both be kept in one field"),
        (
            "map = { a = 1 }",
            (
                'map.a: must be a field ("fn"), one with a routine '
                '({ field = "fn", routine = "FILE:NAME" }) or a constant ({ value = "..." })'
            ),
        ),
        (
            'map = { a = { field = "fn", routine = "rules.py" } }',
            'map.a: routine must be of the form "FILE:NAME", e.g. "rules.py:phone"',
        ),
        (
            "map = { a = { value = 2026-01-01 } }",
            "map.a: a value must be a text, a number, true or false",
        ),
        (
            "map = { a = { value = nan } }",
            "map.a: nan is no value: nobody could say whether it has changed",
        ),
        (
            "map = { a = { value = 9223372036854775808 } }",
            "map.a: an integer must have at most 64 bits",
        ),
        ('set = { a = "b" }', "set: only together with map"),
        ('map = { a = "fn" }\nset = { fn = "b" }', 'set: "fn" is mapped already'),
    ],
)
def test_a_mapping_that_cannot_be_is_named(line: str, mistake: str) -> None:
    number = 6 + line.count("\n")
    assert only_mistake_of(f"{MAPPED}{line}\n") == (
        f"/place/mailsync.toml:{number}: [datasets.x] {mistake}"
    )


# --- mistakes ------------------------------------------------------------------------------


def test_unknown_key_is_named_with_line_place_and_likely_meaning() -> None:
    text = f'{SITE}\n# a comment\n{PEER}max_mesage = "1 MB"\n'
    assert only_mistake_of(text) == (
        "/place/mailsync.toml:8: [peers.hub] max_mesage: unknown key; did you mean max_message?"
    )


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    text = (
        'wat = 1\n[sit]\n[site]\nname = "Ship"\nstate = "s"\n[mail]\naddress = "nobody"\n'
        'imap = "imap://mail.example"\nsmtp = "smtps://u:hunter2@mail.example"\n'
        'secret = "hunter2"\ndispose = "move"\n[peers.hub]\nseal = "yes"\n'
        'datasets = ["defect"]\n' + DATASET
    )
    mistakes = mistakes_of(text)
    places = [mistake.split(": ", 2)[0].rsplit(":", 1)[1] for mistake in mistakes]
    assert places == sorted(places, key=int)
    named = [mistake.split(": ", 2)[1] for mistake in mistakes]
    assert named == [
        "wat",
        "sit",
        "[site] name",
        "[mail] dispose_folder",
        "[mail] address",
        "[mail] imap",
        "[mail] smtp",
        "[mail] secret",
        "[peers.hub] card",
        "[peers.hub] seal",
        "[peers.hub] datasets",
    ]
    assert "hunter2" not in "\n".join(mistakes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: [site]: missing"),
        (SITE + '[sites]\nname = "x"\n', "4: sites: unknown section; did you mean site?"),
        (SITE + 'path = "x"\n', "4: [site] path: unknown key"),
        ('path = "x"\n' + SITE, "1: path: unknown section"),
        ('[site]\nname = "ship"\n', "1: [site] state: missing"),
        (
            SITE.replace("state.db", "postgresql+psycopg://h/d"),
            "3: [site] state: a database server as state store is not supported by this version",
        ),
        ("site = 3\n", "1: [site]: must be a section"),
        (SITE + MAIL + 'auth = "oauth-google"\n', "8: [mail] auth: not supported by this version"),
        (SITE + MAIL + "folder = 7\n", "8: [mail] folder: must be a text in quotes"),
        (SITE + MAIL + 'folder = ""\n', "8: [mail] folder: must not be empty"),
        (SITE + MAIL + "dedicated = 1\n", "8: [mail] dedicated: must be true or false"),
        (
            SITE + MAIL + 'dispose = "burn"\n',
            '8: [mail] dispose: must be "keep", "delete" or "move"',
        ),
        (
            SITE + MAIL + 'dispose_folder = "x"\n',
            '8: [mail] dispose_folder: only for dispose = "move"',
        ),
        (
            SITE + MAIL + "secret = { keyring = 'x' }\n",
            "8: [mail] secret.keyring: not supported by this version",
        ),
        (
            SITE + MAIL + "secret = { env = 'A', file = 'b' }\n",
            "8: [mail] secret: must name exactly one of command, file and env",
        ),
        (
            SITE + MAIL + "secret = {}\n",
            "8: [mail] secret: must name exactly one of command, file and env",
        ),
        (
            SITE + MAIL + '[mail.secret]\ncomand = ["x"]\nenv = "A"\n',
            "9: [mail] secret.comand: unknown key; did you mean command?",
        ),
        (SITE + PEER + 'push = "now"\n', "6: [peers.hub] push: not supported by this version"),
        (
            SITE + PEER + "budget = {}\n",
            "6: [peers.hub] budget: must name at least one of per_day, quiet and priority",
        ),
        (
            SITE + PEER + 'budget = { per_day = "3 kB" }\n',
            '6: [peers.hub] budget.per_day: must be at least "4 kB"',
        ),
        (
            SITE + PEER + '[peers.hub.budget]\nquiet = "22-6"\n',
            '7: [peers.hub] budget.quiet: must be two times of day such as "22:00-06:00"',
        ),
        (
            SITE + PEER + 'budget = { quiet = "22:00-22:00" }\n',
            "6: [peers.hub] budget.quiet: must begin and end at different times",
        ),
        (
            SITE + PEER + 'budget = { priority = ["defcts", "*"] }\n' + DATASET,
            (
                "6: [peers.hub] budget.priority: there is no section [datasets.defcts] for "
                '"defcts"; did you mean defects?'
            ),
        ),
        (
            SITE + PEER + 'budget = { priority = ["*", "defects", "*"] }\n' + DATASET,
            '6: [peers.hub] budget.priority: "*" stands there twice',
        ),
        (
            SITE + PEER + 'budget = { per_dya = "1 MB" }\n',
            "6: [peers.hub] budget.per_dya: unknown key; did you mean per_day?",
        ),
        (SITE + PEER + "budget = 5\n", "6: [peers.hub] budget: must be a section"),
        (
            SITE + PEER + 'price_per_mb = "5,80"\n',
            '6: [peers.hub] price_per_mb: must be an amount and a currency such as "5.80 USD"',
        ),
        (
            SITE + PEER + "price_per_mb = 5.8\n",
            '6: [peers.hub] price_per_mb: must be an amount and a currency such as "5.80 USD"',
        ),
        (
            SITE + PEER + "poll = 900\n",
            (
                '6: [peers.hub] poll: must be a duration such as "30s", "15m", "1h", "7d" or "2w", '
                'or five cron fields such as "*/20 6-22 * * *"'
            ),
        ),
        (
            SITE + PEER + 'poll = "0 0 30 2 *"\n',
            "6: [peers.hub] poll: is not a valid cron expression: Bad day-of-month",
        ),
        (
            SITE + PEER + 'max_message = "1 kB"\n',
            '6: [peers.hub] max_message: must be at least "16 KiB"',
        ),
        (
            SITE + PEER + 'datasets = ["defect"]\n' + DATASET,
            (
                '6: [peers.hub] datasets: there is no section [datasets.defect] for "defect"; '
                "did you mean defects?"
            ),
        ),
        (
            SITE + '[peers.HUB]\ncard = "x"\n',
            (
                "4: [peers.HUB]: must be 1 to 63 lower-case letters, digits, - _ or . "
                "and begin with a letter or a digit"
            ),
        ),
        (SITE + "peers = 3\n", "4: [site] peers: unknown key"),
        (
            SITE + DATASET + "match = []\n",
            "7: [datasets.defects] match: must not be empty",
        ),
        (
            SITE + PEER + DATASET + '[datasets.defects.peers.hub]\nkeys = "local"\n',
            "10: [datasets.defects] peers.hub.keys: unknown key",
        ),
        (
            SITE + DATASET + 'conflict = "x"\n',
            (
                '7: [datasets.defects] conflict: must be "newest", "ask", "site:NAME" or '
                '"routine:FILE:NAME"'
            ),
        ),
        (
            SITE + DATASET + 'conflict = { status = "site:HUB" }\n',
            (
                "7: [datasets.defects] conflict: status: a site's name must be 1 to 63 lower-case "
                "letters, digits, - _ or . and begin with a letter or a digit"
            ),
        ),
        (
            SITE + DATASET + 'conflict = "routine:rules.py"\n',
            (
                '7: [datasets.defects] conflict: routine must be of the form "FILE:NAME", '
                'e.g. "rules.py:phone"'
            ),
        ),
        (
            SITE + DATASET + "conflict = {}\n",
            (
                '7: [datasets.defects] conflict: must be "newest", "ask", "site:NAME" or '
                '"routine:FILE:NAME", or these by field: { "*" = "newest", f = "ask" }'
            ),
        ),
        (
            SITE + DATASET + 'delete_conflict = "never"\n',
            '7: [datasets.defects] delete_conflict: must be "edit-wins", "delete-wins" or "ask"',
        ),
        (
            SITE + '[datasets.conflicts]\nsource = "vcard:x"\n',
            "4: [datasets.conflicts]: conflicts is a reserved name",
        ),
        (
            SITE + '[datasets.x]\nsource = "sqlite:///x"\n',
            "4: [datasets.x] table: missing: a database source needs it, or tables",
        ),
        (
            SITE + LITE + 'table = "a"\ntables = ["b"]\n',
            "6: [datasets.x] table: tables stands there as well; write one of them",
        ),
        (
            SITE + LITE + 'tables = ["a", "*"]\n',
            '6: [datasets.x] tables: for every table write table = "*"',
        ),
        (
            SITE + LITE + 'tables = ["crew", "Crew"]\n',
            '6: [datasets.x] tables: "crew" stands there twice',
        ),
        (SITE + LITE + "tables = []\n", "6: [datasets.x] tables: must not be empty"),
        (
            SITE + '[datasets.x]\nsource = "vcard:x"\ntables = ["t"]\n',
            "6: [datasets.x] tables: only for database sources",
        ),
        (
            SITE + LITE + 'tables = ["two words"]\n',
            (
                '6: [datasets.x] tables: "two words" needs a section of its own: a dataset\'s name '
                "must be 1 to 63 lower-case letters, digits, - _ or . and begin with a letter or a "
                "digit"
            ),
        ),
        (
            SITE + LITE + 'tables = ["a"]\n[datasets."x.a"]\nsource = "vcard:x"\n',
            '6: [datasets.x] tables: "a" has a section of its own, [datasets.x.a]',
        ),
        (
            SITE + PEER + 'datasets = ["x", "x.a", "x.b"]\n' + LITE + 'tables = ["A"]\n',
            '6: [peers.hub] datasets: there is no section [datasets.x.b] for "x.b"',
        ),
        (
            SITE + '[datasets.x]\nsource = "vcard:x"\ntable = "t"\n',
            "6: [datasets.x] table: only for database sources",
        ),
        (
            SITE + '[datasets.x]\nsource = "vcard:x"\nkey = ["no"]\n',
            "6: [datasets.x] key: only for database and CSV sources",
        ),
        (
            SITE + '[datasets.x]\nsource = "csv:x"\nkey = ["no"]\nkeys = "shared"\n',
            "7: [datasets.x] keys: only for database sources",
        ),
        (
            SITE + '[datasets.x]\nsource = "csv:x"\n',
            '4: [datasets.x] key: missing: a CSV file needs it, e.g. key = ["part_no"]',
        ),
        (
            SITE + '[datasets.x]\nsource = "csv:x"\nkey = "no"\n',
            "6: [datasets.x] key: must be a list",
        ),
        (
            SITE + '[datasets.x]\nsource = "csv:x"\nkey = []\n',
            "6: [datasets.x] key: must not be empty",
        ),
        (
            SITE + '[datasets.x]\nsource = "webdav:https://x"\n',
            (
                "5: [datasets.x] source: must begin with the kind of dataset and a colon; kinds: "
                "caldav, carddav, csv, ical, mariadb, mariadb+mysqldb, mariadb+pymysql, "
                "postgresql+psycopg, sqlite, vcard"
            ),
        ),
        (
            SITE + '[datasets.x]\nsource = "mariadb://h:high/db"\ntable = "t"\n',
            "5: [datasets.x] source: must be of the form mariadb://USER@HOST/DATABASE",
        ),
        (
            SITE + '[datasets.x]\nsource = "caldav:dav.example"\n',
            "5: [datasets.x] source: must be of the form caldav:https://USER@HOST/PATH",
        ),
        (
            SITE + '[datasets.x]\nsource = "caldav:https://u:p@dav.example/"\n',
            ('5: [datasets.x] source: must hold no password; use secret = { command = ["..."] }'),
        ),
        (
            SITE + '[datasets.x]\nsource = "caldav:http://u@dav.example/"\n',
            "5: [datasets.x] source: clear text goes to this machine only; use https://",
        ),
        (
            SITE + '[datasets.x]\nsource = "caldav:https://u@dav.example/?x=1"\n',
            "5: [datasets.x] source: must be a plain URL; what is unusual in it is written %XX",
        ),
        (
            SITE + '[datasets.x]\nsource = "vcard:x"\nsecret = { env = "X" }\n',
            "6: [datasets.x] secret: only for carddav and caldav sources",
        ),
        (
            SITE + '[datasets.x]\nsource = "sqlite://"\ntable = "t"\n',
            "5: [datasets.x] source: must be of the form sqlite:///FILE",
        ),
        (SITE + 'name = "again"\n', "4: Cannot overwrite a value (column 15)"),
        ("[site\n", "1: Expected ']' at the end of a table declaration (column 6)"),
        ("a = [1,\n", "1: Invalid value at the end of the file"),
    ],
)
def test_each_mistake_is_one_clear_line(text: str, expected: str) -> None:
    assert only_mistake_of(text) == f"/place/mailsync.toml:{expected}"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("imaps://mail.example", None),
        ("imap://u@127.0.0.1:1143", None),
        ("imap://[::1]:1143", None),
        ("imap://localhost", None),
        ("imap://u@mail.example", "clear text goes to this machine only; use imaps://"),
        ("imap://localhost.evil.example", "clear text goes to this machine only; use imaps://"),
        ("imap://127.0.0.1@mail.example", "clear text goes to this machine only; use imaps://"),
        ("https://x", "must begin with imaps:// (imap:// to this machine only)"),
        ("imaps://mail.example:99999", "must be a URL that begins with imaps://"),
        ("imaps://mail.example/INBOX", "must be of the form imaps://USER@HOST:PORT"),
        ("imaps://", "must be of the form imaps://USER@HOST:PORT"),
        ("imaps://a%0d%0ab@mail.example", "must be of the form imaps://USER@HOST:PORT"),
    ],
)
def test_imap_url_is_verified_tls_or_loopback(url: str, complaint: str | None) -> None:
    text = SITE + MAIL.replace("imaps://ship@mail.example", url)
    if complaint is None:
        mail = read(text).mail
        assert mail is not None
        assert mail.imap == url
    else:
        assert only_mistake_of(text) == f"/place/mailsync.toml:6: [mail] imap: {complaint}"


@pytest.mark.parametrize(
    "address",
    ["a@b\\r\\nBcc: c@d.example", "a b@c.example", "ä@c.example", "a@", "@b", "a@b..c", "a@-b.c"],
)
def test_address_that_could_break_a_mail_header_is_refused(address: str) -> None:
    mistake = only_mistake_of(SITE + MAIL.replace("sync@ship.example", address))
    assert mistake == (
        "/place/mailsync.toml:5: [mail] address: must be a mail address such as "
        '"sync@aurora.example" (ASCII only)'
    )


def test_text_that_is_not_utf8_is_named_by_line() -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(SITE.encode() + b"# \xff\n", PATH)
    assert str(caught.value) == "/place/mailsync.toml:4: not UTF-8 text"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="nested too deeply"):
        read("a = " + "[" * 100_000)


def test_no_key_is_both_supported_and_later() -> None:
    for model, later in LATER.items():
        assert not later & set(model.model_fields)


@given(st.text())
def test_arbitrary_text_raises_nothing_but_our_errors(text: str) -> None:
    with pytest.raises(MailsyncError):
        parse(text.encode(errors="surrogatepass"), PATH)


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_our_errors(content: bytes) -> None:
    with pytest.raises(MailsyncError):
        parse(content, PATH)


@given(
    st.sampled_from(sorted(key for keys in LATER.values() for key in keys)),
    st.integers(),
    st.data(),
)
def test_arbitrary_values_raise_nothing_but_our_errors(
    later: str, number: int, data: st.DataObject
) -> None:
    keys = st.sampled_from(["source", "card", "name", "state", "imap", "poll", "secret", later])
    values = st.sampled_from([str(number), '""', "[]", "{}", "[[]]", '"a:b"', "'''\n'''", "1e9"])
    sections = st.sampled_from(["site", "mail", "peers", "datasets", "peers.x", "datasets.x"])
    text = ""
    for section in data.draw(st.lists(sections, unique=True)):
        text += f"[{section}]\n"
        for key in data.draw(st.lists(keys, unique=True)):
            text += f"{key} = {data.draw(values)}\n"
    for mistake in found_in(text):
        assert mistake.startswith(str(PATH))


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        ('send = { where = "a = 1 or (b = 2" }', "send.where: column 16: expected )"),
        ('receive = { where = "a == 1" }', "receive.where: column 4: expected a field"),
        ('send = { age_field = "at" }', "send: age_field is nothing without max_age"),
        ('send = { max_age = "old", age_field = "at" }', "send.max_age: must be a duration"),
        ('send = { wher = "a = 1" }', "send.wher: unknown key; did you mean where?"),
        ('receive = { max_age = "1d" }', "receive.max_age: unknown key"),
        ("send = { fields = [] }", "send.fields: must not be empty"),
        ('receive = { fields = ["*", "a"] }', 'receive.fields: "*" is all of them'),
        ('direction = "out"', 'direction: must be "both", "send" or "receive"'),
        ('on_leave = "drop"', 'on_leave: must be "withdraw" or "keep"'),
        ('allow = ["read"]', 'allow.0: must be "insert", "update" or "delete"'),
        ("[datasets.defects.peers.hub]\nallow = 5", "peers.hub.allow: must be a list"),
        ('[datasets.defects.peers.hub]\ntable = "x"', "peers.hub.table: unknown key"),
        ("[datasets.defects.peers.huh]\nallow = []", "peers.huh: there is no section [peers.huh]"),
    ],
)  # fmt: skip
def test_mistakes_in_filters_and_rights_are_named(lines: str, mistake: str) -> None:
    found = only_mistake_of(SITE + PEER + DATASET + lines + "\n")
    assert f": [datasets.defects] {mistake}" in found


@pytest.mark.parametrize(
    "lines",
    ['send = { max_age = "90d" }', '[datasets.defects.peers.hub]\nsend = { max_age = "90d" }'],
)
def test_an_age_counts_from_some_moment(lines: str) -> None:
    found = only_mistake_of(SITE + PEER + DATASET + lines + "\n")
    assert "[datasets.defects]: send: max_age needs age_field" in found
    schedule = '[datasets.events]\nsource = "ical:events"\n'
    assert found_in(SITE + PEER + schedule + lines.replace("defects", "events")) == []


def test_what_is_said_for_one_peer_stands_for_what_is_said_for_all() -> None:
    settings = read(
        SITE + PEER + PEER.replace("hub", "mv") + DATASET
        + 'send = { where = "a = 1" }\non_leave = "keep"\nallow = ["insert"]\n'
        + '[datasets.defects.peers.hub]\nsend = { where = "b = 2" }\n'
    )  # fmt: skip
    section = settings.datasets["defects"]
    hub, other = section.terms_for("hub"), section.terms_for("mv")
    assert hub.send is not None
    assert (hub.send.where, hub.on_leave, hub.allow) == ("b = 2", "keep", ["insert"])
    assert other.send is not None
    assert other.send.where == "a = 1"
