"""The folders of a link: one where bundles are laid down, one where the peer's are found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mailsync.carriers.base import Mailbox, NotHere, Sender
from mailsync.carriers.folder import FolderMailbox, FolderSender, tag_of
from mailsync.config import PeerSettings
from mailsync.core.sealing import PublicKeys


@dataclass(frozen=True, slots=True)
class FolderCarrier:
    """A folder out and a folder in, of which either may be missing."""

    outward: Path | None
    inward: Path | None
    tag: str
    """Of files to the peer."""
    tags: Collection[str]
    """Of files from it."""

    @classmethod
    def of(cls, peer: PeerSettings, here: PublicKeys, there: PublicKeys) -> Self:
        """Those of the configuration."""
        tag = tag_of(here.thumbprint, there.thumbprint)
        return cls(peer.folder_out, peer.folder_in, tag, tags_from([there], here))

    def sender(self) -> Sender:
        """Into the folder. Raises NotHere if there is none."""
        if self.outward is None:
            raise NotHere("there is no folder_out")
        return FolderSender(self.outward, self.tag)

    def mailbox(self) -> Mailbox | None:
        """From the folder."""
        return None if self.inward is None else FolderMailbox(self.inward, self.tags)


def tags_from(senders: Collection[PublicKeys], here: PublicKeys) -> frozenset[str]:
    """What files begin with that go from these sites to this one."""
    return frozenset(tag_of(one.thumbprint, here.thumbprint) for one in senders)
