"""Sites whose mails lie on Dovecot, and what other people and programs do to them there."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mailsync.carriers.endpoint import Endpoint
from mailsync.carriers.imap import ImapMailbox
from mailsync.carriers.smtp import SmtpSender
from tests.carriers.letters import foreign_mail
from tests.cycle.sites import Sites, pair
from tests.faults.post import Carrier, Post, PostSender
from tests.servers.mail import PASSWORD, QUOTA, MailServer

PATIENCE = 30
"""Seconds a mail may take on loopback."""

# --- everything on the servers -------------------------------------------------------------


@dataclass
class Account:
    """A site's way by Postfix and Dovecot, either of which a test may put elsewhere."""

    server: MailServer
    user: str
    site: str
    peers: Collection[str]
    submission: Endpoint
    reading: Endpoint
    password: str = PASSWORD
    timeout: float = 20

    def sender(self) -> SmtpSender:
        return SmtpSender(
            self.submission, self.password, address=self.user, site=self.site, timeout=self.timeout
        )

    def mailbox(self) -> ImapMailbox:
        return ImapMailbox(self.reading, self.password, peers=self.peers, timeout=self.timeout)

    def change(self, do: Callable[[imaplib.IMAP4_SSL], object]) -> None:
        """What another mail program does to the mailbox."""
        change(self.server, self.user, do)

    def uids(self, folder: str = "INBOX") -> list[bytes]:
        return uids(self.server, self.user, folder)

    async def has(self, count: int) -> None:
        """Return when so many mails are there."""
        async with asyncio.timeout(PATIENCE):
            while len(self.uids()) != count:
                await asyncio.sleep(0.05)


def on_servers(
    directory: Path, server: MailServer, lines: str = ""
) -> tuple[Sites, Account, Account]:
    """Alice and Bob with accounts of their own."""
    sites = pair(directory, lines)
    number = len(server.users)
    users = {name: server.add_user(f"{name}{number}@mail.example").lower() for name in sites.sites}
    accounts = []
    for name, site in sites.sites.items():
        user = users[name]
        others = [address for other, address in users.items() if other != name]
        smtps, imaps = server.endpoint("smtps", user), server.endpoint("imaps", user)
        accounts.append(Account(server, user, name, others, smtps, imaps))
        site.carrier = accounts[-1]
        for peer, address in users.items():
            if peer != name:
                readdress(sites, name, peer, address)
    alice, bob = accounts
    return sites, alice, bob


def readdress(sites: Sites, name: str, peer: str, address: str) -> None:
    """From now on this site writes to its peer at this address."""
    site = sites.sites[name]
    site.peers = {**site.peers, peer: replace(site.peers[peer], address=address)}


def change(server: MailServer, user: str, do: Callable[[imaplib.IMAP4_SSL], object]) -> None:
    with server.imap(user) as client:
        client.select("INBOX")
        do(client)


def uids(server: MailServer, user: str, folder: str = "INBOX") -> list[bytes]:
    with server.imap(user, folder) as client:
        return numbers(client)


def numbers(client: imaplib.IMAP4_SSL) -> list[bytes]:
    """Of the mails in the folder that is open."""
    return bytes(client.uid("SEARCH", "ALL")[1][0]).split()


@contextlib.contextmanager
def filled(account: Account, share: float) -> Iterator[None]:
    """Somebody's mail takes so much of an inbox that nobody has opened yet.

    The last mail may exceed what there is by a tenth.
    """
    folder = account.server.root / "mail" / account.user
    account.server.fill(account.user, [foreign_mail("Film")])
    (small,) = (folder / "new").iterdir()
    size = int(QUOTA * share)
    with small.open("r+b") as file:
        file.truncate(size)  # takes no space on the disk
    # the quota is counted by the sizes that names bear
    small.rename(small.parent / f"{small.name},S={size},W={size}")
    yield
    for path in (*folder.glob(f"*/*,S={size},*"), folder / "maildirsize"):
        path.unlink()


# --- only what is read on the servers ------------------------------------------------------


@dataclass
class DovecotBox:
    """A box on a real server, to which mails come past Postfix."""

    server: MailServer
    user: str
    downloads: int = 0

    @property
    def mails(self) -> dict[int, bytes]:
        with self.server.imap(self.user) as client:
            found = {
                int(uid): client.uid("FETCH", uid.decode(), "(BODY[])")[1]
                for uid in numbers(client)
            }
        return {uid: answer[0][1] for uid, answer in found.items()}

    def put(self, raw: bytes) -> None:
        self.server.deliver(self.user, [raw])

    def remove(self, number: int) -> None:
        def delete(client: imaplib.IMAP4_SSL) -> None:
            client.uid("STORE", str(number), "+FLAGS", r"(\Deleted)")
            client.expunge()

        change(self.server, self.user, delete)

    def renumber(self) -> None:
        """All that Dovecot knew of the mails is lost, as after a repair.

        The validities that were given stay known: else the next is the second of the clock,
        which may be that of the first.
        """
        for path in (self.server.root / "mail" / self.user).glob("dovecot*"):
            if not path.name.startswith("dovecot-uidvalidity"):
                path.unlink()


class WatchedMailbox(ImapMailbox):
    """Tells how many mails are fetched whole."""

    box: DovecotBox

    async def _whole(self, number: int) -> bytes | None:
        self.box.downloads += 1
        return await super()._whole(number)


def read_on(server: MailServer, sites: Sites, post: Post, names: Sequence[str]) -> None:
    """From now on the mails to these sites lie on Dovecot; the way there stays as it is."""
    number = len(server.users)
    for name in names:
        user = server.add_user(f"{name}{number}@mail.example").lower()
        box = post.boxes[f"{name}@example.org"] = DovecotBox(server, user)
        peers = [peer.address for peer in sites.sites[name].peers.values()]

        def mailbox(box: DovecotBox = box, peers: Collection[str] = peers) -> ImapMailbox:
            endpoint = box.server.endpoint("imap", box.user)
            found = WatchedMailbox(endpoint, PASSWORD, peers=peers, timeout=20)
            found.box = box
            return found

        address = f"{name}@example.org"
        sites.sites[name].carrier = Carrier(
            lambda address=address: PostSender(post, address),  # type: ignore[misc]
            mailbox,
        )
