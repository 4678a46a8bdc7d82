"""What a server announced in its answer to EHLO or LHLO (RFC 5321 section 4.1.1.1), read with suspicion."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["NO_EXTENSIONS", "Extensions"]

# RFC 5321 section 4.5.3.1.7: a server takes 64 kB at least; a smaller SIZE is a mistake, and the server's own answer will say so
_LEAST_SIZE = 64 * 1024
_MAX_MECHANISMS = 32


class Extensions(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The service extensions of one server.

    `size` in octets, None where unknown (absent, 0 or nonsense). `mail_max`, `rcpt_max` and `rcpt_domain_max` are
    LIMITS (RFC 9422), None where none is set. `auth` holds mechanisms in upper case. `deliver_by` is the least time of DELIVERBY in
    seconds (RFC 2852), 0 where the server names none, None where it does not offer it.
    """

    pipelining: bool = False
    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    chunking: bool = False
    binarymime: bool = False
    dsn: bool = False
    enhanced: bool = False
    starttls: bool = False
    requiretls: bool = False
    deliver_by: int | None = None
    priorities: bool = False
    auth: tuple[str, ...] = ()
    mail_max: int | None = None
    rcpt_max: int | None = None
    rcpt_domain_max: int | None = None

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Extensions:
        """Read the lines behind the greeting line. What cannot be understood is left out, never an error."""
        words: dict[str, list[str]] = {}
        for line in lines:
            # "AUTH=LOGIN" is how it was written before there was a standard
            keyword, *arguments = line.upper().replace("AUTH=", "AUTH ", 1).split()[: _MAX_MECHANISMS + 1] or [""]
            words.setdefault(keyword, []).extend(arguments)
        limits = _limits(words.get("LIMITS", ()))
        chunking = "CHUNKING" in words
        return cls(
            pipelining="PIPELINING" in words,
            size=_size(words.get("SIZE", ())),
            eight_bit="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            chunking=chunking,
            # RFC 3030 section 3: BINARYMIME is of no use without CHUNKING
            binarymime=chunking and "BINARYMIME" in words,
            dsn="DSN" in words,
            enhanced="ENHANCEDSTATUSCODES" in words,
            starttls="STARTTLS" in words,
            requiretls="REQUIRETLS" in words,
            deliver_by=_number(next(iter(words["DELIVERBY"]), "")) or 0 if "DELIVERBY" in words else None,
            priorities="MT-PRIORITY" in words,
            auth=tuple(dict.fromkeys(words.get("AUTH", ())))[:_MAX_MECHANISMS],
            mail_max=limits.get("MAILMAX"),
            rcpt_max=limits.get("RCPTMAX"),
            rcpt_domain_max=limits.get("RCPTDOMAINMAX"),
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _size(arguments: Iterable[str]) -> int | None:
    size = _number(next(iter(arguments), ""))
    return size if size is not None and size >= _LEAST_SIZE else None


def _limits(arguments: Iterable[str]) -> dict[str, int]:
    """Read `name=value` pairs; a limit of 0 would forbid all mail and is no limit (RFC 9422 section 4: 1*6DIGIT, not zero)."""
    limits = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        number = _number(value)
        if number:
            limits[name] = number
    return limits


NO_EXTENSIONS = Extensions()
