"""The sections about where mail goes that the operator sends elsewhere than DNS says."""

from __future__ import annotations

from upesi.config.section import Section
from upesi.config.units import Duration

__all__ = ["PLACES", "ProgramSettings", "RouteSettings"]

# what may stand in an argument of a program, as "{recipient}"
PLACES = ("sender", "recipient", "local", "domain", "id")


class RouteSettings(Section, frozen=True, kw_only=True):
    """Where mail for some domains goes. The first match wins; without one it goes by MX, or to `delivery.smarthost`."""

    # "example.com", ".example.com" (below it), "*" (all)
    domains: tuple[str, ...]
    # "mx", "smtp://HOST:PORT", "smtps://HOST:PORT" (TLS from the first octet, port 465), "lmtp://HOST:PORT", "lmtp:///PATH/TO/SOCKET",
    # "maildir:FOLDER" (a Maildir per local part), "pipe:NAME" (a `[[program]]`), "https://HOST/PATH" (POST), "discard"
    to: str
    # log in there under this name, inside TLS only, and to a server whose certificate is right unless a `[[destination]]` says otherwise
    user: str = ""
    # a file, readable by its owner and group only, whose first line is the password; read for each connection. For https:// without a user
    # it is a bearer token
    password_file: str = ""


class ProgramSettings(Section, frozen=True, kw_only=True):
    """A program that mail is handed to, on its standard input, by a route "pipe:NAME". Its exit status says what became of the mail."""

    # what routes call it: letters, digits, ".", "_", "-"
    name: str
    # the program's absolute path and its arguments, never through a shell; {sender}, {recipient}, {local}, {domain} and {id} (of the
    # message) stand for what they say, in arguments only
    command: tuple[str, ...]
    # for each recipient; then it is killed, with all that it started, and tried again later
    deadline: Duration = Duration("5m")
