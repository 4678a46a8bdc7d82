"""Answers to EHLO, sane and not."""

from __future__ import annotations

import pytest

from upesi.protocol.smtp.extensions import NO_EXTENSIONS, Extensions


@pytest.mark.parametrize(
    ("lines", "extensions"),
    [
        ([], NO_EXTENSIONS),
        (["PIPELINING", "8bitmime", "SmtpUtf8", "DSN", "STARTTLS", "ENHANCEDSTATUSCODES"],
         Extensions(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, starttls=True, enhanced=True)),
        (["SIZE 1000000"], Extensions(size=1000000)),
        (["SIZE"], NO_EXTENSIONS),
        (["SIZE 0"], NO_EXTENSIONS),
        (["SIZE 1"], NO_EXTENSIONS),
        (["SIZE lots"], NO_EXTENSIONS),
        (["SIZE ²"], NO_EXTENSIONS),
        (["SIZE " + "9" * 5000], NO_EXTENSIONS),
        (["CHUNKING", "BINARYMIME"], Extensions(chunking=True, binarymime=True)),
        (["BINARYMIME"], NO_EXTENSIONS),
        (["AUTH LOGIN plain", "AUTH=LOGIN"], Extensions(auth=("LOGIN", "PLAIN"))),
        (["AUTH " + " ".join(f"X{n}" for n in range(100))], Extensions(auth=tuple(f"X{n}" for n in range(32)))),
        (["LIMITS RCPTMAX=100 MAILMAX=5 RCPTDOMAINMAX=1"], Extensions(rcpt_max=100, mail_max=5, rcpt_domain_max=1)),
        (["LIMITS RCPTMAX=0 MAILMAX=x =5 FOO"], NO_EXTENSIONS),
        (["", "   ", "X-UNKNOWN a b c", "PIPELINING extra"], Extensions(pipelining=True)),
        (["XFOO"] * 500, NO_EXTENSIONS),
    ],
)  # fmt: skip
def test_announcements_are_read_with_suspicion(lines: list[str], extensions: Extensions) -> None:
    """OUT-08, C39: nonsense is left out and never an error; SIZE 0 or absent means unknown."""
    assert Extensions.parse(lines) == extensions
