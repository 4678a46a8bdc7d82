"""What all sessions of one listener share; made once by `runtime`. Only `settings` changes: in overload they are harder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from upesi.config.settings import Role, SmtpSettings
from upesi.hooks.registry import Hooks
from upesi.mail.ids import MessageIds
from upesi.mail.reply import Reply
from upesi.protocol.smtp.known import KnownLines
from upesi.protocol.smtp.limits import ServerLimits
from upesi.sasl.authenticator import Authenticator
from upesi.session.clients import Clients
from upesi.session.delays import Delays
from upesi.session.help import help_replies
from upesi.session.intake import Intake
from upesi.session.senders import SenderRules
from upesi.session.trace import Dates
from upesi.session.users import Users
from upesi.tls.acceptor import Acceptor

if TYPE_CHECKING:
    from upesi.session.etrn import QueueStart
    from upesi.session.forwarding import Trusted

__all__ = ["Emit", "SessionContext"]

# name ("transaction.accepted") and fields; called once per session and once per transaction
Emit = Callable[[str, dict[str, object]], None]


class SessionContext:
    """The shared things of a listener's sessions.

    `now` is the wall clock in seconds. `spawn` takes an awaitable that no session waits for (asynchronous `queued`, `reset` and
    `disconnect` hooks) and owns it; the chain bounds its time. `resolve` gives the confirmed name of a client's address. `clients` are the
    limits of one client over all sessions, `users` those of one user. `auth` is None where nobody can authenticate; where it is not,
    `limits.auth` names them. `tls` is None where there is none; `ehlo_reply` and `keywords` are for sessions in clear, their secure twins
    for those under TLS. `trusted` are those who may say who a client is, `etrn` the way to start a queue; both are None where they are
    off. `hide_client` keeps clients out of Received fields.
    """

    __slots__ = (
        "auth",
        "clients",
        "dates",
        "delays",
        "ehlo_reply",
        "emit",
        "etrn",
        "greeting",
        "helo_reply",
        "help",
        "hide_client",
        "hooks",
        "hostname",
        "ids",
        "intake",
        "keywords",
        "known",
        "limits",
        "listener",
        "lmtp",
        "now",
        "resolve",
        "role",
        "secure_ehlo_reply",
        "secure_keywords",
        "senders",
        "settings",
        "spawn",
        "tls",
        "trusted",
        "users",
    )

    def __init__(
        self,
        *,
        hooks: Hooks,
        limits: ServerLimits,
        settings: SmtpSettings,
        hostname: str,
        ids: MessageIds,
        now: Callable[[], float],
        intake: Intake,
        emit: Emit,
        spawn: Callable[[Awaitable[object]], None],
        listener: str = "",
        role: Role = Role.MX,
        resolve: Callable[[str], Awaitable[str | None]] | None = None,
        clients: Clients | None = None,
        delays: Delays | None = None,
        auth: Authenticator | None = None,
        senders: SenderRules | None = None,
        tls: Acceptor | None = None,
        trusted: Trusted | None = None,
        users: Users | None = None,
        etrn: QueueStart | None = None,
        hide_client: bool = False,
    ) -> None:
        self.hooks = hooks
        self.limits = limits
        self.known = KnownLines()
        self.settings = settings
        self.hostname = hostname
        self.ids = ids
        self.now = now
        self.intake = intake
        self.emit = emit
        self.spawn = spawn
        self.listener = listener
        self.role = role
        self.lmtp = lmtp = role is Role.LMTP
        self.resolve = resolve
        self.auth = auth
        self.senders = senders
        self.clients = clients
        self.delays = delays or Delays(settings.max_delayed)
        self.tls = tls
        self.trusted = trusted
        self.users = users
        self.etrn = etrn
        self.hide_client = hide_client
        self.dates = Dates()
        # RFC 3207 section 4.2: STARTTLS is not offered under TLS
        keywords = limits.ehlo_keywords()
        # RFC 8689 section 2: named under TLS only
        self.secure_keywords = (*keywords, "REQUIRETLS") if limits.requiretls else keywords
        self.keywords = (*keywords, "STARTTLS") if limits.starttls else keywords
        # RFC 5321 section 4.3.1: the name comes first in both
        self.greeting = Reply.make(220, "", f"{hostname} {'LMTP' if lmtp else 'ESMTP'}")
        self.helo_reply = Reply.make(250, "", hostname)
        self.ehlo_reply = Reply.make(250, "", hostname, *self.keywords)
        self.secure_ehlo_reply = Reply.make(250, "", hostname, *self.secure_keywords)
        self.help = help_replies(self)
