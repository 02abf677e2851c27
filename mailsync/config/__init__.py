"""The configuration file: where it is, what it says, what is wrong with it.

``settings`` holds the values, ``dataset`` those of a dataset's section, ``filtering`` what it says
of peers, ``loading`` finds and
reads the file, ``mistakes`` and ``lines`` say what is wrong where, ``quantities`` reads durations
and sizes, ``secret`` fetches passwords, ``editing`` adds a peer,
``asked`` reads a dataset off the command line. This package alone knows
pydantic and TOML.
"""

from __future__ import annotations

from mailsync.config.asked import asked_dataset, asked_source
from mailsync.config.dataset import EVERY_TABLE, DatasetSettings, member
from mailsync.config.editing import add_peer
from mailsync.config.filtering import PeerTerms, ReceiveSettings, SendSettings
from mailsync.config.loading import FILE_NAME, find, load, parse
from mailsync.config.quantities import Hours, Price, format_duration, format_size
from mailsync.config.secret import SecretSettings, read_secret
from mailsync.config.settings import (
    BudgetSettings,
    MailSettings,
    PeerSettings,
    Settings,
    SiteSettings,
)

__all__ = [
    "EVERY_TABLE",
    "FILE_NAME",
    "BudgetSettings",
    "DatasetSettings",
    "Hours",
    "MailSettings",
    "PeerSettings",
    "PeerTerms",
    "Price",
    "ReceiveSettings",
    "SecretSettings",
    "SendSettings",
    "Settings",
    "SiteSettings",
    "add_peer",
    "asked_dataset",
    "asked_source",
    "find",
    "format_duration",
    "format_size",
    "load",
    "member",
    "parse",
    "read_secret",
]
