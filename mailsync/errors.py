"""Errors in three families: ours, the peer's, the operator's.

The first line of an error class's docstring is the advice the operator reads below the
message. Every error ends the command with its family's exit code; none shows a traceback.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers by which the system says that a disk is full, or may not hold more of us."""


class Exit(IntEnum):
    """Exit codes of the command line. Other people's scripts rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    CONFLICTS = 4
    TEMPORARY = 5
    SAFETY_STOP = 6
    BAD_CONFIGURATION = 7
    BUDGET_USED_UP = 8
    NOT_INITIALISED = 10
    LOCKED = 11
    LOGIN_REFUSED = 12
    INTERRUPTED = 130


class MailsyncError(Exception):
    """Something went wrong; nothing was lost. Run the command again with -v for more."""

    exit_code = Exit.FAILED

    @property
    def advice(self) -> str:
        """What to do about it, one sentence for the operator."""
        return (type(self).__doc__ or "").split("\n", 1)[0]


# --- our fault -----------------------------------------------------------------------------


class OurError(MailsyncError):
    """This is a defect in mailsync. Your data is as it was; please report it with -v output."""


# --- the peer's fault ----------------------------------------------------------------------


class PeerError(MailsyncError):
    """What arrived could not be used; nothing was changed. The peer's operator should look."""


class BadBundle(PeerError):
    """What arrived is not a bundle of an accepted peer for this site; it was left alone."""


class BadContainer(BadBundle):
    """The mail's attachment was cut or altered on its way; the peer will send again."""


class BadSignature(BadBundle):
    """It was not signed by an accepted peer for this site; nothing of it was used."""


class BadFormat(BadBundle):
    """The bundle is signed but not well formed; the peer may run a newer mailsync."""


# --- the operator's fault ------------------------------------------------------------------


class OperatorError(MailsyncError):
    """Correct what the message names and run the command again."""


class BadConfiguration(OperatorError):
    """Correct the configuration file at the place named, then run: mailsync config check."""

    exit_code = Exit.BAD_CONFIGURATION


class NotInitialised(OperatorError):
    """Run: mailsync init --site NAME --address ADDRESS, or name a configuration with -c FILE."""

    exit_code = Exit.NOT_INITIALISED


class Locked(OperatorError):
    """Another mailsync works on this state store; wait for it, or stop the daemon."""

    exit_code = Exit.LOCKED


class BadCard(OperatorError):
    """Ask the peer for its card again (mailsync pair card -o FILE) by a way you trust."""

    exit_code = Exit.LOGIN_REFUSED


class BadKeys(OperatorError):
    """Key files must be readable by their owner alone: chmod 600 on the file named."""

    exit_code = Exit.LOGIN_REFUSED


class LoginRefused(OperatorError):
    """Check the user name in the URL and the [mail] secret, then run: mailsync doctor."""

    exit_code = Exit.LOGIN_REFUSED


class BadCertificate(OperatorError):
    """Name your own authority with tls_ca under [mail]; verification is never switched off."""

    exit_code = Exit.LOGIN_REFUSED


class Unreachable(OperatorError):
    """Nothing is lost; the next sync tries again. Check the network and mailsync doctor."""

    exit_code = Exit.TEMPORARY


class DatasetError(OperatorError):
    """Nothing of this dataset was changed. Correct its source or its section, then sync again."""

    exit_code = Exit.PARTLY


class DatasetMissing(DatasetError):
    """Check source and table in the dataset's section; mailsync never creates or empties one."""

    exit_code = Exit.BAD_CONFIGURATION


class SafetyStop(DatasetError):
    """Put it right, and all goes on by itself; mailsync held list tells what else can be done."""

    exit_code = Exit.SAFETY_STOP


class DatasetReadOnly(DatasetError):
    """Give this user write permission to the dataset; incoming records wait until then."""


class DatasetBusy(DatasetError):
    """Another program holds the dataset; nothing is lost, the next sync tries again."""

    exit_code = Exit.TEMPORARY


class DatasetUnreachable(DatasetError):
    """Nothing is lost; the next sync tries again. Check host, user and password of its source."""

    exit_code = Exit.TEMPORARY


class DatasetLoginRefused(DatasetError):
    """Check user and password of its source, and that its server lets this user in from here."""

    exit_code = Exit.LOGIN_REFUSED


class DatasetUntrusted(DatasetError):
    """Name the server's own authority with tls_ca in its section; verification is never off."""

    exit_code = Exit.LOGIN_REFUSED


class DiskFull(OperatorError):
    """Free some space and run the command again; what was under way was undone whole."""

    exit_code = Exit.TEMPORARY


class UsageError(OperatorError):
    """See mailsync COMMAND --help."""

    exit_code = Exit.USAGE
