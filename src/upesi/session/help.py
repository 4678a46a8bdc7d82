"""HELP (RFC 5321 section 4.1.1.8): the verbs of this listener, and how each is spelled."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from upesi.mail.reply import Reply

if TYPE_CHECKING:
    from upesi.session.context import SessionContext

__all__ = ["help_replies", "help_reply"]

_MORE = "HELP VERB says how a verb is spelled; the rest is in RFC 5321"
# RFC 5321 section 4.3.2; plugins have verbs of which nothing is known here
_NO_HELP = Reply.make(504, "5.5.4", "No help about that; HELP alone names the verbs")

# how each verb is spelled, and what it does
_VERBS = MappingProxyType(
    {
        "EHLO": ("EHLO your.host.name", "Begins, and asks for the extensions"),
        "LHLO": ("LHLO your.host.name", "Begins, and asks for the extensions (RFC 2033)"),
        "HELO": ("HELO your.host.name", "Begins without extensions"),
        "STARTTLS": ("STARTTLS", "Goes on under TLS; send EHLO again behind it (RFC 3207)"),
        "AUTH": ("AUTH MECHANISM [initial-response]", "Says who you are (RFC 4954)"),
        "MAIL": (
            "MAIL FROM:<you@your.domain> [SIZE=n] [BODY=8BITMIME] ...",
            "Begins a message; FROM:<> for notices. No blank behind the colon",
        ),
        "RCPT": ("RCPT TO:<somebody@some.domain> [NOTIFY=...] ...", "Names a recipient; once for each"),
        "DATA": ("DATA", "Then the message; a line with one dot ends it, lines that begin with a dot get another"),
        "BDAT": ("BDAT octets [LAST]", "Then so many octets of the message (RFC 3030)"),
        "RSET": ("RSET", "Forgets the message that was begun"),
        "NOOP": ("NOOP", "Does nothing"),
        "VRFY": ("VRFY somebody@some.domain", "Is answered 252 whoever that is"),
        "ETRN": ("ETRN [@]your.domain", "Starts sending what waits for a domain (RFC 1985)"),
        "HELP": ("HELP [verb]", "This"),
        "QUIT": ("QUIT", "Ends the session"),
    }
)


def help_replies(context: SessionContext) -> dict[str, Reply]:
    """Return the answers of one listener by verb; "" is that to HELP alone. Made once: a client can ask for nothing new."""
    verbs = [verb for verb in _VERBS if _offered(context, verb)]
    replies = {verb: Reply.make(214, "2.0.0", *_VERBS[verb]) for verb in verbs}
    replies[""] = Reply.make(214, "2.0.0", " ".join(verbs), _MORE)
    return replies


def _offered(context: SessionContext, verb: str) -> bool:
    limits = context.limits
    offers = {
        "EHLO": not context.lmtp, "HELO": not context.lmtp, "LHLO": context.lmtp, "STARTTLS": limits.starttls,
        "AUTH": bool(limits.auth), "BDAT": limits.chunking, "VRFY": context.settings.vrfy, "ETRN": limits.etrn,
    }  # fmt: skip
    return offers.get(verb, True)


def help_reply(replies: dict[str, Reply], argument: str) -> Reply:
    """Return the answer to HELP with this argument: 504 where nothing is known of it."""
    return replies.get(argument.upper(), _NO_HELP)
