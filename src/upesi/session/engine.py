"""One session's engine: its state, its counts, its transaction, and what all verbs share (`verbs.handle` gives it the events).

Every verb has the same three steps: *check* (sequence, limits), *hooks* (`SessionEngine.ask`), *proceed* (effect and reply). The engine
does no I/O and knows no task: what must wait is given back as an `Answer`, and the connection awaits it. It outlives
the client while the spool commits a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from upesi.config.settings import Reaction, Role
from upesi.hooks.begun import Begun
from upesi.hooks.chain import Chain
from upesi.hooks.session import Client, Session, Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.address import Address
from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.mail.route import MaildirRoute
from upesi.mail.security import TlsInfo
from upesi.protocol.smtp.refusals import DataRefused
from upesi.session import replies
from upesi.session.answers import Answer, Slowed, Waiting
from upesi.session.context import SessionContext
from upesi.session.intake import BodyWriter, MemoryFull
from upesi.spool.store import SpoolError, SpoolFull

if TYPE_CHECKING:
    from upesi.protocol.smtp.forwarding import Attributes
    from upesi.session.auth import AuthState
    from upesi.session.forwarding import Trust

__all__ = ["Owner", "SessionEngine", "spool_reply"]

# Refused recipients that one event names: a guesser of names shows in its count of errors, and need not fill the log
_MAX_REFUSED: Final = 5

Subject = TypeVar("Subject")
Opinion = TypeVar("Opinion")


class Owner(Protocol):
    """The connection, as far as its engine knows it."""

    @property
    def pipelined(self) -> bool:
        """Whether octets wait behind the current command."""
        ...

    def answered(self, answer: Answer) -> None:
        """Take the answer that was promised by COMMITTING."""
        ...

    def moved(self, address: str) -> Reply | None:
        """Count another client from now on; return the reply where that one is over its limits."""
        ...


class SessionEngine:
    """One client's session.

    `receiving` says that message data comes now, `octets` how much came in the whole session. `parting` is a 421 to be said
    behind the current reply; `over` says that nothing is to be read any more. `owner` is None once the client is gone.
    """

    __slots__ = (
        "auth",
        "commands",
        "context",
        "fault",
        "forwarded",
        "idle",
        "improper",
        "last_refusal",
        "named",
        "network",
        "octets",
        "origin",
        "over",
        "owner",
        "parting",
        "rcpt_commands",
        "receiving",
        "refused",
        "refuser",
        "session",
        "started",
        "storing",
        "trust",
        "writer",
    )

    def __init__(self, context: SessionContext, owner: Owner, address: str, port: int, network: bytes = b"") -> None:
        self.context = context
        client = Client(address, port, context.resolve)
        self.session = Session(context.ids.next().hex(), client, context.listener, context.role)
        self.owner: Owner | None = owner
        # the client as its limits over all sessions know it; empty where none apply
        self.network = network
        self.started = context.now()
        self.auth: AuthState | None = None
        # what the connection may say of other clients, once it was asked; what XFORWARD said of the next message
        self.trust: Trust | None = None
        self.forwarded: Attributes | None = None
        self.commands = 0
        self.idle = 0
        # the number of the DATA command that was refused with octets waiting behind it, else 0
        self.improper = 0
        self.over = False
        self.parting: Reply | None = None
        # the text before "with" of our Received fields, made with the first message
        self.origin: str | None = None
        self.octets = 0
        # of the transaction that is open
        self.receiving = False
        self.storing = False
        self.writer: BodyWriter | None = None
        self.fault: Reply | None = None
        self.last_refusal: Reply | None = None
        # for the log: whom RCPT refused and why, and which plugin gave the last reply that a plugin refused with
        self.refused: list[str] | None = None
        self.refuser: tuple[Reply, str] | None = None
        # LMTP: whom each RCPT that we took named, for one reply each (RFC 2033 section 4.2)
        self.rcpt_commands: list[TransactionRecipient] | None = None
        # an index of the recipients, once they are many
        self.named: dict[Address | MaildirRoute, TransactionRecipient] | None = None

    # -- what the connection calls

    @property
    def must_log_in(self) -> bool:
        """Whether this client must say who it is before it may send (RFC 6409 section 4.3): its network may not relay."""
        session = self.session
        return self.context.role is Role.SUBMISSION and session.identity is None and not session.relaying

    def violated(self, error: RemoteProtocolError) -> Answer:
        """Answer what the protocol refused by itself: bad syntax, bad sequence, too long."""
        self.commands += 1
        if self.auth is not None:
            # a line that was no answer has ended the exchange
            self.auth.exchange = None
        reply = error.reply or replies.SYNTAX
        if isinstance(error, DataRefused):
            self.note_pipelining("DATA")
        return reply

    def note_pipelining(self, verb: str) -> bool:
        """Take note of a client that sent on behind a verb whose answer it had to await (CMD-22, RFC 2920 section 3.1).

        What comes behind a DATA that was refused may be a message. The first of its lines that is no command ends the session
        (`judge`), and so does the first that would begin or address mail: a message may consist of commands. QUIT and RSET do no harm.
        """
        if self.owner is None or not self.owner.pipelined:
            return False
        self.session.results.setdefault("pipelining", ("fail", f"sent on behind {verb}"))
        if verb == "DATA":
            self.improper = self.commands
        return True

    def out_of_turn(self, verb: str) -> Reply | None:
        """Take note as `note_pipelining` does, and do what the configuration says about it; return the reply that refuses the client."""
        return self.react(self.context.settings.improper_pipelining) if self.note_pipelining(verb) else None

    def react(self, reaction: Reaction) -> Reply | None:
        """Deal with a client that talked out of turn; return the reply that refuses it, None where it may go on."""
        if reaction is Reaction.DELAY:
            self.session.delay = max(self.session.delay, self.context.settings.delay)
        elif reaction is Reaction.REFUSE:
            self.parting = replies.PARTING
            return replies.OUT_OF_TURN
        return None

    def resume(self, waiting: Waiting, opinion: object) -> Answer:
        """Go on behind an asynchronous chain."""
        try:
            return waiting.then(opinion)
        # as in `verbs.handle`
        except BaseException as error:
            return self.failed(error)

    def failed(self, error: BaseException) -> Reply:
        """Log an error of ours and return the reply that ends the session: its text never reaches the client."""
        self.context.emit("session.failed", {"session": self.session.id, "exception": error})
        self.over = True
        return replies.FAILED

    def judge(self, reply: Reply) -> None:
        """Count a reply that is no success, before it is sent. Called off the usual path only.

        Errors are 5xx: a client may well hear many 4xx (greylisting, too many recipients) and be honest.
        """
        session = self.session
        if reply.code == 421:
            self.over = True
            return
        if reply.code >= 400 and session.transaction is not None:
            self.last_refusal = reply
        if reply.code >= 500:
            session.errors += 1
            # said behind the reply, not in its place: a 421 to the end of data would make a refused message come again
            if self.improper and self.commands > self.improper:
                self.parting = replies.IMPROPER_PIPELINING
            elif session.errors >= self.context.settings.hard_errors:
                self.parting = replies.TOO_MANY_ERRORS
            elif self.network and self.context.clients is not None:
                self.parting = self.context.clients.erred(self.network, reply, self.context.listener) or self.parting

    @property
    def slow(self) -> bool:
        """Whether replies are delayed by a second, because of errors."""
        return self.session.errors > self.context.settings.soft_errors

    @property
    def busy(self) -> bool:
        """Whether a mail transaction is under way, which a stopping server lets finish."""
        return self.session.transaction is not None

    def ended(self, reason: str) -> None:
        """The client is gone, or was sent away: end the transaction unless it is being stored, fire `disconnect`, tell what was."""
        self.owner = None
        self.conclude(reason)

    def conclude(self, reason: str) -> None:
        """End the session as hooks and the log know it; the connection may begin another one (XCLIENT)."""
        session = self.session
        if session.transaction is not None and not self.storing:
            self.end_transaction("transaction.refused", reason=reason)
        self.tell(self.context.hooks.disconnect, None)
        self.context.emit(
            "session.ended",
            {
                "session": session.id,
                "client": session.client.address,
                "listener": session.listener,
                "helo": session.helo,
                **({"identity": session.identity} if session.identity is not None else {}),
                **_proxied(session),
                **({} if session.tls is None else _protection(session.tls)),
                "commands": self.commands,
                "messages": session.messages,
                "errors": session.errors,
                "seconds": round(self.context.now() - self.started, 3),
                "reason": reason,
                **_out_of_turn(session),
            },
        )

    # -- what the verbs call

    def ask(
        self,
        chain: Chain[Opinion],
        then: Callable[[SessionEngine, Subject, Opinion | Verdict | None], Answer],
        subject: Subject,
        *arguments: object,
    ) -> Answer:
        """Run `chain` and then `then(self, subject, opinion)`: at once where no hook is asynchronous."""
        if not chain.hooks:
            return then(self, subject, None)
        opinion = chain.run(self.session, self.session.transaction, *arguments)
        if type(opinion) is Begun:
            proceed = cast("Callable[[object], Answer]", partial(then, self, subject))
            return Waiting(opinion, proceed)
        # what is not begun is no awaitable: the chain has looked
        return then(self, subject, opinion)  # type: ignore[arg-type]

    def tell(self, chain: Chain[None], tx: Transaction | None) -> None:
        """Run a chain whose answer nobody waits for."""
        if chain.hooks:
            opinion = chain.run(self.session, tx)
            if opinion is not None and isinstance(opinion, Awaitable):
                self.context.spawn(opinion)

    def refusal(self, opinion: object) -> Reply | None:
        """Return the reply of a verdict that refuses, None for anything else; take note of `disconnect`."""
        if type(opinion) is not Verdict or opinion.kind is VerdictKind.ACCEPT:
            return None
        if opinion.disconnect:
            self.parting = replies.PARTING
        reply = opinion.reply
        if type(reply) is not Reply or reply.code < 400:
            # a verdict that a plugin put together by hand: a refusal is never told as a success
            reply = replies.NOT_STORED
        self.refuser = (reply, opinion.plugin)
        return reply

    def refuse_recipient(self, recipient: object, reply: Reply) -> Reply:
        """Return `reply`, and remember for the transaction's event that `recipient` got it."""
        if self.refused is None:
            self.refused = []
        if len(self.refused) < _MAX_REFUSED:
            plugin = self._plugin_behind(reply)
            self.refused.append(f"{recipient}: {reply} ({plugin})" if plugin else f"{recipient}: {reply}")
        return reply

    def _plugin_behind(self, reply: Reply) -> str:
        return self.refuser[1] if self.refuser is not None and self.refuser[0] is reply else ""

    def idled(self, reply: Reply) -> Reply | Slowed:
        """Return `reply` to a command that brings no mail nearer, or the 421 that ends a session of nothing else."""
        self.idle += 1
        return self.paced(reply) if self.idle <= self.context.settings.max_idle_commands else replies.TOO_MANY_IDLE

    def paced(self, reply: Reply) -> Reply | Slowed:
        """Return `reply`, late once half of the commands without mail are used up (CMD-17): a loop of them costs its client time."""
        return Slowed(reply) if self.idle > (self.context.settings.max_idle_commands + 1) // 2 else reply

    def begin_transaction(self, tx: Transaction) -> None:
        """Open a mail transaction."""
        self.session.transaction = tx
        self.last_refusal = None
        self.fault = None
        self.rcpt_commands = [] if self.context.lmtp else None
        self.named = None

    def end_transaction(self, event: str, *, reason: str = "", size: int = 0, discarded: int = 0) -> None:
        """Close the mail transaction: forget what was received, tell its outcome once, fire `reset`."""
        session = self.session
        tx = session.transaction
        if tx is None:
            return
        session.transaction = None
        self.named = None
        self.receiving = self.storing = False
        self.rcpt_commands = None
        if self.writer is not None:
            self.writer.discard()
            self.writer = None
        fields: dict[str, object] = {
            "id": tx.id.hex(),
            "session": session.id,
            "client": session.client.address,
            "helo": session.helo,
            "reverse_path": "" if tx.reverse_path is None else str(tx.reverse_path),
            "recipients": tx.recipient_count,
            "size": size,
        }
        if session.identity is not None:
            fields["identity"] = session.identity
        if discarded:
            fields["discarded"] = discarded
        if reason:
            fields["reason"] = reason
        if self.last_refusal is not None:
            fields["reply"] = str(self.last_refusal)
            if plugin := self._plugin_behind(self.last_refusal):
                fields["plugin"] = plugin
        if self.refused is not None:
            fields["refused"] = self.refused
            self.refused = None
        if self.forwarded is not None:
            said = (f"{name}={value or '[UNAVAILABLE]'}" for name, value in self.forwarded.items())
            fields["forwarded"] = " ".join(said)
            self.forwarded = None
        context = self.context
        context.emit(event, fields)
        if context.hooks.reset.hooks:
            self.tell(context.hooks.reset, tx)


def _protection(tls: TlsInfo) -> dict[str, object]:
    """Return what the event says of TLS: protocol and cipher, and who the client is by its certificate."""
    return {"tls": str(tls)} if tls.peer is None else {"tls": str(tls), "certificate": tls.peer.subject}


def _proxied(session: Session) -> dict[str, object]:
    """Return what the event says of who stands between the client and us."""
    said: dict[str, object] = {"via": session.via} if session.via else {}
    if session.has_results and "proxy" in session.results:
        said["proxy"] = session.results["proxy"][1]
    return said


def _out_of_turn(session: Session) -> dict[str, object]:
    """Return what the event says of a client that talked before its turn."""
    if not session.has_results:
        return {}
    return {kind: session.results[kind][1] for kind in ("early_talk", "pipelining") if kind in session.results}


def spool_reply(error: SpoolError) -> Reply:
    """Return what a client hears of a store that could not: never 5xx, never the error's text."""
    if isinstance(error, MemoryFull):
        return replies.MEMORY_FULL
    return replies.SPOOL_FULL if isinstance(error, SpoolFull) else replies.NOT_STORED
