"""Letters and foreign mail for the carriers' tests."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

from mailsync.carriers.base import Letter, Profile
from mailsync.core.container import Kind, frame

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def container(size: int, seed: int = 1) -> bytes:
    """An intact container with ``size`` bytes of any kind, NUL and dots included."""
    return frame(Kind.BUNDLE, random.Random(seed).randbytes(size))


def letter(
    recipient: str,
    content: bytes,
    *,
    number: int = 1,
    part: int = 1,
    parts: int = 1,
    profile: Profile = "robust",
) -> Letter:
    return Letter(
        recipient,
        content,
        f"<{number}@mail.example>",
        f"label{number:03}",
        part,
        parts,
        profile,
    )


def foreign_mail(subject: str = "Crew list", attachment: bytes = b"%PDF-1.4 not ours") -> bytes:
    """A person's mail with an attachment, as mail programs write it."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "Captain <captain@elsewhere.example>"
    mail["To"] = "someone@mail.example"
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{abs(hash(subject))}@elsewhere.example>"
    mail["Date"] = "Mon, 23 Nov 2026 10:00:00 +0000"
    mail.set_content("See attachment.\n")
    mail.add_attachment(attachment, maintype="application", subtype="pdf", filename="crew.pdf")
    return mail.as_bytes()
