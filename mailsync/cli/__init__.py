"""The command line, one module a command group.

Command modules import what is slow inside their commands: ``mailsync --help`` loads them all.
A command ends normally, raises one of our errors, or ends by ``click.Context.exit`` with a
value of :class:`mailsync.errors.Exit`; this module alone turns errors into words.
"""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import Output
from mailsync.errors import (
    NO_SPACE,
    DiskFull,
    Exit,
    MailsyncError,
    OperatorError,
    OurError,
    UsageError,
)

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "mailsync.cli.setup:init",
        "pair": "mailsync.cli.pair:pair",
        "discover": "mailsync.cli.discover:discover",
        "config": "mailsync.cli.configuration:config",
        "plan": "mailsync.cli.sync:plan",
        "sync": "mailsync.cli.sync:sync",
        "daemon": "mailsync.cli.daemon:daemon",
        "status": "mailsync.cli.status:status",
        "log": "mailsync.cli.status:log",
        "conflicts": "mailsync.cli.conflicts:conflicts",
        "undo": "mailsync.cli.undo:undo",
        "held": "mailsync.cli.held:held",
        "verify": "mailsync.cli.verify:verify",
        "bundle": "mailsync.cli.bundle:bundle",
        "link": "mailsync.cli.link:link",
        "reconcile": "mailsync.cli.reconcile:reconcile",
        "doctor": "mailsync.cli.doctor:doctor",
        "demo": "mailsync.cli.demo:demo",
    }
)
"""Where each command is: its name, then its module and attribute."""

COLLECT_EVERY: Final = 50_000
"""So many more objects than before, and Python looks for those that only refer to each other. Of
records none do, and there are many: at its own pace it would look through all of them again and
again, which takes a sixth of the time.
"""


_BEFORE: Final = frozenset({"--json", "--config", "--quiet", "--verbose", "-c", "-q", "-v"})
"""Options that people write behind the command."""


class Nowhere(OperatorError):
    """Change into a folder that is there, then run the command again."""


class Program(click.Group):
    """The command group that finds its commands by name and ends every error in words."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, loaded now; None if there is none of this name."""
        module_name, _, attribute = COMMANDS.get(cmd_name, "").partition(":")
        if not module_name:
            return None
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name == module_name:
                return None
            raise
        command = getattr(module, attribute)
        return command if isinstance(command, click.Command) else None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run as a program: also where there is no space left for what it says."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            full = DiskFull("no space left for the output")
            with suppress(OSError):
                Output().error(full)
            sys.exit(full.exit_code)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Take the options before the command; a mistake in them ends in words, too."""
        output = Output(json="--json" in args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            _tell(output, error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong in it ends here, in words and an exit code."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            _output_of(ctx).say("mailsync: interrupted")
            ctx.exit(Exit.INTERRUPTED)
        except click.ClickException as error:
            _tell(_output_of(ctx), error)
            raise
        except click.exceptions.Exit:
            raise
        except MailsyncError as error:
            _report(ctx, error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of our output went away; click ends us quietly
            if isinstance(error, OSError) and error.errno in NO_SPACE and error.filename is None:
                raise  # nothing more can be said there
            if isinstance(error, FileNotFoundError) and _is_nowhere():
                _report(ctx, Nowhere("the current folder is not there any more"))
            defect = OurError(f"this is a defect in mailsync: {_one_line(error)}")
            defect.__cause__ = error
            _report(ctx, defect)


@click.command(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    "option",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration file.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No remarks, no progress.")
@click.option("-v", "--verbose", count=True, help="More of what happens; twice for all of it.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _parameter, wanted: _show_version(ctx) if wanted else None,
    help="Show the version and exit.",
)
@click.pass_context
def main(
    ctx: click.Context, option: Path | None, *, as_json: bool, quiet: bool, verbose: int
) -> None:
    """Two-way synchronization of datasets between sites whose only link is e-mail."""
    gc.set_threshold(COLLECT_EVERY)
    ctx.obj = Invocation(option, Output(json=as_json, quiet=quiet))
    if quiet and verbose:
        raise UsageError("-q and -v exclude each other")
    _show_log(verbose)


def _is_nowhere() -> bool:
    """Was the current folder removed? Nothing relative can be found then."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _output_of(ctx: click.Context) -> Output:
    """Also where ``main`` itself did not get to run."""
    known = isinstance(ctx.obj, Invocation)
    return ctx.obj.output if known else Output(json=bool(ctx.params.get("as_json")))


def _tell(output: Output, error: click.ClickException) -> None:
    """The last line for programs; the words are click's."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _BEFORE:
        output.say(f"{error.option_name} goes before the command: mailsync {error.option_name} ...")
    is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)
    output.line(
        "error",
        code=error.exit_code,
        message="Missing command." if is_help else error.format_message(),
        advice=UsageError().advice,
    )


def _show_version(ctx: click.Context) -> None:
    from importlib import metadata  # noqa: PLC0415  slow, and for this option alone

    try:
        click.echo(f"mailsync {metadata.version('mailsync-sets')}")
    except metadata.PackageNotFoundError:  # run from a checkout
        click.echo("mailsync (not installed)")
    ctx.exit()


def _report(ctx: click.Context, error: MailsyncError) -> None:
    if ctx.params.get("verbose") and isinstance(error, OurError):
        traceback.print_exception(error.__cause__ or error, file=sys.stderr)
    _output_of(ctx).error(error)
    ctx.exit(error.exit_code)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _show_log(verbose: int) -> None:
    """Only our own log: mail libraries write passwords into theirs."""
    log = logging.getLogger("mailsync")
    if verbose and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        log.addHandler(handler)
    log.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
