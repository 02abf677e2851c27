"""Real Dovecot and Postfix on loopback, in a temporary folder; nothing of the system is touched.

Every address under ``.example`` except ``nobody...@`` is accepted; it has a mailbox once
``add_user`` was called for it (until then, mail to it waits in the queue). A
login may send from its own address only. Nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailsync.carriers.endpoint import Endpoint, Security
from tests.servers.authority import write_certificates

HOST = "localhost"
"""The one name in the certificate; ``127.0.0.1`` is a wrong one."""
SMALL_LIMIT = 200_000
"""Bytes taken by the port that takes little."""
QUOTA = 2**30
"""Bytes of mail that each mailbox takes."""
NARROW_HOST = "127.0.0.2"
"""Where Dovecot takes one connection of each user at a time."""
PASSWORD = "secret"

_POSTFIX_DAEMONS = "/usr/lib/postfix/sbin"
_START_SECONDS = 60.0
_GREETINGS = {"sasl": b"DONE", "smtp": b"220 ", "submission": b"220 ", "lmtp": b"220 "}
"""How a service that listens shows that it works, where it speaks first."""

_DOVECOT = """\
base_dir = {root}/run
state_dir = {root}/run
log_path = {root}/dovecot.log
listen = 127.0.0.1, {narrow}
protocols = imap lmtp
ssl = yes
ssl_cert = <{root}/server.pem
ssl_key = <{root}/server.key
disable_plaintext_auth = no
auth_failure_delay = 0
auth_username_format = %Lu
auth_mechanisms = plain login
recipient_delimiter = +
first_valid_uid = 1
mail_location = maildir:{root}/mail/%u
mail_max_userip_connections = 200
local {narrow} {{
  mail_max_userip_connections = 1
}}
mail_plugins = quota
mail_fsync = never
namespace inbox {{
  inbox = yes
  mailbox Junk {{
    special_use = \\Junk
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {root}/users/%Lu
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={root}/mail/%u
}}
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:bytes={quota}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service auth {{
  inet_listener sasl {{
    port = {sasl}
  }}
}}
"""

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
maillog_file = {root}/postfix.log
maillog_file_prefixes = {root}
myhostname = mail.example
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
biff = no
smtputf8_enable = no
default_transport = error:nothing leaves this machine
virtual_mailbox_domains = regexp:{root}/postfix/domains
virtual_mailbox_maps = regexp:{root}/postfix/recipients
virtual_transport = lmtp:inet:[127.0.0.1]:{lmtp}
message_size_limit = 80000000
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 4s
service_throttle_time = 1s
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtpd_tls_cert_file = {root}/server.pem
smtpd_tls_key_file = {root}/server.key
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_sasl_auth_enable = yes
smtpd_sasl_security_options = noanonymous
smtpd_sender_login_maps = regexp:{root}/postfix/senders
smtpd_sender_restrictions = reject_sender_login_mismatch
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 200
"""

_MASTER_CF = """\
postlog   unix-dgram n - n - 1 postlogd
127.0.0.1:{smtp}       inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
127.0.0.1:{smtps}      inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:{small}      inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
  -o message_size_limit={small_limit}
127.0.0.1:{seldom}     inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
  -o smtpd_client_message_rate_limit=1 -o smtpd_client_event_limit_exceptions=
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
"""

_PORTS = ("imap", "imaps", "lmtp", "sasl", "smtp", "submission", "smtps", "small", "seldom")


@dataclass
class MailServer:
    """One Dovecot and one Postfix, which share certificate, users and life."""

    root: Path
    ports: dict[str, int]
    users: dict[str, str] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def ca(self) -> Path:
        return self.root / "ca.pem"

    def add_user(self, address: str, password: str = PASSWORD) -> str:
        """Give an address a mailbox and a login; usable at once."""
        user = address.lower()
        self.users[user] = password
        # a file each: Dovecot looks only once a second whether one it has read was changed
        (self.root / "users" / user).write_text(f"{user}:{{PLAIN}}{password}\n")
        return address

    def endpoint(self, service: str, user: str) -> Endpoint:
        """Where ``imaps``, ``imap``, ``smtps``, ``submission``, ``smtp`` or ``small`` listens.

        ``seldom`` is another ``smtps``, which takes one mail a minute.
        """
        security = {
            "imap": Security.CLEAR,
            "smtp": Security.CLEAR,
            "submission": Security.STARTTLS,
        }.get(service, Security.TLS)
        return Endpoint(HOST, self.ports[service], user, security, self.ca)

    def url(self, scheme: str, user: str) -> str:
        """The URL a configuration would name for ``imaps``, ``smtps`` or ``smtp+starttls``."""
        service = "submission" if scheme == "smtp+starttls" else scheme
        return f"{scheme}://{user.replace('@', '%40')}@{HOST}:{self.ports[service]}"

    @contextlib.contextmanager
    def imap(self, address: str, folder: str = "INBOX") -> Iterator[imaplib.IMAP4_SSL]:
        """An independent client's look at a folder, read-only."""
        context = ssl.create_default_context(cafile=str(self.ca))
        client = imaplib.IMAP4_SSL(HOST, self.ports["imaps"], ssl_context=context)
        with client:
            client.login(address, self.users[address.lower()])
            client.select(folder, readonly=True)
            yield client

    def deliver(self, address: str, mails: Iterable[bytes]) -> None:
        """Put mails into an inbox, past Postfix; they are there when this returns."""
        with smtplib.LMTP("127.0.0.1", self.ports["lmtp"]) as client:
            for mail in mails:
                client.sendmail("someone@elsewhere.example", [address], mail)

    def fill(self, address: str, mails: Iterable[bytes]) -> None:
        """Put many mails at once into an inbox that nobody has opened yet, oldest first."""
        folder = self.root / "mail" / address.lower()
        for name in (folder, *(folder / part for part in ("cur", "new", "tmp"))):
            name.mkdir()
            shutil.chown(name, "mail", "mail")
        for number, mail in enumerate(mails):
            path = folder / "new" / f"{1_700_000_000 + number}.M1P1.mail"
            path.write_bytes(mail)
            shutil.chown(path, "mail", "mail")

    def start(self) -> None:
        """Start what does not run of both servers, and return when every port answers."""
        self._launch("dovecot", "-F", "-c", str(self.root / "dovecot.conf"))
        # Postfix gives up where the login service does not answer yet
        self._await("imaps", "imap", "lmtp", "sasl")
        settings = str(self.root / "postfix")
        subprocess.run([_program("postfix"), "-c", settings, "check"], check=True)
        # not "postfix start-fg": a shell in between would not pass the signal on
        self._launch("postfix", "-c", settings, "-s", program=f"{_POSTFIX_DAEMONS}/master")
        self._await("smtp", "submission", "smtps", "small", "seldom")

    def stop(self) -> None:
        """Stop both servers at once and wait until they are gone. Mailboxes and queue stay."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(timeout=60)
            with contextlib.suppress(ProcessLookupError):  # children that outlived their master
                os.killpg(process.pid, signal.SIGKILL)
        self._processes = {}

    def kill(self, name: str) -> None:
        """Kill ``dovecot`` or ``postfix`` with all its children; ``start`` brings it back."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)

    def restart(self) -> None:
        """Stop and start again, on the same ports; every connection is lost."""
        self.stop()
        self.start()

    def logs(self) -> str:
        """What the servers say, for a failure's report."""
        files = sorted(self.root.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text()[-4000:]}" for path in files)

    def _launch(self, name: str, *arguments: str, program: str = "") -> None:
        if name in self._processes:
            return
        with (self.root / "output.log").open("ab") as output:  # a pipe would never be closed
            self._processes[name] = subprocess.Popen(
                [_program(program or name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _await(self, *services: str) -> None:
        end = time.monotonic() + _START_SECONDS
        for service in services:
            while not self._answers(service):
                dead = any(process.poll() is not None for process in self._processes.values())
                if dead or time.monotonic() > end:
                    logs = self.logs()
                    self.stop()
                    raise RuntimeError(f"no {service} server:\n{logs}")
                time.sleep(0.02)

    def _answers(self, service: str) -> bool:
        address = ("127.0.0.1", self.ports[service])
        try:
            with socket.create_connection(address, timeout=5) as connection:
                received = b""
                while _GREETINGS.get(service, b"") not in received:
                    more = connection.recv(4096)
                    if not more:
                        return False
                    received += more
        except OSError:
            return False
        return True


def _require(*programs: str) -> None:
    missing = [program for program in programs if not _program(program)]
    if missing or os.geteuid() != 0:
        pytest.fail(
            f"the mail tests need {' and '.join(missing) or 'to run as root'}; run: apt-get install"
            " -y --no-install-recommends dovecot-imapd dovecot-lmtpd postfix",
            pytrace=False,
        )


def _program(name: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path) or ""


def _free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(_PORTS, sockets, strict=True)}


def _write(root: Path) -> MailServer:
    """Everything both servers need, under ``root``."""
    ports = _free_ports()
    root.chmod(0o755)  # the servers' own users look inside
    for name, owner in (
        ("mail", "mail"),
        ("users", "root"),
        ("data", "postfix"),
        ("spool", "root"),
    ):
        (root / name).mkdir()
        shutil.chown(root / name, owner)
    write_certificates(root, HOST)
    (root / "dovecot.conf").write_text(
        _DOVECOT.format(root=root, narrow=NARROW_HOST, quota=QUOTA, **ports)
    )
    postfix = root / "postfix"
    postfix.mkdir()
    (postfix / "main.cf").write_text(_MAIN_CF.format(root=root, **ports))
    (postfix / "master.cf").write_text(_MASTER_CF.format(small_limit=SMALL_LIMIT, **ports))
    (postfix / "domains").write_text("/^([^@]+\\.)?example$/ ok\n/\\.example$/ ok\n")
    (postfix / "recipients").write_text("!/^nobody/ ok\n")
    (postfix / "senders").write_text("/^(.+)$/ $1\n")
    server = MailServer(root, ports)
    for number in range(50):
        server.add_user(f"site{number}@mail.example")
    return server


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    """Dovecot and Postfix with the users ``site0`` to ``site49@mail.example``."""
    _require("dovecot", "postfix")
    # short: unix sockets lie in it
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp", ignore_cleanup_errors=True) as name:
        server = _write(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()
