"""What a configuration file says, as frozen and validated values.

Every key of the file is one attribute here, under the same name. Paths are absolute: they are
relative to the configuration file in the file, and made so while validating, with the file's
directory as the validation context ``{"base": Path}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mailsync.config.dataset import DatasetSettings
from mailsync.config.quantities import (
    Hours,
    Price,
    format_duration,
    format_poll,
    format_rates,
    format_size,
    parse_duration,
    parse_interval,
    parse_poll,
    parse_price,
    parse_quiet,
    parse_rates,
    parse_size,
)
from mailsync.config.secret import Secret
from mailsync.config.section import (
    DatasetName,
    FilePath,
    Name,
    Section,
    Text,
    absolute,
    dataset_name,
    each_once,
)
from mailsync.core.identifiers import CLASSES
from mailsync.names import LOOPBACK, HostPort, host_port, is_address

MESSAGE_BYTES_MIN = 16_384
THIN_BELOW_BYTES = 64_000
"""Ways that take no larger mails than this are narrow: ``profile = "auto"`` spares them."""
BUDGET_BYTES_MIN = 4_000
"""Room for one mail and a change."""
EVERYTHING_ELSE = "*"
CARRIERS = frozenset({"mail", "tcp", "folder"})


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError('must be a mail address such as "sync@aurora.example" (ASCII only)')
    return text


def _state_path(text: object, info: ValidationInfo) -> Path:
    if isinstance(text, str) and "://" in text:
        raise ValueError("a database server as state store is not supported by this version")
    return absolute(text, info)


def _message_size(size: int) -> int:
    if size < MESSAGE_BYTES_MIN:
        raise ValueError(f'must be at least "{format_size(MESSAGE_BYTES_MIN)}"')
    return size


def _budget_size(size: int) -> int:
    if size < BUDGET_BYTES_MIN:
        raise ValueError(f'must be at least "{format_size(BUDGET_BYTES_MIN)}"')
    return size


def _ranked(name: str) -> str:
    return name if name == EVERYTHING_ELSE else dataset_name(name)


def _host_port(text: object) -> HostPort:
    if isinstance(text, HostPort):
        return text
    return host_port(text if isinstance(text, str) else "")


def _carriers(value: object) -> tuple[str, ...]:
    """In the order in which they are tried; after one named alone comes mail."""
    if isinstance(value, str) and value in CARRIERS:
        return (value,) if value == "mail" else (value, "mail")
    named = list(value) if isinstance(value, list | tuple) else []
    if not named or not all(isinstance(one, str) and one in CARRIERS for one in named):
        raise ValueError('must be "mail", "tcp", "folder", or a list of these')
    return tuple(each_once(named))


def _mail_url(text: str, tls: frozenset[str], clear: str) -> str:
    """The URL as it is, if it is one of these schemes and clear text only to loopback."""
    schemes = " or ".join(sorted(f"{scheme}://" for scheme in tls))
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f"must be a URL that begins with {schemes}") from None
    if url.scheme not in tls | {clear}:
        raise ValueError(f"must begin with {schemes} ({clear}:// to this machine only)")
    if url.password is not None:
        raise ValueError('must hold no password; use secret = { command = ["..."] }')
    if not url.hostname or port == 0 or not _is_plain(url):
        raise ValueError(f"must be of the form {url.scheme}://USER@HOST:PORT")
    if url.scheme == clear and url.hostname not in LOOPBACK:
        raise ValueError(f"clear text goes to this machine only; use {schemes}")
    return text


def _is_plain(url: SplitResult) -> bool:
    text = unquote(url.geturl())
    nothing_follows = url.path in ("", "/") and not url.query and not url.fragment
    return nothing_follows and text.isascii() and text.isprintable() and " " not in text


def _imap_url(text: str) -> str:
    return _mail_url(text, frozenset({"imaps"}), "imap")


def _smtp_url(text: str) -> str:
    return _mail_url(text, frozenset({"smtps", "smtp+starttls"}), "smtp")


Address = Annotated[str, AfterValidator(_address)]
StatePath = Annotated[Path, BeforeValidator(_state_path)]
Seconds = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Interval = Annotated[int, BeforeValidator(parse_interval), PlainSerializer(format_duration)]
Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_message_size),
    PlainSerializer(format_size),
]
DailyBytes = Annotated[
    int, BeforeValidator(parse_size), AfterValidator(_budget_size), PlainSerializer(format_size)
]
PriceOfMegabyte = Annotated[Price, PlainValidator(parse_price), PlainSerializer(str)]
QuietHours = Annotated[Hours, PlainValidator(parse_quiet), PlainSerializer(str)]
Ranking = Annotated[
    list[Annotated[str, AfterValidator(_ranked)]],
    Field(min_length=1),
    AfterValidator(each_once),
]
Rates = Annotated[
    tuple[tuple[int, int], ...], BeforeValidator(parse_rates), PlainSerializer(format_rates)
]
Poll = Annotated[int | str, BeforeValidator(parse_poll), PlainSerializer(format_poll)]


Endpoint = Annotated[HostPort, PlainValidator(_host_port), PlainSerializer(str)]
Carriers = Annotated[
    tuple[Literal["mail", "tcp", "folder"], ...], PlainValidator(_carriers), PlainSerializer(list)
]


class SiteSettings(Section):
    """This site."""

    name: Name
    state: StatePath
    """The state store's file."""
    keys: FilePath = Field(default="keys", validate_default=True)
    """Directory of the site's private keys."""
    guid: Literal["timestamp128", "timestamp32"] = "timestamp128"
    """The identifiers that records get; the same at every site of a group."""
    guid_class: Annotated[int, Field(ge=0, lt=CLASSES)] | None = None
    """This site's own number for ``timestamp32``; no other site of the group has it."""

    @field_validator("guid_class")
    @classmethod
    def _class_for_32_bits(cls, guid_class: int | None, info: ValidationInfo) -> int | None:
        scheme = info.data.get("guid")
        if scheme == "timestamp32" and guid_class is None:
            raise ValueError('missing: guid = "timestamp32" needs a number of this site alone')
        if scheme == "timestamp128" and guid_class is not None:
            raise ValueError('only for guid = "timestamp32"')
        return guid_class

    listen: Endpoint | None = None
    """Where the daemon waits for peers' links; None: nowhere."""


class MailSettings(Section):
    """The site's mailbox."""

    address: Address
    imap: Annotated[str, AfterValidator(_imap_url)]
    """``imaps://USER@HOST:PORT``, user name percent-encoded; ``imap://`` to loopback only."""
    smtp: Annotated[str, AfterValidator(_smtp_url)]
    """``smtps://`` or ``smtp+starttls://``; ``smtp://`` to loopback only."""
    secret: Secret | None = None
    max_mails: Rates | None = None
    """How many mails the provider takes, each in how many seconds; None: any number."""
    folder: Text = "INBOX"
    tls_ca: FilePath | None = None
    """Certificates of an own authority, PEM."""
    dedicated: bool = False
    """Nobody else uses this mailbox."""
    dispose: Literal["keep", "delete", "move"] = "delete"
    """What becomes of our own mails once they are used."""
    dispose_after: Seconds = Field(default="7d", validate_default=True)
    """Seconds from a mail's use to its disposal."""
    dispose_folder: Text | None = None
    """Where ``dispose = "move"`` moves them."""

    @field_validator("dispose_folder")
    @classmethod
    def _folder_for_move(cls, folder: str | None, info: ValidationInfo) -> str | None:
        dispose = info.data.get("dispose")
        if dispose == "move" and folder is None:
            raise ValueError('missing: dispose = "move" needs it')
        if dispose in ("keep", "delete") and folder is not None:
            raise ValueError('only for dispose = "move"')
        return folder


class BudgetSettings(Section):
    """How much may go to a peer, when, and what first."""

    per_day: DailyBytes | None = None
    """Bytes of whole mails handed over in a day of the site's clock; None: any number."""
    quiet: QuietHours | None = None
    """When nothing is sent, by the site's clock."""
    priority: Ranking | None = None
    """Datasets in the order in which they share what may go; ``*``: all others, else last. A
    group's name stands for all of it.
    """

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one of per_day, quiet and priority")
        return self


class PeerSettings(Section):
    """Another site we exchange synchronization sets with."""

    card: FilePath
    """The peer's public card."""
    address: Address | None = None
    """Where to send instead of the address on the card."""
    datasets: list[DatasetName] | None = None
    """Datasets, and groups of them, that this link carries; None: all."""
    poll: Poll = Field(default="15m", validate_default=True)
    """Seconds between two looks into the mailbox, or a cron expression of five fields."""
    max_message: Bytes = Field(default="9.5 MB", validate_default=True)
    """Bytes of the largest whole mail the way to the peer takes."""
    carrier: Carriers = Field(default="mail", validate_default=True)
    """What takes bundles to the peer: each in this order, if it is there now."""
    link: Endpoint | None = None
    """Where the peer listens; None: it is waited for."""
    link_poll: Seconds = Field(default="10s", validate_default=True)
    """Seconds between two looks at the datasets while the link is up."""
    folder_out: FilePath | None = None
    """Where bundles for the peer are laid down, whenever it is there."""
    folder_in: FilePath | None = None
    """Where the peer's bundles are found, whenever it is there."""
    folder_time: Seconds = Field(default="14d", validate_default=True)
    """Seconds that what left in a folder, or on a stick, is given before it is sent again."""
    profile: Literal["robust", "thin", "auto"] = "robust"
    """The form of the mails; ``auto``: see :attr:`form`."""
    price_per_mb: PriceOfMegabyte | None = None
    """What a megabyte of whole mails costs, sent or received."""
    budget: BudgetSettings | None = None
    seal: bool = True
    """Encrypt for the peer; signing is always."""
    acknowledge_after: Seconds = Field(default="1h", validate_default=True)
    """Seconds an acknowledgement waits for data to ride on."""
    resend_after: Seconds = Field(default="1d", validate_default=True)
    """Seconds until something unconfirmed is sent again."""
    verify: Interval | None = None
    """Seconds between two questions whether both sites hold the same; None: only when asked."""
    retention: Seconds = Field(default="30d", validate_default=True)
    """Seconds a silent peer holds back the purge of tombstones and history."""

    @model_validator(mode="after")
    def _folders_for_carrier(self) -> Self:
        if "folder" in self.carrier and not (self.folder_out or self.folder_in):
            raise ValueError('carrier "folder" needs folder_out and folder_in')
        return self

    @property
    def form(self) -> Literal["robust", "thin"]:
        """The profile of the mails: where it is left to us, thin if bytes are dear or few."""
        if self.profile != "auto":
            return self.profile
        is_narrow = self.max_message < THIN_BELOW_BYTES
        return "thin" if is_narrow or self.price_per_mb is not None else "robust"


class Settings(Section):
    """A whole configuration file."""

    path: FilePath
    """The file itself, absolute."""
    site: SiteSettings
    mail: MailSettings | None = None
    peers: dict[Name, PeerSettings] = Field(default_factory=dict)
    datasets: dict[DatasetName, DatasetSettings] = Field(default_factory=dict)

    def section_of(self, dataset: str) -> str:
        """The section that a dataset is of: its own, or that of its group; empty: none."""
        if dataset in self.datasets:
            return dataset
        groups = (name for name, section in self.datasets.items() if section.holds(name, dataset))
        return max(groups, key=len, default="")
