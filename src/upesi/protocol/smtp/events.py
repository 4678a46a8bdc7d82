"""What the server machine says that it has read: small frozen records, one per command, data piece or end.

`upesi.protocol.smtp.server.ServerConnection.next_event` returns them; `session/` answers each command with exactly one reply. A
command that is malformed, unknown to the machine's grammar or out of sequence is not an event: it is raised as
`RemoteProtocolError` with the reply to send.
"""

from __future__ import annotations

import enum

import msgspec

from upesi.mail.address import Address
from upesi.mail.envelope import Transmission
from upesi.mail.reply import Reply
from upesi.protocol.smtp.requests import Requests

__all__ = [
    "NEED_DATA",
    "PAUSED",
    "AuthCommand",
    "AuthResponse",
    "BdatCommand",
    "ChunkEnd",
    "Command",
    "DataChunk",
    "DataCommand",
    "DataEnd",
    "EtrnCommand",
    "Event",
    "ExpnCommand",
    "HeloCommand",
    "HelpCommand",
    "MailCommand",
    "NoopCommand",
    "Pause",
    "QuitCommand",
    "RcptCommand",
    "RsetCommand",
    "StartTlsCommand",
    "UnknownCommand",
    "VrfyCommand",
    "XclientCommand",
    "XforwardCommand",
]


class Pause(enum.Enum):
    """Why there is no event: more octets are needed, or an earlier command still waits for its reply."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA = Pause.NEED_DATA
PAUSED = Pause.PAUSED


class HeloCommand(msgspec.Struct, frozen=True, gc=False):
    """HELO, EHLO or LHLO: `verb` says which, `name` is the checked domain or literal as the client wrote it."""

    verb: str
    name: str


class MailCommand(msgspec.Struct, frozen=True, gc=False):
    """MAIL FROM: reverse-path (None is `<>`), what is kept for the next hop, the declared SIZE, and all parameters as given.

    `requests` are for the session to grant; None for nearly all mail.
    """

    reverse_path: Address | None
    transmission: Transmission
    size: int | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()
    requests: Requests | None = None


class RcptCommand(msgspec.Struct, frozen=True, gc=False):
    """RCPT TO: forward-path, ORCPT (xtext decoded) and NOTIFY as `Notify` bits, None where not given."""

    forward_path: Address
    original: str | None = None
    notify: int | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()


class DataCommand(msgspec.Struct, frozen=True, gc=False):
    """DATA: answer 354 and `DataChunk`s follow up to a `DataEnd`; answer 4xx or 5xx and commands go on."""


class BdatCommand(msgspec.Struct, frozen=True, gc=False):
    """BDAT: `size` octets follow as `DataChunk`s, then `ChunkEnd`, which is what gets the reply (this event gets none)."""

    size: int
    last: bool


class DataChunk(msgspec.Struct, frozen=True, gc=False):
    """Some octets of the message, transparency removed. Gets no reply."""

    data: bytes


class DataEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of the message (CRLF.CRLF). With a `fault` the message must not be kept and `fault` is the reply.

    `size` counts the octets of the message, `eight_bit` says whether one of them was above 127.
    """

    size: int
    eight_bit: bool = False
    fault: Reply | None = None


class ChunkEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of one BDAT chunk; `last` ends the message. `fault` as in DataEnd."""

    size: int
    last: bool
    eight_bit: bool = False
    fault: Reply | None = None


class RsetCommand(msgspec.Struct, frozen=True, gc=False):
    """RSET."""


class NoopCommand(msgspec.Struct, frozen=True, gc=False):
    """NOOP."""


class QuitCommand(msgspec.Struct, frozen=True, gc=False):
    """QUIT."""


class VrfyCommand(msgspec.Struct, frozen=True, gc=False):
    """VRFY with its argument."""

    argument: str


class ExpnCommand(msgspec.Struct, frozen=True, gc=False):
    """EXPN with its argument."""

    argument: str


class HelpCommand(msgspec.Struct, frozen=True, gc=False):
    """HELP with its argument, which may be empty."""

    argument: str


class StartTlsCommand(msgspec.Struct, frozen=True, gc=False):
    """STARTTLS; only when it was announced."""


class AuthCommand(msgspec.Struct, frozen=True, gc=False):
    """AUTH; only where the listener has it. `initial` is the initial response, decoded, None where there is none.

    Answer 334 with a challenge, and an `AuthResponse` follows; any other reply ends the exchange.
    """

    mechanism: str
    initial: bytes | None

    def __repr__(self) -> str:
        # AUT-05: the initial response of PLAIN is the password
        return f"AuthCommand({self.mechanism!r})"


class AuthResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to a challenge, decoded; None where the client cancels. Answered as AuthCommand is."""

    data: bytes | None

    def __repr__(self) -> str:
        return "AuthResponse()"


class EtrnCommand(msgspec.Struct, frozen=True, gc=False):
    """ETRN (RFC 1985): `option` is "", "@" (the domain and all below) or "#" (a queue by its own name), `name` what is asked for."""

    option: str
    name: str


class XclientCommand(msgspec.Struct, frozen=True, gc=False):
    """XCLIENT: who the client is, says whoever stands in front of us. None: not known there."""

    attributes: dict[str, str | None]


class XforwardCommand(msgspec.Struct, frozen=True, gc=False):
    """XFORWARD: where the next message came from, for the log."""

    attributes: dict[str, str | None]


class UnknownCommand(msgspec.Struct, frozen=True, gc=False):
    """A well-formed line whose verb is none of ours; a `command` hook may know it."""

    verb: str
    argument: str


Command = (
    HeloCommand | MailCommand | RcptCommand | DataCommand | RsetCommand | NoopCommand | QuitCommand
    | VrfyCommand | ExpnCommand | HelpCommand | StartTlsCommand | AuthCommand | AuthResponse | UnknownCommand
    | EtrnCommand | XclientCommand | XforwardCommand
)  # fmt: skip
Event = Command | BdatCommand | DataChunk | DataEnd | ChunkEnd
