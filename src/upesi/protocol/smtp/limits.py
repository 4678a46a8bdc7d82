"""What a server machine allows and announces; built once per listener from the configuration."""

from __future__ import annotations

import msgspec

__all__ = [
    "MAX_AUTH_LINE",
    "MAX_COMMAND_LINE",
    "MAX_FORWARDING_LINE",
    "MAX_MAIL_LINE",
    "MAX_RCPT_LINE",
    "MAX_UNENDED_LINE",
    "ServerLimits",
]

# RFC 5321 section 4.5.3.1.4: octets of a command line with its CRLF. Each extension adds what its parameter can need:
MAX_COMMAND_LINE = 512
_SIZE = 26  # RFC 1870 section 3
_BODY = 17  # RFC 6152 section 2
_SMTPUTF8 = 10  # RFC 6531 section 3.1
_AUTH = 500  # RFC 4954 section 3
_RET, _ENVID = len(" RET=FULL"), len(" ENVID=") + 100  # RFC 3461 section 4.4
# RFC 2852 section 4: by-time has at most nine digits
MAX_BY = 999_999_999
_BY = len(f" BY=-{MAX_BY};NT")
_HOLD = len(" HOLDUNTIL=2026-11-22T10:16:17.123456789+00:00")  # RFC 4865 section 4, RFC 3339
_PRIORITY = len(" MT-PRIORITY=-9")  # RFC 6710 section 3
_REQUIRETLS = len(" REQUIRETLS")  # RFC 8689 section 2
_NOTIFY, _ORCPT = len(" NOTIFY=SUCCESS,FAILURE,DELAY"), len(" ORCPT=") + 500  # RFC 3461 section 4.2
_REQUESTS = _BY + _HOLD + _PRIORITY + _REQUIRETLS
MAX_MAIL_LINE = MAX_COMMAND_LINE + _SIZE + _BODY + _SMTPUTF8 + _AUTH + _RET + _ENVID + _REQUESTS
MAX_RCPT_LINE = MAX_COMMAND_LINE + _SMTPUTF8 + _NOTIFY + _ORCPT
# RFC 4954 section 4: octets of a line of an exchange with its CRLF. The AUTH command itself has 512, but clients with tokens of kilobytes
# (XOAUTH2) put them behind the verb all the same
MAX_AUTH_LINE = 12288
# Postfix's XCLIENT and XFORWARD: a host name and a user of 255 characters each would not fit otherwise
MAX_FORWARDING_LINE = 1024
# a line that has not ended after this many octets never will; the session is ended
MAX_UNENDED_LINE = 64 * 1024


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and extensions of one listener.

    `max_message_size` is in octets. `starttls` and `auth` (names of mechanisms) open the two commands to the session; EHLO names
    them in no case, since who drives the machine knows when they may be offered. `dsn` announces DSN; its parameters are
    understood always. `deliver_by` is the least time of DELIVERBY in seconds and `future_release` the longest for which mail is held; 0
    turns them off. REQUIRETLS and FUTURERELEASE depend on the session and on the time: EHLO names them elsewhere. `blank_after_colon` takes
    `MAIL FROM: <a@b>`, which the grammar forbids and many devices send. `rcpt_max` and `mail_max` are what LIMITS announces (RFC 9422); 0
    announces nothing.
    """

    max_message_size: int
    smtputf8: bool = True
    chunking: bool = True
    dsn: bool = False
    deliver_by: int = 0
    future_release: int = 0
    priorities: bool = False
    requiretls: bool = False
    starttls: bool = False
    auth: tuple[str, ...] = ()
    etrn: bool = False
    rcpt_max: int = 0
    mail_max: int = 0
    blank_after_colon: bool = False

    def ehlo_keywords(self) -> tuple[str, ...]:
        """Return the service extensions for the answer to EHLO, one a line."""
        keywords = ["PIPELINING", f"SIZE {self.max_message_size:d}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.smtputf8:
            keywords.append("SMTPUTF8")
        if self.chunking:
            keywords += ["CHUNKING", "BINARYMIME"]
        if self.dsn:
            keywords.append("DSN")
        if self.deliver_by:
            keywords.append(f"DELIVERBY {self.deliver_by:d}")
        if self.priorities:
            # RFC 6710 section 8: the profile says how many levels there are; this is that of X.400 gateways, and what others announce
            keywords.append("MT-PRIORITY MIXER")
        if self.etrn:
            keywords.append("ETRN")
        limits = {"RCPTMAX": self.rcpt_max, "MAILMAX": self.mail_max}
        if any(limits.values()):
            keywords.append(" ".join(["LIMITS", *(f"{name}={count:d}" for name, count in limits.items() if count)]))
        return tuple(keywords)
