"""What mailsync takes on a small device: start-up and memory, and its time beside vdirsyncer's.

Two sites with folders of cards exchange them through a shared folder, each command a process of its
own. Start-up is processor time over that of ``python -c pass``; memory is a process's peak, in MiB.
vdirsyncer keeps two folders in step without signatures, history, merging or a peer; it comes from
``scripts/dav-peers``. Run: ``python -m benchmarks.handheld [--cards N] [--rounds N] [--json]``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.invention import contact
from benchmarks.options import options_of
from mailsync.datasets.texts.vcard import new_card

ROOT: Final = Path(__file__).parent.parent
VDIRSYNCER: Final = ROOT / ".venv-dav" / "bin" / "vdirsyncer"
MIB: Final = 1024

_SECTIONS: Final = """
[datasets.crew]
source = "vcard:crew"
[peers.{peer}]
card = "{peer}.card"
carrier = ["folder"]
folder_out = "{out}"
folder_in = "{inward}"
acknowledge_after = "1s"
"""

_VDIRSYNCER: Final = """
[general]
status_path = "status"
[pair crew]
a = "here"
b = "there"
collections = null
conflict_resolution = "a wins"
[storage here]
type = "filesystem"
path = "here"
fileext = ".vcf"
[storage there]
type = "filesystem"
path = "there"
fileext = ".vcf"
"""


_MAILSYNC: Final = """
from pathlib import Path
from mailsync.cli import main
try:
    main()
finally:
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    Path("peak").write_text(peak)
"""
"""It tells its own peak: that of the operating system begins with that of the process before."""


class Cost(NamedTuple):
    """Of a process: seconds of processor time, and its peak of memory in MiB, if it told it."""

    seconds: float
    memory: float


def run(words: Sequence[str | Path], folder: Path) -> Cost:
    """Run a command to its end, which must be a good one."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, env=_environment())
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{words} in {folder} failed")
    told = folder / "peak"
    peak = int(told.read_text()) / MIB if told.exists() else 0.0
    told.unlink(missing_ok=True)
    return Cost(usage.ru_utime + usage.ru_stime, peak)


def mailsync(*arguments: str) -> list[str]:
    """The command line of mailsync."""
    return [sys.executable, "-c", _MAILSYNC, "--quiet", *arguments]


def write_cards(folder: Path, count: int, seed: int) -> None:
    """Invented cards in a folder."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    for number in range(count):
        texts = {name: str(value) for name, value in contact(chance, f"{number:05}").items()}
        (folder / f"{number:05}.vcf").write_bytes(new_card(texts, b"\r\n"))


def edit_cards(folder: Path, share: int) -> None:
    """Write a new note into one of so many cards."""
    for number, file in enumerate(sorted(folder.glob("*.vcf"))):
        if number % share == 0:
            text = file.read_text().replace("END:VCARD", f"NOTE:edited {number}\nEND:VCARD")
            file.write_text(text)


def make_sites(directory: Path) -> list[Path]:
    """Two sites that know each other."""
    directory.mkdir()
    sites = [directory / name for name in ("ship", "office")]
    for site in sites:
        site.mkdir()
        urls = ["--imap", "imap://localhost", "--smtp", "smtp://localhost"]
        address = f"{site.name}@site.example"
        run(mailsync("init", "--site", site.name, "--address", address, *urls), site)
    for site, other in (sites, sites[::-1]):
        card = other / f"{site.name}.card"
        run(mailsync("pair", "card", "-o", str(card)), site)
        out, inward = (directory / f"from-{one.name}" for one in (site, other))
        out.mkdir()
        file = site / "mailsync.toml"
        head, _, rest = file.read_text().partition("[mail]")  # no server has a part in this
        sections = _SECTIONS.format(peer=other.name, out=out, inward=inward)
        file.write_text(f"{head}# A dataset{rest.partition('# A dataset')[2]}{sections}")
        (site / "crew").mkdir()
    return sites


def sync(sites: Sequence[Path]) -> list[Cost]:
    """One cycle at each."""
    return [run(mailsync("sync"), site) for site in sites]


def idle_daemon(site: Path) -> float:
    """MiB that a daemon holds once its first cycle is over."""
    process = subprocess.Popen(
        mailsync("daemon"), cwd=site, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=_environment(),
    )  # fmt: skip
    try:
        before, still = -1.0, 0
        while still < 4:
            time.sleep(1)
            now = _processor_seconds(process.pid)
            still, before = (still + 1, now) if now - before < 0.05 else (0, now)
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / MIB
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def vdirsyncer(directory: Path, cards: int) -> dict[str, Cost]:
    """The same work by vdirsyncer: first synchronization, no change, 1 % changed."""
    write_cards(directory / "here", cards, 1)
    (directory / "there").mkdir()
    (directory / "config").write_text(_VDIRSYNCER)
    command = [str(VDIRSYNCER), "--verbosity", "ERROR", "-c", "config"]
    subprocess.run([*command, "discover"], cwd=directory, check=True, capture_output=True)
    costs = {"start": run([*command, "--version"], directory)}
    for what in ("first", "no change", "1 %"):
        if what == "1 %":
            edit_cards(directory / "here", 100)
        costs[what] = run([*command, "sync"], directory)
    return costs


def measure(cards: int, rounds: int, directory: Path) -> dict[str, float]:
    """Every figure by its name."""
    sites = make_sites(directory / "sites")
    bare = median(run([sys.executable, "-c", "pass"], directory).seconds for _ in range(rounds))
    found = {}
    for name in ("--version", "status", "sync"):
        started = [run(mailsync(name), sites[0]) for _ in range(rounds)]
        found[f"{name}: x python -c pass"] = median(one.seconds for one in started) / bare
        found[f"{name}: MiB"] = median(one.memory for one in started)
    nothing = 2 * found["sync: x python -c pass"] * bare
    write_cards(sites[0] / "crew", cards, 1)
    costs = {"first": sync(sites)}
    for what, peak in zip(("sending", "receiving"), costs["first"], strict=True):
        found[f"{cards} cards, {what}: MiB"] = peak.memory
    sync(sites)  # confirmations
    costs["no change"] = sync(sites)
    edit_cards(sites[0] / "crew", 100)
    costs["1 %"] = sync(sites)
    held = [{file.read_text() for file in (site / "crew").iterdir()} for site in sites]
    if len(held[0]) != cards or held[0] != held[1]:
        raise RuntimeError("the sites do not hold the same cards")
    found["daemon at rest: MiB"] = idle_daemon(sites[0])
    rival = vdirsyncer(directory, cards) if VDIRSYNCER.exists() else {}
    for what, ours in costs.items():
        spent = sum(one.seconds for one in ours)
        found[f"{cards} cards, {what}, both sites: x python -c pass"] = spent / bare
        if rival:
            theirs = rival[what].seconds
            net = max(theirs - rival["start"].seconds, 0.001)
            found[f"{cards} cards, {what}: x vdirsyncer, start-up included"] = spent / theirs
            found[f"{cards} cards, {what}: x vdirsyncer, without start-up"] = (
                max(spent - nothing, 0.0) / net
            )
    return found


def _processor_seconds(process: int) -> float:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MAILSYNC_CONFIG"}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a figure."""
    parser = options_of(__doc__, cards=10_000, rounds=5)
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="handheld-"))
    try:
        found = measure(options.cards, options.rounds, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:60} {value:8.2f}")


if __name__ == "__main__":
    main()
