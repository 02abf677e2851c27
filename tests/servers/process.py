"""Servers as processes in folders of their own, with as few rights as they need."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HOST = "127.0.0.1"
_START_SECONDS = 60.0


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder of the user the server runs as."""
    with tempfile.TemporaryDirectory(prefix="ms-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        yield folder


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that is free now."""
    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        port = int(chosen.getsockname()[1])
    yield port


def unprivileged(words: Sequence[str]) -> list[str]:
    """The command, as nobody where we are root."""
    if os.geteuid() != 0:
        return list(words)
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *words]


def run(folder: Path, *words: str) -> None:
    log = folder / "setup.log"
    with log.open("wb") as output:
        done = subprocess.run(
            unprivileged(words),
            cwd=folder,
            stdout=output,
            stderr=output,
            check=False,
            env=_ENVIRONMENT,
        )
    if done.returncode:
        raise RuntimeError(f"{words[0]}:\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def running(folder: Path, words: Sequence[str], connect: Callable[[str], Any]) -> Iterator[None]:
    """The server, from its first answer on."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=folder, stdout=output, stderr=output, env=_ENVIRONMENT
        )
    try:
        _await(process, log, connect)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], log: Path, connect: Callable[[str], Any]) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            connect("").close()
        except Exception:  # noqa: BLE001  each driver has an error of its own
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no server:\n{log.read_text()[-4000:]}") from None
            time.sleep(0.05)
        else:
            return


def program(name: str, folders: str, package: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([folders, *_PATH]))
    if found is None:
        pytest.fail(f"no {name}; run: apt-get install -y {package}", pytrace=False)
    return found


_PATH = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
_ENVIRONMENT = {"PATH": os.pathsep.join(_PATH), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
