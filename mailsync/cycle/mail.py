"""The mail carrier of a site: its submission server and its mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from mailsync.carriers.base import Mailbox, Sender
from mailsync.carriers.endpoint import Endpoint
from mailsync.config import MailSettings, Settings, read_secret


class MailCarrier:
    """SMTP out, IMAP in, with one password read when it is first needed."""

    def __init__(self, mail: MailSettings, settings: Settings, peers: Sequence[str]) -> None:
        """``peers``: their mail addresses."""
        self._mail = mail
        self._settings = settings
        self._peers = peers

    @cached_property
    def password(self) -> str:
        """The mail password; empty where none is configured. Raises OperatorError."""
        if self._mail.secret is None:
            return ""
        return read_secret(self._mail.secret, self._settings.path.parent)

    def forget(self) -> None:
        """Fetch the password anew when it is needed next: it may have been corrected."""
        self.__dict__.pop("password", None)

    def sender(self) -> Sender:
        """A new connection to the submission server. Raises BadConfiguration."""
        from mailsync.carriers.smtp import SmtpSender  # noqa: PLC0415  only when mail is sent

        return SmtpSender(
            Endpoint.from_url(self._mail.smtp, self._mail.tls_ca),
            self.password,
            address=self._mail.address,
            site=self._settings.site.name,
        )

    def mailbox(self) -> Mailbox:
        """A new connection to the mailbox. Raises BadConfiguration."""
        from mailsync.carriers.imap import ImapMailbox  # noqa: PLC0415  only when mail is read

        return ImapMailbox(
            Endpoint.from_url(self._mail.imap, self._mail.tls_ca),
            self.password,
            folder=self._mail.folder,
            dedicated=self._mail.dedicated,
            peers=self._peers,
        )
