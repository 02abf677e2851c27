"""Change a configuration file as an operator would: one section more, all else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mailsync.config.loading import load, parse
from mailsync.errors import BadConfiguration, UsageError
from mailsync.files import not_written, replace_file
from mailsync.names import NAME_RULE, is_name


def add_peer(path: Path, name: str, card: Path, datasets: Sequence[str] | None) -> None:
    """Add the section ``[peers.NAME]``; comments and order stay, the file is replaced whole.

    ``datasets`` None: the link carries all. Raises ``UsageError`` if the peer is there already
    or the name is no name, ``BadConfiguration`` if the file is or would become wrong,
    ``DiskFull`` or ``OperatorError`` if it cannot be written.
    """
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415  slow, and for this alone

    if not is_name(name):
        raise UsageError(f'peer name "{name}": must be {NAME_RULE}')
    settings = load(path)
    if name in settings.peers:
        raise UsageError(f"{path} has a section [peers.{name}] already")
    try:
        content = _with_peer(path, name, card, datasets)
    except TOMLKitError as error:
        raise BadConfiguration(f"{path} cannot be edited: {error}") from error
    edited = parse(content, path)
    if edited.model_copy(update={"peers": settings.peers}) != settings:
        raise BadConfiguration(f"{path} cannot be edited safely; add [peers.{name}] by hand")
    try:
        replace_file(path, content)
    except OSError as error:
        raise not_written(path, error) from error


def _with_peer(path: Path, name: str, card: Path, datasets: Sequence[str] | None) -> bytes:
    import tomlkit  # noqa: PLC0415  slow, and for this alone

    document = tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
    section = tomlkit.table()
    section["card"] = _as_written(card, path.absolute().parent)
    if datasets is not None:
        section["datasets"] = list(datasets)
    if "peers" not in document:
        document["peers"] = tomlkit.table(is_super_table=True)
    document["peers"][name] = section
    return tomlkit.dumps(document).encode()


def _as_written(card: Path, base: Path) -> str:
    """Relative where it can be, so that the directory can be moved as a whole."""
    absolute = base / card
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(card)
