"""Session and Transaction as plugins see them: plain state, kept small (10,000 of them may be open at once).

`session/` fills them in; plugins read them, and leave results and notes. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from upesi.hooks.results import Result, Results
from upesi.mail.address import Address
from upesi.mail.body import Body
from upesi.mail.edits import Edits
from upesi.mail.envelope import Notify, Recipient, Transmission
from upesi.mail.handling import Handling
from upesi.mail.headers import Headers, header_field
from upesi.mail.ids import MessageId
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_edits import PartEdits
from upesi.mail.mime_scan import scan
from upesi.mail.route import QuarantineRoute, Route, check_route
from upesi.mail.security import TlsInfo
from upesi.mail.timing import Timing
from upesi.mailauth.results import MethodResult

if TYPE_CHECKING:
    from upesi.hooks.verdict import Verdict

__all__ = ["NULL_SENDER", "Client", "Listener", "Result", "Session", "Transaction", "TransactionRecipient"]

# What a `mail` hook gets for the null reverse-path (`tx.reverse_path` is None): `sender.domain == "..."` must not fail on bounces
NULL_SENDER: Final = Address("", "")

_UNSENDABLE: Final = "an address cannot hold control characters, nor its domain anything but a name or a literal"


class Listener(Protocol):
    """Hears a message while it comes, so that nobody must read it again (`Transaction.listen`).

    It is called with whatever the network brought, at once: it must be quick, and keep no more than it has bounds for. If one raises, the
    message is answered 451 4.3.0.
    """

    def feed(self, data: bytes) -> None:
        """Take the next octets, transparency removed."""
        ...

    def finish(self) -> None:
        """The last octet has come. Not called for a message that is refused before its end."""
        ...


class Client:
    """The other end: `address` ("192.0.2.1", IPv4-mapped addresses unmapped) and `port`; its name is asked for lazily."""

    __slots__ = ("_hostname", "_resolve", "address", "port")

    def __init__(self, address: str, port: int, resolve: Callable[[str], Awaitable[str | None]] | None = None) -> None:
        self.address = address
        self.port = port
        self._resolve = resolve
        self._hostname: str | None = None

    async def hostname(self) -> str | None:
        """Return the forward-confirmed name of the address, None where there is none."""
        if self._hostname is None and self._resolve is not None:
            self._hostname = await self._resolve(self.address)
        return self._hostname


class Session:
    """One client's session.

    `role` is what the listener is for: "mx", "submission" or "lmtp". `protocol` is "SMTP", "ESMTP" or "LMTP" as the greeting verb
    made it; `relaying` says that this client may send anywhere; `identity` is who authenticated; `tls` says how
    the connection is protected, and whose certificate the client has shown, None in clear; `via` is the address of the proxy that
    named the client, empty where it speaks for itself.
    """

    __slots__ = (
        "_authentication",
        "_notes",
        "_results",
        "client",
        "delay",
        "errors",
        "helo",
        "id",
        "identity",
        "listener",
        "messages",
        "protocol",
        "relaying",
        "role",
        "spending",
        "tls",
        "transaction",
        "via",
    )

    def __init__(self, id: str, client: Client, listener: str, role: str = "mx") -> None:
        self.id = id
        self.client = client
        self.listener = listener
        self.role = role
        self.helo = ""
        self.protocol = "SMTP"
        self.tls: TlsInfo | None = None
        self.identity: str | None = None
        self.relaying = False
        self.errors = 0
        # seconds that each reply waits from now on; plugins may set it. `smtp.max_delayed` bounds how many wait at once
        self.delay = 0.0
        self.messages = 0
        self.transaction: Transaction | None = None
        self.via = ""
        # what `upesi.hooks.dns_budget` counts
        self.spending: object = None
        self._authentication: list[MethodResult] | None = None
        self._results: Results | None = None
        self._notes: dict[str, object] | None = None

    @property
    def has_results(self) -> bool:
        """Whether any were left, without making room for them."""
        return bool(self._results)

    @property
    def results(self) -> dict[str, Result]:
        """What checks of this session found, by name."""
        if self._results is None:
            self._results = Results()
        return self._results

    @property
    def authentication(self) -> list[MethodResult]:
        """What methods found about the client, for Authentication-Results and DMARC."""
        if self._authentication is None:
            self._authentication = []
        return self._authentication

    @property
    def notes(self) -> dict[str, object]:
        """Plugins' own state for this session."""
        if self._notes is None:
            self._notes = {}
        return self._notes


class TransactionRecipient:
    """One accepted recipient; `verdict` set at `message` counts for this one alone.

    `aliased` are the addresses that get the mail in its place: set at RCPT by a plugin that replaces the recipient at `message`. `handling`
    is how this copy is handled; what it does not say, the transaction's says.
    """

    __slots__ = ("_checked", "_parsed", "address", "aliased", "handling", "notify", "original", "route", "verdict")

    def __init__(self, address: Address, original: str | None = None, notify: int | None = None) -> None:
        # parsing makes sure; an Address that a plugin put together was not parsed, and would be a command on the wire
        if not address.sendable:
            raise ValueError(_UNSENDABLE)
        # where the mail goes
        self.address = self._parsed = address
        self.original = original
        self.notify = notify
        self.aliased: tuple[Address, ...] | None = None
        self.route: Route | QuarantineRoute | None = None
        self._checked: Route | QuarantineRoute | None = None
        self.handling: Handling | None = None
        self.verdict: Verdict | None = None

    def routed(self, route: Route | QuarantineRoute) -> None:
        """Let the mail go by `route`, which is the configuration's or was checked when a hook answered it."""
        self.route = self._checked = route

    def check(self) -> None:
        """Raise TypeError or ValueError unless mail can be sent to what now stands in `address`, and by what stands in `route`."""
        if self.address is not self._parsed:
            _check_address(self.address)
        if self.route is not self._checked and self.route is not None:
            try:
                check_route(self.route)
            except TypeError as error:
                raise TypeError(f"the route of {self.address}: {error}") from None

    def recipient(self) -> Recipient:
        """Return what the spool keeps of this."""
        return Recipient(self.address, self.original, self.notify)


def _check_address(address: object) -> None:
    if type(address) is not Address:
        raise TypeError("what stands for an address is none")
    if not address.sendable:
        raise ValueError(_UNSENDABLE)


class Transaction:
    """One mail transaction: envelope, then the message. `body` is None until the whole message is here.

    `edits` are the changes that plugins made: the message stays as it came in (`body`, `headers`), and `edited` is what will be stored and
    sent below our Received field. `timing` is what the
    client asked of time, and got; None for nearly all mail. `submitter` is who submitted it first, as a trusted client says (AUTH of MAIL,
    RFC 4954 section 5): "" where that is not known, None where nothing was said. `handling` is a plugin's word
    on the whole message: priority, lifetime, labels.
    """

    __slots__ = (
        "_authentication",
        "_edits",
        "_expanded",
        "_headers",
        "_mime",
        "_notes",
        "_queued_notes",
        "_results",
        "_sender",
        "body",
        "declared_size",
        "handling",
        "hold",
        "id",
        "listeners",
        "recipients",
        "reverse_path",
        "session",
        "spending",
        "submitter",
        "timing",
        "transmission",
    )

    def __init__(
        self,
        session: Session,
        id: MessageId,
        reverse_path: Address | None,
        transmission: Transmission,
        declared_size: int | None,
    ) -> None:
        self.session = session
        self.id = id
        self.reverse_path = reverse_path
        # as the protocol has read it
        self._sender = reverse_path
        self.transmission = transmission
        self.declared_size = declared_size
        self.submitter: str | None = None
        # why it is to wait for an operator once it is accepted; "" for all mail that may go
        self.hold = ""
        self.handling: Handling | None = None
        self.recipients: list[TransactionRecipient] = []
        self.body: Body | None = None
        self.timing: Timing | None = None
        self.spending: object = None
        # who hears the octets of the message while they come; `listen` adds to them
        self.listeners: tuple[Listener, ...] = ()
        self._authentication: list[MethodResult] | None = None
        self._edits: Edits | None = None
        self._expanded: list[Recipient] | None = None
        self._headers: Headers | None = None
        self._mime: Mime | None = None
        self._results: Results | None = None
        self._notes: dict[str, object] | None = None
        self._queued_notes: dict[str, bytes] | None = None

    def check(self) -> None:
        """Raise TypeError or ValueError unless what plugins left here can be stored, sent, and told of.

        A 250 for a message that could only be quarantined later, or that nobody is to get, would be a loss.
        """
        sender = self.reverse_path
        if sender is not self._sender and sender is not None:
            _check_address(sender)
        if self.body is None:
            raise TypeError("a plugin took the message away: discard by route, or refuse")
        if not self.recipients:
            raise ValueError("a plugin left no recipient: discard by route, or refuse")
        for recipient in self.recipients:
            if type(recipient) is not TransactionRecipient:
                raise TypeError("a plugin left a recipient that is none")
            recipient.check()

    @property
    def recipient_count(self) -> int:
        """How many recipients there are. A plugin may have left anything there, and a session must be able to end: then 0."""
        return len(self.recipients) if type(self.recipients) is list else 0

    def listen(self, listener: Listener) -> None:
        """Let `listener` hear the octets of the message while they come; at `data` only, behind it nothing comes any more."""
        self.listeners += (listener,)

    @property
    def results(self) -> dict[str, Result]:
        """What checks of this transaction found, by name."""
        if self._results is None:
            self._results = Results()
        return self._results

    @property
    def authentication(self) -> list[MethodResult]:
        """What methods found about this message, for Authentication-Results and DMARC."""
        if self._authentication is None:
            self._authentication = []
        return self._authentication

    @property
    def notes(self) -> dict[str, object]:
        """Plugins' own state for this transaction."""
        if self._notes is None:
            self._notes = {}
        return self._notes

    @property
    def has_queued_notes(self) -> bool:
        """Whether any were left, without making room for them."""
        return bool(self._queued_notes)

    @property
    def queued_notes(self) -> dict[str, bytes]:
        """Notes that travel with the message into delivery."""
        if self._queued_notes is None:
            self._queued_notes = {}
        return self._queued_notes

    @property
    def expanded(self) -> tuple[Recipient, ...]:
        """The recipients that `expand` noted."""
        return tuple(self._expanded or ())

    def expand(self, recipient: TransactionRecipient) -> int | None:
        """Note that several others get the mail in place of `recipient`; return the NOTIFY that holds for them.

        A sender who asked to hear of success is told that it was expanded, once, and not by each of them (RFC 3461 section 5.2.7.3).
        """
        if not recipient.notify or not recipient.notify & Notify.SUCCESS:
            return recipient.notify
        if self._expanded is None:
            self._expanded = []
        self._expanded.append(recipient.recipient())
        return recipient.notify & ~int(Notify.SUCCESS)

    @property
    def headers(self) -> Headers:
        """The header fields of the message as it came in; raise LookupError before the whole message is here."""
        if self._headers is None:
            if self.body is None:
                raise LookupError("the message is not here yet: headers can be read from `message` on")
            self._headers = Headers.of(self.body)
        return self._headers

    @property
    def mime(self) -> Mime:
        """The parts of the message as it came in, found when they are first asked for; raise LookupError before it is here."""
        if self._mime is None:
            self._mime = scan(self._arrived(), self.headers)
        return self._mime

    @property
    def added(self) -> tuple[bytes, ...]:
        """The fields that `add_header` made, first on top."""
        return tuple(self._edits.top) if self._edits is not None else ()

    @property
    def edits(self) -> Edits:
        """What plugins changed in the message."""
        if self._edits is None:
            self._edits = Edits()
        return self._edits

    @property
    def has_edits(self) -> bool:
        """Whether anything inside the message was changed, without making room for it; what `add_header` put on top is not inside."""
        return bool(self._edits)

    @property
    def edited(self) -> Body:
        """The message with all changes so far: what is stored and sent below our Received field; raise LookupError before it is here."""
        body = self._arrived()
        return body if self._edits is None else self._edits.view(body)

    def restore(self, body: Body) -> None:
        """Take a body with the same octets in place of the one that the spool has written over; not for plugins."""
        self.body = body
        # its parts read the other one
        self._mime = None

    def _arrived(self) -> Body:
        if self.body is None:
            raise LookupError("the message is not here yet: it can be read and changed from `message` on")
        return self.body

    def add_header(self, name: str, value: str) -> None:
        """Put a field on top of the message, below those added before; raise ValueError for what no header can hold."""
        self.edits.put_on_top(header_field(name, value, utf8=self.transmission.smtputf8))

    def append_header(self, name: str, value: str) -> None:
        """Put a field below the others of the message; raise ValueError for what no header can hold."""
        field = header_field(name, value, utf8=self.transmission.smtputf8)
        self.edits.put_below(field, self.headers.bottom)

    def remove_header(
        self, name: str, position: int | None = None, *, where: Callable[[str], bool] | None = None
    ) -> int:
        """Remove fields of the message as it came in; return how many.

        All of this name, or the one at `position` (0 is the topmost, -1 the lowest), or those whose value satisfies `where`.
        What plugins added is not touched.
        """
        removed = 0
        for start, end in self._chosen(name, position, where):
            if not self.edits.has(start, end):
                removed += 1
            self.edits.replace(start, end, b"")
        return removed

    def replace_header(self, name: str, value: str, position: int = 0) -> bool:
        """Put another value in the place of a field, the topmost if nothing else is said; say whether there was one.

        Raise ValueError for what no header can hold.
        """
        field = header_field(name, value, utf8=self.transmission.smtputf8)
        for start, end in self._chosen(name, position, None):
            self.edits.replace(start, end, field)
            return True
        return False

    def remove_part(self, part: Part) -> None:
        """Take a part of `mime` out of its multipart; raise ValueError where that cannot be, as inside what is signed."""
        self._parts.remove(part)

    def replace_part(self, part: Part, content: bytes, content_type: str | None = None) -> None:
        """Give a part of `mime` other content, and another Content-Type (the whole value) if one is named; raise ValueError."""
        self._parts.replace(part, content, content_type)

    def add_text(self, plain: str, html: str) -> list[str]:
        """Put `plain` at the end of the text that is shown, and `html` at the end of the HTML; return the paths of the changed parts.

        A message that shows no text gets a part with `plain`. What is signed or encrypted stays as it is, and so does what cannot be
        read; a DKIM signature breaks, which is the caller's to consider.
        """
        return self._parts.add_text(plain, html, f"upesi-{self.id.hex()}")

    @property
    def _parts(self) -> PartEdits:
        return PartEdits(self._arrived(), self.mime, self.edits)

    def _chosen(self, name: str, position: int | None, where: Callable[[str], bool] | None) -> list[tuple[int, int]]:
        found = self.headers.placed(name)
        if position is not None:
            found = found[position : position + 1 or None]
        return [span for value, span in found if where is None or where(value)]
