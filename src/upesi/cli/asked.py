"""What a caller of `sendmail` asks to be told of: -N, -R and -V as parameters of MAIL and RCPT (RFC 3461)."""

from __future__ import annotations

import argparse

__all__ = ["add_options", "parameters"]

_WORDS = ("success", "failure", "delay")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the three options, which mean the same to every sendmail."""
    parser.add_argument("-N", dest="notify", default="", metavar="WHEN", help="never, or of success, failure, delay")
    parser.add_argument(
        "-R", dest="ret", default="", metavar="WHAT", help="what a failure notice gives back: full or hdrs"
    )
    parser.add_argument("-V", dest="envid", default="", metavar="ID", help="an id that notices quote")


def parameters(options: argparse.Namespace) -> tuple[str, str]:
    """Return the parameters for MAIL and those for each RCPT; raise ValueError for what they cannot be."""
    mail = f" RET={_ret(options.ret)}" if options.ret else ""
    if options.envid:
        mail += f" ENVID={_xtext(options.envid)}"
    return mail, f" NOTIFY={_notify(options.notify)}" if options.notify else ""


def _notify(text: str) -> str:
    words = text.lower().split(",")
    if words != ["never"] and (len(set(words)) != len(words) or not set(words) <= set(_WORDS)):
        raise ValueError(f"-N takes never, or some of {', '.join(_WORDS)}: {text[:60]!r}")
    return ",".join(words).upper()


def _ret(text: str) -> str:
    if text.lower() not in ("full", "hdrs"):
        raise ValueError(f"-R takes full or hdrs: {text[:60]!r}")
    return text.upper()


def _xtext(text: str) -> str:
    from upesi.protocol.smtp.xtext import encode_xtext

    try:
        encoded = encode_xtext(text)
    except ValueError as error:
        raise ValueError(f"-V: {error}") from None
    if len(encoded) > 100:
        raise ValueError("-V takes an id of at most 100 characters")
    return encoded
