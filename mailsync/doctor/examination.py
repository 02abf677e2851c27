"""The doctor: every check there is, from the configuration to a mail to oneself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from mailsync.config import MailSettings, Settings, load
from mailsync.doctor import local, selfmail, servers
from mailsync.doctor.carriers import others_than_mail
from mailsync.doctor.finding import Finding, Grade, doubtful, failed, good
from mailsync.errors import Exit, Locked, MailsyncError, UsageError
from mailsync.store.state import StateStore

LOCK_SECONDS = 5.0


async def examine(path: Path, peer: str | None, *, mail: bool) -> AsyncIterator[Finding]:
    """Everything that can be found out about a site, one finding after the other.

    ``path``: its configuration. ``peer``: check this link only; None: all. ``mail``: also send
    a mail to oneself. Raises UsageError for an unknown peer.
    """
    try:
        settings = load(path)
    except MailsyncError as error:
        yield failed("configuration", error)
        return
    yield good("configuration", f"{path}, site {settings.site.name}")
    chosen = _chosen(settings, peer)
    for finding in examine_locally(settings, chosen):
        yield finding
    async for finding in others_than_mail(settings, chosen):
        yield finding
    if settings.mail is None:
        fix = f"Add a section [mail] to {path}, unless bundles travel another way."
        yield doubtful("mail", "there is no mailbox", fix)
        return
    async for finding in _examine_mail(settings, settings.mail, chosen, mail=mail):
        yield finding


def examine_locally(settings: Settings, chosen: frozenset[str]) -> Iterator[Finding]:
    """What can be found out without any network."""
    yield from local.keys(settings)
    yield from local.state(settings)
    yield from local.disk(settings)
    yield from local.datasets(settings)
    yield from local.columns(settings)
    yield from local.cards(settings, chosen)
    yield from local.policies(settings)
    yield from local.silence(settings, chosen)


async def _examine_mail(
    settings: Settings, mail_settings: MailSettings, chosen: frozenset[str], *, mail: bool
) -> AsyncIterator[Finding]:
    try:
        word = servers.password(settings, mail_settings)
    except MailsyncError as error:
        yield failed("mail secret", error)
        return
    well = True
    async for finding in servers.incoming(mail_settings, word):
        well = well and finding.grade is not Grade.FAILURE
        yield finding
    async for finding in servers.outgoing(settings, mail_settings, word, chosen):
        well = well and finding.grade is not Grade.FAILURE
        yield finding
    if mail and well:
        with ExitStack() as stack:
            _keep_cycles_away(settings, stack)
            async for finding in selfmail.round_trip(settings, mail_settings, word):
                yield finding


def exit_code(findings: Iterable[Finding]) -> Exit:
    """The first failure's; OK if there is none."""
    failures = (found.exit_code for found in findings if found.grade is Grade.FAILURE)
    return next(failures, Exit.OK)


def _chosen(settings: Settings, peer: str | None) -> frozenset[str]:
    if peer is None:
        return frozenset(settings.peers)
    if peer not in settings.peers:
        known = ", ".join(sorted(settings.peers)) or "none yet"
        raise UsageError(f"there is no peer {peer} in {settings.path}; peers: {known}")
    return frozenset({peer})


def _keep_cycles_away(settings: Settings, stack: ExitStack) -> None:
    """A daemon would find the mail first, and report it as one it cannot use.

    That harms nothing, so a cycle in progress or a store in disorder does not stop the check.
    """
    with suppress(MailsyncError):
        store = StateStore.open(settings.site.state)
        stack.callback(store.close)
        with suppress(Locked):
            stack.enter_context(store.lock(LOCK_SECONDS))
