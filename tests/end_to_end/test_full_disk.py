"""A file system that fills up, at the far end of a link and during an export.

``RLIMIT_FSIZE`` makes every write beyond a size fail, as a full disk does.
"""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from mailsync.errors import Exit
from tests.end_to_end.carriers import happenings, linked, listening
from tests.end_to_end.site_directory import (
    COMMAND_SECONDS,
    SiteDirectory,
    environment,
    eventually,
    pair_of_sites,
)
from tests.end_to_end.test_daemon import Pair, await_equal
from tests.servers.mail import MailServer

PHOTO_BYTES = 900_000


@pytest.fixture
def sites(mail_server: MailServer, tmp_path: Path) -> Pair:
    ship, shore = pair_of_sites(mail_server, tmp_path)
    for site, peer in ((ship, "shore"), (shore, "ship")):
        site.set_for_peer(peer, 'link_poll = "1s"')
    for number in range(3):
        ship.insert(f"photo {number} {os.urandom(PHOTO_BYTES).hex()}")
    return ship, shore


def limit(process: subprocess.Popen[bytes], size: int) -> None:
    """From now on no file of the process may grow beyond this."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))


def test_what_the_other_end_has_no_room_for_stays_here_until_it_has(sites: Pair) -> None:
    ship, shore = sites
    with listening(shore) as (full, place):
        limit(full, PHOTO_BYTES // 2)
        with ship.running("--json", "link", "connect", "shore", "--address", place):
            eventually(lambda: happenings(shore, "down"), why=shore.complained)
            assert full.poll() is None  # it goes on, and says why
    assert "cannot write the state store" in " ".join(happenings(shore, "down"))
    assert "Traceback" not in shore.complained() + ship.complained()
    assert shore.defects() == []
    with linked(sites):
        await_equal(ship, shore)
    assert len(shore.defects()) == 3


def export(site: SiteDirectory, stick: Path, size: int | None) -> subprocess.CompletedProcess[str]:
    def full() -> None:
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        site.command("bundle", "export", "shore", stick),
        cwd=site.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        preexec_fn=full,
    )


def test_an_export_on_a_full_disk_says_so_and_the_next_one_goes_on(
    sites: Pair, tmp_path: Path
) -> None:
    ship, shore = sites
    stick = tmp_path / "stick"
    stick.mkdir()
    assert export(ship, stick, None).returncode == 0
    first = {path.name: path.stat().st_size for path in stick.iterdir()}
    ship.insert("small")
    done = export(ship, stick, 100)
    assert done.returncode == Exit.TEMPORARY, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.stat().st_size for path in stick.iterdir()} == first
    assert export(ship, stick, None).returncode == 0
    shore.run("bundle", "import", stick)
    assert shore.defects() == ship.defects()
