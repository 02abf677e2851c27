"""What is particular to DAV servers: races, tokens, rewriting, refusals, hostile answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailsync.core.model import Etag, Fields, Guid, Key
from mailsync.datasets.base import Access, Change, Notes, Outcome, Result, Unreadable, Write
from mailsync.datasets.dav.dataset import DavDataset
from mailsync.datasets.dav.xml import DEPTH_MAX, ELEMENTS_MAX, BadAnswer, Multistatus
from mailsync.datasets.kinds import open_remote
from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
    DatasetLoginRefused,
    DatasetMissing,
    DatasetReadOnly,
    DatasetUnreachable,
    DatasetUntrusted,
    DiskFull,
    Exit,
    MailsyncError,
)
from tests.cli.invoking import refuse, succeed
from tests.servers.authority import write_certificates
from tests.servers.dav import PASSWORD, USER, DavCollection, DavServer, running_radicale
from tests.servers.davproxy import Asked, Proxy, Said, proxy_before

KEY = Key("a.vcf")
ACCESS = Access(lambda: PASSWORD)


def card(uid: str, **properties: str) -> str:
    lines = [f"{name.upper()}:{value}" for name, value in properties.items()]
    return "\r\n".join(
        ["BEGIN:VCARD", "VERSION:3.0", f"UID:{uid}", f"FN:{uid}", *lines, "END:VCARD", ""]
    )


def fields_of(uid: str, **properties: str) -> Fields:
    own = {"version": "VERSION:3.0", "uid": f"UID:{uid}", "fn": f"FN:{uid}"}
    return {**own, **{name: f"{name.upper()}:{value}" for name, value in properties.items()}}


def guid(number: int) -> Guid:
    return Guid(number.to_bytes(16, "big"))


class Site:
    """A dataset with what its site knows of it, as the cycle would."""

    def __init__(self, source: str, access: Access = ACCESS) -> None:
        self.notes: Notes = {}
        self.known: dict[Key, Etag | None] = {}
        self.shadow: dict[Key, Fields] = {}
        self.source = source
        self.access = access
        self.dataset = self.again()

    def again(self) -> DavDataset:
        """Another process, with the same notes."""
        self.dataset = open_remote(self.source, self.access, self.notes)
        return self.dataset

    def detect(self) -> dict[Key, Fields | None]:
        """What changed for the site's users."""
        changed: dict[Key, Fields | None] = {}
        for one in self.dataset.changes(self.known):
            if isinstance(one, Change):
                if one.fields != self.shadow.get(one.key):
                    changed[one.key] = one.fields
                self.settle(one.key, one.fields, one.etag)
        return changed

    def write(self, key: Key, wanted: Fields | None, number: int = 1) -> Outcome:
        [outcome] = self.dataset.apply([Write(guid(number), key, self.shadow.get(key), wanted)])
        if outcome.result is Result.WRITTEN:
            self.settle(key, wanted, outcome.etag)
        return outcome

    def settle(self, key: Key, fields: Fields | None, etag: Etag | None) -> None:
        if fields is None:
            self.known.pop(key, None)
            self.shadow.pop(key, None)
        else:
            self.known[key], self.shadow[key] = etag, fields


@pytest.fixture(params=["radicale", "xandikos"])
def server(request: pytest.FixtureRequest) -> DavServer:
    """Each real server."""
    found: DavServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def book(server: DavServer) -> DavCollection:
    return server.new("carddav")


@pytest.fixture
def proxy(server: DavServer) -> Iterator[Proxy]:
    with proxy_before(server.url) as found:
        yield found


def behind(proxy: Proxy, book: DavCollection) -> Site:
    """A site that reaches the collection through the proxy."""
    place = proxy.url.replace("://", f"://{USER}@")
    return Site(f"carddav:{place}{book.path}")


# --- races -------------------------------------------------------------------------------------


def test_whoever_writes_between_our_look_and_our_write_wins(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    site.detect()

    def quicker(asked: Asked) -> None:
        if asked.method in {"PUT", "DELETE"}:
            book.put(KEY, card("a", note=f"quicker than {asked.method}"))

    proxy.script = quicker
    assert site.write(KEY, fields_of("a", note="ours")).result is Result.CHANGED
    assert site.write(KEY, None).result is Result.CHANGED  # what we look at has changed already
    site.detect()
    assert site.write(KEY, None).result is Result.CHANGED
    assert "quicker than DELETE" in book.text(KEY)
    [insert] = site.dataset.apply([Write(guid(2), Key("b.vcf"), None, fields_of("b"))])
    assert insert.result is Result.WRITTEN
    proxy.script = lambda asked: (
        book.put("c.vcf", card("c", note="theirs")) if asked.method == "PUT" else None
    )
    [insert] = site.dataset.apply([Write(guid(3), Key("c.vcf"), None, fields_of("c"))])
    assert insert.result is Result.CHANGED
    assert "theirs" in book.text("c.vcf")


def test_an_edit_right_after_our_write_is_seen_as_the_users(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    site.detect()

    def late(asked: Asked, said: Said) -> Said:
        if asked.method == "PUT":
            book.put(KEY, card("a", note="ours", title="theirs"))
        return said

    proxy.alter = late
    assert site.write(KEY, fields_of("a", note="ours")).result is Result.WRITTEN
    assert site.detect() == {KEY: fields_of("a", note="ours", title="theirs")}


def test_a_record_without_a_strong_etag_is_not_overwritten(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    proxy.alter = lambda _asked, said: Said(
        said.status,
        said.body,
        {name: f"W/{one}" if name == "etag" else one for name, one in said.headers.items()},
    )
    site.detect()
    outcome = site.write(KEY, fields_of("a", note="ours"))
    assert outcome.result is Result.REFUSED
    assert "strong etag" in outcome.reason
    assert "ours" not in book.text(KEY)


# --- looking -----------------------------------------------------------------------------------


def test_what_has_not_changed_costs_one_request(proxy: Proxy, book: DavCollection) -> None:
    for name in "abc":
        book.put(f"{name}.vcf", card(name))
    site = behind(proxy, book)
    assert len(site.detect()) == 3
    site.write(KEY, fields_of("a", note="ours"))
    site.again()
    proxy.methods()
    assert site.detect() == {}
    assert proxy.methods() == ["PROPFIND", "REPORT"]  # the collection itself, and what changed
    book.put("b.vcf", card("b", note="theirs"))
    book.remove("c.vcf")
    assert site.detect() == {"b.vcf": fields_of("b", note="theirs"), "c.vcf": None}
    assert site.detect() == {}


def test_a_token_is_asked_for_what_changed_since(proxy: Proxy, book: DavCollection) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    tokens = []

    def note(asked: Asked) -> None:
        _, begin, rest = asked.body.partition(b"<D:sync-token>")
        if begin:
            tokens.append(rest.partition(b"<")[0])

    proxy.script = note
    site.detect()
    site.detect()
    assert tokens[0] == b""
    assert tokens[1] != b""
    site.known[KEY] = Etag(b"of another time")  # a restored store: the token is not for it
    site.detect()
    assert tokens[2] == b""


def test_a_token_the_server_forgot_makes_us_list_everything(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    site.detect()
    book.put("b.vcf", card("b"))
    body = b'<d:error xmlns:d="DAV:"><d:valid-sync-token/></d:error>'
    refused = []

    def forgetful(asked: Asked) -> Said | None:
        if b"sync-token>" in asked.body and b"<D:sync-token></D:sync-token>" not in asked.body:
            refused.append(asked)
            return Said(403, body)
        return None

    proxy.script = forgetful
    assert site.detect() == {"b.vcf": fields_of("b")}
    assert len(refused) == 1


def test_a_server_without_such_reports_is_listed_by_etags(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    book.put("b.vcf", card("b"))
    site = behind(proxy, book)
    proxy.script = lambda asked: Said(501) if b"sync-collection" in asked.body else None
    assert site.detect().keys() == {KEY, "b.vcf"}
    assert site.detect() == {}
    book.put(KEY, card("a", note="theirs"))
    book.remove("b.vcf")
    assert site.detect() == {KEY: fields_of("a", note="theirs"), "b.vcf": None}
    proxy.methods()
    assert site.detect() == {}
    assert proxy.methods() == ["REPORT", "PROPFIND"]


def test_a_list_that_a_server_cuts_is_read_to_its_end(proxy: Proxy, book: DavCollection) -> None:
    site = behind(proxy, book)
    parts = [["a.vcf", "b.vcf"], ["c.vcf"], []]
    for name in "abc":
        book.put(f"{name}.vcf", card(name))
    given: list[str] = []

    def cut(asked: Asked) -> Said | None:
        if b"sync-collection" not in asked.body:
            return None
        etag = "<D:propstat><D:prop><D:getetag>&quot;x&quot;</D:getetag></D:prop><D:status>"
        etag += "HTTP/1.1 200 OK</D:status></D:propstat>"
        part = parts[len(given)]
        given.append("")
        members = "".join(
            f"<D:response><D:href>{book.path}{one}</D:href>{etag}</D:response>" for one in part
        )
        more = f"<D:response><D:href>{book.path}</D:href>"
        more += "<D:status>HTTP/1.1 507 Insufficient Storage</D:status></D:response>"
        members += more if part else ""
        return Said(
            207,
            f'<D:multistatus xmlns:D="DAV:">{members}<D:sync-token>t:{len(given)}</D:sync-token>'
            "</D:multistatus>".encode(),
        )

    proxy.script = cut
    assert site.detect().keys() == {"a.vcf", "b.vcf", "c.vcf"}
    assert len(given) == 3


def test_what_cannot_be_read_is_held_and_told_each_time(proxy: Proxy, book: DavCollection) -> None:
    book.put(KEY, card("a"))
    book.put("b.vcf", card("b"))
    site = behind(proxy, book)
    site.detect()
    book.put("b.vcf", card("b", note="good"))
    book.put(KEY, card("a", note="spoilt"))
    proxy.alter = lambda _asked, said: Said(
        said.status, said.body.replace(b"NOTE:spoilt", b"no property"), said.headers
    )
    for _ in range(2):
        found = {one.key: one for one in site.dataset.changes(site.known)}
        assert isinstance(found[KEY], Unreadable)
    good = found[Key("b.vcf")]
    assert isinstance(good, Change)
    assert good.fields == fields_of("b", note="good")
    assert site.write(KEY, fields_of("a", note="ours")).result is Result.REFUSED
    assert isinstance(site.dataset.read([KEY])[KEY], Unreadable)


def test_addresses_are_written_in_any_way(book: DavCollection) -> None:
    key = Key("Ann & Bob; é 100%.vcf")
    book.put(key, card("a"))
    site = Site(book.source)
    assert site.detect() == {key: fields_of("a")}
    assert site.write(key, fields_of("a", note="ours")).result is Result.WRITTEN
    assert site.detect() == {}
    assert "NOTE:ours" in book.text(key)
    assert site.write(key, None).result is Result.WRITTEN
    assert site.detect() == {}


@pytest.mark.parametrize("key", ["", ".", "..", "a/b.vcf", "\udcff.vcf"])
def test_what_is_no_name_is_neither_read_nor_written(book: DavCollection, key: str) -> None:
    site = Site(book.source)
    assert site.dataset.read([Key(key)]) == {key: Change(Key(key), None, None)}
    assert site.write(Key(key), fields_of("a")).result is Result.REFUSED


# --- rewriting ---------------------------------------------------------------------------------


def test_what_radicale_makes_of_a_card_is_no_edit(radicale: DavServer) -> None:
    book = radicale.new("carddav")
    site = Site(book.source)
    meant = fields_of("a", categories="sea,deck", note="a, b; c", nickname="x")
    assert site.write(KEY, meant).result is Result.WRITTEN
    text = book.text(KEY)
    assert "NOTE:a\r\n" in text  # it drops what is behind a comma, and says nothing
    assert site.detect() == {}
    site.again()
    assert site.detect() == {}

    edited = {**meant, "nickname": "NICKNAME:y"}
    assert site.write(KEY, edited).result is Result.WRITTEN
    assert "NICKNAME:y" in book.text(KEY)
    assert site.detect() == {}

    book.put(KEY, book.text(KEY).replace("NICKNAME:y", "NICKNAME:z"))
    assert site.detect() == {KEY: {**meant, "nickname": "NICKNAME:z"}}  # and the note stays whole
    book.put(KEY, book.text(KEY).replace("NOTE:a", "NOTE:theirs"))
    assert site.detect() == {KEY: {**meant, "nickname": "NICKNAME:z", "note": "NOTE:theirs"}}
    assert site.write(KEY, None).result is Result.WRITTEN
    assert set(site.notes) <= {""}


def test_a_card_without_uid_gets_one_there_that_does_not_travel(book: DavCollection) -> None:
    site = Site(book.source)
    fields = {name: one for name, one in fields_of("a").items() if name != "uid"}
    assert site.write(KEY, fields).result is Result.WRITTEN
    assert f"UID:{guid(1).hex()}" in book.text(KEY)
    assert site.detect() == {}
    edited = {**fields, "note": "NOTE:x"}
    assert site.write(KEY, edited).result is Result.WRITTEN
    assert site.detect() == {}
    assert f"UID:{guid(1).hex()}" in book.text(KEY)


def test_what_nobody_changes_stays_byte_for_byte(xandikos: DavServer) -> None:
    book = xandikos.new("carddav")
    odd = card("a").replace("FN:a\r\n", "fn;X-B=2;X-A=1:a\r\n\n folded\r\nx-Odd:1\r\nREV:2024\r\n")
    odd = odd.replace("\r\n\n folded", "\r\n ")
    book.put(KEY, odd)
    site = Site(book.source)
    site.detect()
    assert site.write(KEY, {**site.shadow[KEY], "note": "NOTE:new"}).result is Result.WRITTEN
    assert book.text(KEY) == odd.replace("END:VCARD", "NOTE:new\r\nEND:VCARD")


def test_lost_notes_make_the_servers_form_an_edit_and_nothing_worse(radicale: DavServer) -> None:
    book = radicale.new("carddav")
    site = Site(book.source)
    site.write(KEY, fields_of("a", note="a, b"))
    site.notes.clear()
    site.known[KEY] = None  # as after kill -9
    assert site.detect() == {KEY: fields_of("a", note="a")}
    assert site.detect() == {}


# --- refusals ----------------------------------------------------------------------------------


def test_a_record_the_server_does_not_take_is_named_and_the_others_go_on(
    radicale: DavServer,
) -> None:
    calendar = radicale.new("caldav")
    site = Site(calendar.source)
    good: Fields = {"component": "vevent", "uid": "UID:e", "dtstart": "DTSTART:20240101T100000Z"}
    bad = {**good, "uid": "UID:f", "dtstart": "DTSTART:never"}
    first, second = site.dataset.apply(
        [Write(guid(1), Key("f.ics"), None, bad), Write(guid(2), Key("e.ics"), None, good)]
    )
    assert (first.result, second.result) == (Result.REFUSED, Result.WRITTEN)
    assert first.reason.startswith("the server says 400")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, DatasetLoginRefused),
        (403, DatasetReadOnly),
        (429, DatasetBusy),
        (503, DatasetBusy),
        (507, DiskFull),
    ],
)
def test_a_server_that_takes_nothing_stops_the_dataset(
    proxy: Proxy, book: DavCollection, status: int, error: type[MailsyncError]
) -> None:
    site = behind(proxy, book)
    site.detect()
    may_read = (
        b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>/</D:href><D:propstat><D:prop>'
        b"<D:current-user-privilege-set><D:privilege><D:read/></D:privilege>"
        b"</D:current-user-privilege-set></D:prop><D:status>HTTP/1.1 200 OK</D:status>"
        b"</D:propstat></D:response></D:multistatus>"
    )

    def refuse(asked: Asked) -> Said | None:
        if asked.method == "PUT":
            return Said(status)
        return Said(207, may_read) if b"current-user-privilege-set" in asked.body else None

    proxy.script = refuse
    with pytest.raises(error):
        site.write(KEY, fields_of("a"))


@pytest.mark.parametrize("body", [b"", b'<e:error xmlns:e="DAV:"><e:no-uid-conflict/></e:error>'])
def test_one_refused_record_of_a_writable_collection_is_refused_alone(
    proxy: Proxy, book: DavCollection, body: bytes
) -> None:
    site = behind(proxy, book)
    proxy.script = lambda asked: Said(403, body) if asked.method == "PUT" else None
    outcome = site.write(KEY, fields_of("a"))
    assert outcome.result is Result.REFUSED
    assert ("no-uid-conflict" in outcome.reason) is bool(body)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, DatasetLoginRefused),
        (403, DatasetLoginRefused),
        (404, DatasetMissing),
        (410, DatasetMissing),
        (500, DatasetBusy),
        (503, DatasetBusy),
        (507, DiskFull),
        (418, DatasetError),
    ],
)
def test_a_collection_that_cannot_be_read_is_an_error_never_an_empty_one(
    proxy: Proxy, book: DavCollection, status: int, error: type[MailsyncError]
) -> None:
    site = behind(proxy, book)
    book.put(KEY, card("a"))
    site.detect()
    proxy.script = lambda asked: Said(status) if asked.path == book.path else None
    site.again()
    with pytest.raises(error) as caught:
        site.detect()
    assert type(caught.value) is error
    assert PASSWORD not in str(caught.value)


def test_a_wrong_password_a_missing_one_and_a_token(radicale: DavServer) -> None:
    book = radicale.new("carddav")
    with pytest.raises(DatasetLoginRefused, match="does not take the login of user ann"):
        Site(book.source, Access(lambda: "wrong")).detect()
    with pytest.raises(DatasetLoginRefused, match="has no secret"):
        Site(book.source, Access()).detect()
    with proxy_before(radicale.url) as proxy:
        source = f"carddav:{proxy.url}{book.path}"
        with pytest.raises(DatasetLoginRefused, match="a token"):
            Site(source, Access(lambda: "t0ken")).detect()
        assert proxy.asked[-1].headers["authorization"] == "Bearer t0ken"


def test_a_server_that_is_not_there_is_temporary(radicale: DavServer) -> None:
    with pytest.raises(DatasetUnreachable, match=r"127\.0\.0\.1:1"):
        Site("carddav:http://ann@127.0.0.1:1/x/").detect()


# --- ways --------------------------------------------------------------------------------------


def test_a_redirect_is_followed_within_the_server_alone(proxy: Proxy, book: DavCollection) -> None:
    book.put(KEY, card("a"))
    place = proxy.url.replace("://", f"://{USER}@")
    target = book.path

    def moved(asked: Asked) -> Said | None:
        return Said(301, headers={"Location": target}) if asked.path == "/old/" else None

    proxy.script = moved
    assert Site(f"carddav:{place}/old/").detect() == {KEY: fields_of("a")}
    for elsewhere in ("http://other.example/", "//other.example/", book.server.url + book.path):
        target = elsewhere
        with pytest.raises(DatasetError, match="the login goes to no other server"):
            Site(f"carddav:{place}/old/").detect()
    target = "/old/"
    with pytest.raises(DatasetError, match="too many redirects"):
        Site(f"carddav:{place}/old/").detect()


def test_certificates_are_verified(radicale: DavServer, tmp_path: Path) -> None:
    book = radicale.new("carddav")
    book.put(KEY, card("a"))
    write_certificates(tmp_path, "localhost")
    with proxy_before(radicale.url, tmp_path) as proxy:
        source = f"carddav:{proxy.url.replace('://', f'://{USER}@')}{book.path}"
        with pytest.raises(DatasetUntrusted):
            Site(source).detect()
        own = Access(lambda: PASSWORD, tmp_path / "ca.pem")
        assert Site(source, own).detect() == {KEY: fields_of("a")}
        with pytest.raises(DatasetUntrusted):
            Site(source.replace("localhost", "127.0.0.1"), own).detect()
        proxy.script = lambda asked: Said(
            301, headers={"Location": f"http://localhost{asked.path}"}
        )
        with pytest.raises(DatasetError, match="the login goes to no other server"):
            Site(source, own).detect()
    with pytest.raises(BadConfiguration, match="tls_ca"):
        Site(source, Access(lambda: PASSWORD, tmp_path / "none.pem")).detect()


def test_clear_text_goes_nowhere_else() -> None:
    with pytest.raises(BadConfiguration, match="this machine only"):
        Site("carddav:http://ann@dav.example/")


# --- places ------------------------------------------------------------------------------------


@pytest.fixture
def user_of_one() -> Iterator[DavServer]:
    """A server that nobody else makes collections on."""
    with running_radicale() as found:
        yield found


def test_a_url_may_name_the_collection_its_home_or_the_server_alone(
    user_of_one: DavServer,
) -> None:
    book, calendar = user_of_one.new("carddav"), user_of_one.new("caldav")
    book.put(KEY, card("a"))
    place = book.server.url.replace("://", f"://{USER}@")
    for path in ("", "/", user_of_one.home, user_of_one.home.rstrip("/"), book.path):
        assert Site(f"carddav:{place}{path}").detect() == {KEY: fields_of("a")}, path
    with pytest.raises(DatasetMissing, match="no address books at"):
        Site(f"carddav:{place}{calendar.path}").detect()
    with pytest.raises(DatasetMissing, match="there is no http"):
        Site(f"carddav:{place}/ann/none/").detect()
    other = user_of_one.new("carddav", "Officers")
    with pytest.raises(BadConfiguration, match="several address books") as caught:
        Site(f"carddav:{place}").detect()
    assert book.path in str(caught.value)
    assert other.path in str(caught.value)


def test_a_principal_says_where_the_home_is(xandikos: DavServer) -> None:
    book = xandikos.new("carddav")
    book.put(KEY, card("a"))
    place = xandikos.url.replace("://", f"://{USER}@")
    source = f"carddav:{place}/"
    with closing(open_remote(source, ACCESS, {})) as dataset:
        assert book.path in {path for path, _, _ in dataset.offered()}


def test_what_is_there_is_offered_as_sections(radicale: DavServer) -> None:
    crew, watch = radicale.new("carddav", "The Crew"), radicale.new("caldav", "Watches")
    crew.put(KEY, card("a"))
    place = radicale.url.replace("://", f"://{USER}@")
    command = ("--secret-command", f"echo '{PASSWORD}'")
    printed = succeed("discover", f"carddav:{place}", *command).stdout
    assert (
        f'source = "{crew.source}"\nsecret = {{ command = ["echo", "{PASSWORD}"] }}\n# 1 record'
        in printed
    )
    assert "[datasets.the-crew]" in printed
    assert watch.path not in printed
    assert f'source = "{watch.source}"' in succeed("discover", watch.source, *command).stdout
    [told, _] = refuse(Exit.LOGIN_REFUSED, "discover", watch.source)
    assert "has no secret" in told


# --- hostile answers ---------------------------------------------------------------------------

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<D:multistatus xmlns:D="DAV:"><D:sync-token>&b;</D:sync-token></D:multistatus>'
)
OUTSIDE = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<D:multistatus xmlns:D="DAV:"><D:sync-token>&a;</D:sync-token></D:multistatus>'
)
DEEP = b'<D:multistatus xmlns:D="DAV:">' + b"<D:response>" * (DEPTH_MAX + 1)
WIDE = b'<D:multistatus xmlns:D="DAV:"><D:response>' + b"<D:a/>" * (ELEMENTS_MAX + 1)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        OUTSIDE,
        DEEP,
        WIDE,
        b"<html></html>",
        b"no xml",
        b"",
        b"<D:multistatus xmlns:D='DAV:'>",
    ],
    ids=["bomb", "outside", "deep", "wide", "html", "text", "nothing", "cut"],
)
def test_an_answer_that_is_none_is_an_error(proxy: Proxy, book: DavCollection, body: bytes) -> None:
    site = behind(proxy, book)
    book.put(KEY, card("a"))
    site.detect()
    proxy.script = lambda asked: Said(207, body) if b"sync-collection" in asked.body else None
    with pytest.raises(DatasetError, match="answers with "):
        site.detect()


def test_a_record_that_xml_cannot_hold_does_not_hide_the_others(
    proxy: Proxy, book: DavCollection
) -> None:
    book.put(KEY, card("a"))
    book.put("b.vcf", card("b", note="tab"))
    site = behind(proxy, book)
    proxy.alter = lambda asked, said: Said(
        said.status,
        said.body.replace(b"NOTE:tab", b"NOTE:\x0b") if asked.method == "REPORT" else said.body,
        said.headers,
    )
    assert site.detect() == {KEY: fields_of("a"), "b.vcf": fields_of("b", note="tab")}


def test_what_an_answer_leaves_out_is_not_gone(proxy: Proxy, book: DavCollection) -> None:
    for name in ("a", "b", "c"):
        book.put(f"{name}.vcf", card(name))
    site = behind(proxy, book)
    site.detect()
    book.put("b.vcf", card("b", note="new"))
    book.put("c.vcf", card("c", note="new"))
    book.remove("a.vcf")
    first = rb"(<[^/>]*multistatus[^>]*>)\s*<([^/>]*response)>.*?</\2>"

    def cut(asked: Asked, said: Said) -> Said:
        if b"multiget" not in asked.body:
            return said
        return Said(said.status, re.sub(first, rb"\1", said.body, flags=re.DOTALL), said.headers)

    proxy.alter = cut
    assert site.detect() == {
        KEY: None, "b.vcf": fields_of("b", note="new"), "c.vcf": fields_of("c", note="new")
    }  # fmt: skip


@pytest.mark.parametrize("target", ["http://[dav/", "http://dav:high/", "/\x7f"])
def test_an_address_that_is_none_is_an_error(
    proxy: Proxy, book: DavCollection, target: str
) -> None:
    proxy.script = lambda _asked: Said(301, headers={"Location": target})
    with pytest.raises(DatasetError, match="no address"):
        behind(proxy, book).detect()


def test_a_member_whose_address_is_none_is_passed_over(proxy: Proxy, book: DavCollection) -> None:
    book.put(KEY, card("a"))
    site = behind(proxy, book)
    strange = b"<D:response xmlns:D='DAV:'><D:href>//[</D:href><D:status>HTTP/1.1 200 OK</D:status>"
    proxy.alter = lambda asked, said: Said(
        said.status,
        re.sub(rb"(<[^/>]*multistatus[^>]*>)", rb"\1" + strange + b"</D:response>", said.body)
        if asked.method == "REPORT"
        else said.body,
        said.headers,
    )
    assert site.detect() == {KEY: fields_of("a")}


def test_text_without_end_is_refused() -> None:
    read = Multistatus()
    read.feed(b'<D:multistatus xmlns:D="DAV:"><D:response>')
    with pytest.raises(BadAnswer, match="too long"):  # noqa: PT012
        for _ in range(64):
            read.feed(b"x" * 1024 * 1024)
