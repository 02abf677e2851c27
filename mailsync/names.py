"""Names of sites, peers, datasets and this machine, mail addresses, hosts: plain ASCII.

Names stand in file names, mail subjects and command lines, addresses in mail headers; so what
is not in these strict alphabets is refused at the door, and no other place needs to escape.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

NAME_RULE: Final = "1 to 63 lower-case letters, digits, - _ or . and begin with a letter or a digit"
"""What a name must be, for a sentence that starts with "must be"."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine itself: what goes there in clear text is seen by nobody else."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*"
    rf"@{_LABEL}(?:\.{_LABEL})*"
)
_ENDPOINT = re.compile(
    rf"(?:\[([0-9A-Fa-f:.]{{2,45}}(?:%[A-Za-z0-9]{{1,15}})?)\]|({_LABEL}(?:\.{_LABEL})*|\*))"
    r":([0-9]{1,5})"
)
_ADDRESS_CHARACTERS_MAX = 254  # RFC 3696, erratum 1690
_LOCAL_CHARACTERS_MAX = 64  # RFC 5321, 4.5.3.1.1


class HostPort(NamedTuple):
    """Where something listens: a name, an IPv4 or an IPv6 address, ``*`` for all of them."""

    host: str
    port: int

    def __str__(self) -> str:
        """As people write it, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_port(text: str) -> HostPort:
    """What ``host:port``, ``[::1]:port`` or ``*:port`` names. Raises ValueError."""
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found[3]) >= 1 << 16:
        raise ValueError('must be an address such as "hub.example:7450" or "[2001:db8::1]:7450"')
    return HostPort(found[1] or found[2], int(found[3]))


def is_name(text: str) -> bool:
    """Can it name a site, a peer or a dataset?"""
    return _NAME.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Is it a mail address of the dot-atom form (RFC 5322, 3.4.1), ASCII only?"""
    return (
        len(text) <= _ADDRESS_CHARACTERS_MAX
        and text.find("@") <= _LOCAL_CHARACTERS_MAX
        and _ADDRESS.fullmatch(text) is not None
    )
