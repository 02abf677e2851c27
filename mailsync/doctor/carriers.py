"""Checks of what else than mail brings bundles to a peer: links and folders."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from mailsync.carriers.tcp import Identity, call
from mailsync.config import PeerSettings, Settings
from mailsync.cycle.site import accepted_peers
from mailsync.doctor.finding import Finding, bad, failed, good
from mailsync.errors import MailsyncError
from mailsync.keys import load_keys
from mailsync.names import HostPort


async def others_than_mail(settings: Settings, chosen: frozenset[str]) -> AsyncIterator[Finding]:
    """Can each peer's link and folders be used?"""
    for name in sorted(chosen):
        peer = settings.peers[name]
        if "folder" in peer.carrier:
            for finding in _folders(name, peer):
                yield finding
        if "tcp" in peer.carrier and peer.link is not None:
            yield await _link(settings, name, peer.link)
        elif "tcp" in peer.carrier:
            yield good(f"link of {name}", f"waited for at {settings.site.listen}")


async def _link(settings: Settings, name: str, address: HostPort) -> Finding:
    """Is the peer there, and does it know us?"""
    title = f"link of {name}"
    try:
        peers = {name: accepted_peers(settings)[name].public}
        channel = await call(address, Identity(load_keys(settings.site.keys), peers), name)
    except MailsyncError as problem:
        return failed(title, problem)
    channel.close()
    return good(title, f"{address} is {name}, and knows this site")


def _folders(name: str, peer: PeerSettings) -> Iterator[Finding]:
    for key, folder, rights in (
        ("folder_out", peer.folder_out, os.W_OK | os.X_OK),
        ("folder_in", peer.folder_in, os.R_OK | os.W_OK | os.X_OK),
    ):
        if folder is not None:
            yield _folder(f"{key} of {name}", folder, rights)


def _folder(title: str, folder: Path, rights: int) -> Finding:
    if not folder.exists():
        return good(title, f"{folder} is not there now; what is due waits, or goes another way")
    if not folder.is_dir() or not os.access(folder, rights):
        fix = "Name a folder that this user may write to; used files are removed there."
        return bad(title, f"{folder} is no folder that can be used", fix)
    return good(title, f"{folder} is there")
