"""Addresses of links, and the section of a peer that has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsync.config import PeerSettings
from mailsync.config.loading import parse
from mailsync.errors import BadConfiguration
from mailsync.names import HostPort, host_port

PEER = '[site]\nname = "ship"\nstate = "state.db"\n{site}\n[peers.hub]\ncard = "c"\n{peer}\n'


def peer(lines: str, site: str = "") -> PeerSettings:
    text = PEER.format(site=site, peer=lines)
    return parse(text.encode(), Path("/x/mailsync.toml")).peers["hub"]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("hub.example:7450", "hub.example", 7450),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:7450", "::1", 7450),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("*:65535", "*", 65535),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    assert host_port(text) == HostPort(host, port)
    assert str(host_port(text)) == text


@pytest.mark.parametrize(
    "text", ["", "hub", ":1", "hub:", "hub:65536", "::1:7450", "[::1]", "a b:1", "hub:1\n", "[x]:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        host_port(text)


def test_mail_takes_over_unless_a_list_leaves_it_out() -> None:
    folders = 'folder_out = "o"\n'
    listen = 'listen = "*:1"'
    assert peer("").carrier == ("mail",)
    assert peer('carrier = "tcp"', listen).carrier == ("tcp", "mail")
    assert peer(f'{folders}carrier = "folder"').carrier == ("folder", "mail")
    assert peer(f'{folders}carrier = ["folder", "tcp"]', listen).carrier == ("folder", "tcp")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('carrier = "pigeon"', 'must be "mail", "tcp", "folder", or a list of these'),
        ("carrier = []", 'must be "mail", "tcp", "folder", or a list of these'),
        ("carrier = [{}]", 'must be "mail", "tcp", "folder", or a list of these'),
        ('carrier = ["mail", "mail"]', '"mail" stands there twice'),
        ('carrier = "folder"', "needs folder_out and folder_in"),
        ('carrier = "tcp"', "needs link, where the peer listens, or listen under [site]"),
        ('link = "hub"', "must be an address"),
        ("link = 7450", "must be an address"),
    ],
)
def test_a_carrier_that_cannot_be_is_a_mistake(lines: str, words: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        peer(lines)
    assert words in str(caught.value)
