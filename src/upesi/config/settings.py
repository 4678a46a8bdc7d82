"""Every section of the configuration, with its defaults; each default that a reader could doubt is argued beside it.

The structs are immutable; a reload builds new ones. `docs/reference/configuration.md` is generated from this file, `route_settings.py` and
`account_settings.py`: the docstring of a struct is the section's text, the comment above or beside a field is the field's.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from upesi.config.account_settings import AuthMechanism, AuthSettings, CredentialsSettings, OauthSettings, SenderRule
from upesi.config.route_settings import ProgramSettings, RouteSettings
from upesi.config.section import Section
from upesi.config.timeouts import Timeouts
from upesi.config.units import Duration, Rate, Size
from upesi.mail.tls import TlsLevel

__all__ = [
    "AuthMechanism",
    "AuthSettings",
    "ClientCertificates",
    "Config",
    "ControlSettings",
    "CredentialsSettings",
    "DeliverySettings",
    "DestinationSettings",
    "DnsSettings",
    "EtrnSettings",
    "LimitsSettings",
    "ListenerAuth",
    "ListenerSettings",
    "ListenerTls",
    "LogFormat",
    "LogSettings",
    "MetricsSettings",
    "NodeSettings",
    "OauthSettings",
    "OverloadSettings",
    "PluginsSettings",
    "ProgramSettings",
    "Reaction",
    "ReportsSettings",
    "Role",
    "RouteSettings",
    "SenderRule",
    "SmtpSettings",
    "SpoolSettings",
    "SubmissionSettings",
    "Timeouts",
    "TlsSettings",
]


class NodeSettings(Section, frozen=True, kw_only=True):
    """This machine."""

    # the name in the greeting, in HELO and in Received; empty: the machine's own name
    name: str = ""
    # worker processes, each complete; 0: one per processor
    workers: int = 0
    # the user to become after binding when started as root; empty: stay
    user: str = ""
    # how long a worker that is told to stop may finish what it holds
    drain: Duration = Duration("30s")


class SpoolSettings(Section, frozen=True, kw_only=True):
    """Where mail waits. The folder belongs to one instance, which locks it."""

    # the folder; on a disk that survives the machine
    path: str = "var/spool"
    # below this much free space new mail is answered 452; what is queued goes on being delivered
    min_free: Size = Size("100MB")
    # bodies up to this size live in the database, larger ones in files beside it (QUEUE.md: measured)
    inline_limit: Size = Size("128kB")
    # how long the history of ended messages is kept for `upesi trace`
    history: Duration = Duration("2d")
    # beside a slow disk, answer 250 as soon as the receivers of all recipients have taken the mail, before our own record of it is synced
    cut_through: bool = True


class Role(StrEnum):
    """What a listener is for."""

    MX = "mx"
    SUBMISSION = "submission"
    LMTP = "lmtp"


class ListenerTls(StrEnum):
    """Where TLS begins on a listener."""

    NONE = "none"
    STARTTLS = "starttls"
    REQUIRED = "required"
    IMPLICIT = "implicit"


class ClientCertificates(StrEnum):
    """What a listener wants of its clients' certificates."""

    IGNORE = "ignore"
    ASK = "ask"
    REQUIRE = "require"


class ListenerAuth(Section, frozen=True, kw_only=True):
    """AUTH on one listener."""

    # whether clients may authenticate here, once `auth` says who can
    enabled: bool = True
    # also on links without TLS, where everybody on the way can read passwords: for loopback, a VPN, or behind a proxy that has ended TLS
    without_tls: bool = False


class ListenerSettings(Section, frozen=True, kw_only=True):
    """One listening address."""

    # an IP address; "0.0.0.0" and "::" are all of the machine's
    address: str = "127.0.0.1"
    # 0: one that the kernel picks (tests)
    port: int = 2525
    # mx: SMTP for everybody; submission: RFC 6409, for our own users, who authenticate; lmtp: RFC 2033, one reply for each recipient
    role: Role = Role.MX
    # what events and metrics call it; empty: address and port
    name: str = ""
    # open sessions over all workers; beyond them 421 4.3.2. A session costs about 6 kB, so this is about 60 MB
    max_sessions: int = 10_000
    # waiting connections in the kernel
    backlog: int = 1024
    # none; starttls: offered (RFC 3207); required: no mail before STARTTLS, which no public MX may ask for; implicit: from the first
    # octet (RFC 8314), as on port 465
    tls: ListenerTls = ListenerTls.NONE
    # a folder of certificates for this listener alone; empty: `tls.certificates`
    certificates: str = ""
    # certificates of clients: ignore, ask (one that cannot be verified ends the handshake, none does not) or require
    client_certificates: ClientCertificates = ClientCertificates.IGNORE
    # a PEM file with those who may sign clients' certificates; to ask for certificates without it would let anybody's in
    client_authorities: str = ""
    # networks of the proxies that begin each connection with a PROXY header (versions 1 and 2), which names the client. Where some are
    # listed, every connection to this listener must come from them, with a header
    proxy: tuple[str, ...] = ()
    # networks that may say who their client is, for everything that follows (XCLIENT): believed like the connection itself
    xclient: tuple[str, ...] = ()
    # networks that may say, for the log, where each message came from (XFORWARD): a filter behind which we stand
    xforward: tuple[str, ...] = ()
    auth: ListenerAuth = ListenerAuth()


class Reaction(StrEnum):
    """What is done about a client that talks out of turn."""

    NOTE = "note"
    DELAY = "delay"
    REFUSE = "refuse"


class SmtpSettings(Section, frozen=True, kw_only=True):
    """The server side of SMTP and LMTP."""

    # announced as SIZE (RFC 1870); larger ones get 552
    max_message_size: Size = Size("50MB")
    # RFC 5321 section 4.5.3.1.8: at least 100; excess gets 452 and comes again later
    max_recipients: int = 1000
    # errors in one session after which each reply is delayed by a second
    soft_errors: int = 10
    # errors after which the session ends with 421
    hard_errors: int = 20
    # commands in one session that bring no mail nearer (NOOP, RSET, VRFY, EHLO, ...)
    max_idle_commands: int = 100
    # all commands of one session: a bound on sessions that never end
    max_commands: int = 200_000
    # octets per second that message data must reach after `min_rate_after`: a drip feed holds a session, not us
    min_rate: Size = Size(500)
    # how long message data may take before its rate counts, and how long in all a session may leave a command line unfinished
    min_rate_after: Duration = Duration("60s")
    # how long the greeting waits for clients that talk before it (not for networks that `limits.exempt` names); 0s: greeted at once
    greeting_pause: Duration = Duration("20ms")
    # what is done about clients that talk before the greeting: note (plugins see it), delay (every reply waits) or refuse (554)
    early_talk: Reaction = Reaction.NOTE
    # what is done about clients that send on behind HELO, EHLO or DATA without awaiting the answer
    improper_pipelining: Reaction = Reaction.NOTE
    # how long each reply waits to a client that is delayed
    delay: Duration = Duration("2s")
    # replies that wait at once in one worker; beyond them clients are answered at once: a delay must never hold us
    max_delayed: int = 2000
    # message data in memory of all sessions and workers; beyond it bodies are written to disk as they come
    memory: Size = Size("128MB")
    # addresses and headers in UTF-8 (RFC 6531)
    smtputf8: bool = True
    # BDAT (RFC 3030)
    chunking: bool = True
    # whether a message may ask, by "TLS-Required: No" in its header (RFC 8689), to go in clear where TLS fails, whatever `[[destination]]`
    # says. The policies there are yours and not the receiver's, so a sender does not change them unless you let him
    relax_tls: bool = False
    # octets of the header section; longer ones get 552 5.3.4. Plugins see as much of it and no more, so nothing can hide behind it;
    # Exchange has about the same bound. Lists of hundreds of recipients and dozens of trace fields stay below 100 kB
    max_header_size: Size = Size("250kB")
    # fields of the header section; more get 554 5.6.0. Honest mail has some tens, with every trace of a long way some hundreds
    max_header_fields: int = 5000
    # messages of one session, announced as MAILMAX (RFC 9422); beyond them 421, and the client connects again. 0: as many as it likes
    max_messages: int = 0
    # VRFY: true answers 252 whoever is asked about (RFC 5321 section 7.3), false 502
    vrfy: bool = True
    # delivery status notifications (RFC 3461): announced, so that senders may ask for notices of success and delay, or for none at all.
    # Those who ask unasked are understood all the same
    dsn: bool = True
    # the least time within which a sender may ask for delivery or return (DELIVERBY, RFC 2852). One try, and one more if a connection
    # breaks, need about a minute; a promise below that would return mail that is only on its way. 0: not offered
    deliver_by: Duration = Duration("1m")
    # how long a submission listener holds mail that is to go later (FUTURERELEASE, RFC 4865): a month covers what people plan, and is a
    # bound on what one may leave lying in the queue. Kept over restarts. 0: not offered
    future_release: Duration = Duration("30d")
    timeouts: Timeouts = Timeouts()


class TlsSettings(Section, frozen=True, kw_only=True):
    """TLS on the way in: TLS 1.2 and 1.3, without renegotiation and compression. docs/guide.md says what a folder of certificates holds."""

    # the folder of certificates and their keys; a client that names a host gets the one for that name
    certificates: str = "certificates"
    # how often the folder is looked at; new certificates are taken over when they are whole and good
    watch: Duration = Duration("30s")
    # ciphers of TLS 1.2 in OpenSSL's words; empty: those with forward secrecy
    ciphers: str = ""
    # handshakes under way in one worker; beyond them 454 4.7.0, or the connection is closed. One holds about 30 kB and 1 ms of a processor
    max_handshakes: int = 3000
    # of these, from one client (IPv6: one /64): seventy-five clients together can keep all of them. An honest one is over in a second, so
    # this is many users behind one address, all at once
    max_client_handshakes: int = 40


class SubmissionSettings(Section, frozen=True, kw_only=True):
    """Listeners with the role submission (RFC 6409): mail of our own users, who must authenticate."""

    # leave the user's address and HELO name out of the Received field: they say where somebody lives
    hide_client: bool = False
    # messages of one user; beyond them MAIL gets 450 4.7.1. A stolen password is worth as much as it can send
    user_messages: Rate = Rate("1000/1h")
    # recipients of one user; beyond them RCPT gets 452 4.5.3
    user_recipients: Rate = Rate("5000/1h")


class EtrnSettings(Section, frozen=True, kw_only=True):
    """ETRN (RFC 1985): a site that was away asks for the mail that waits for it here. Off while nobody is named."""

    # networks that may ask
    networks: tuple[str, ...] = ()
    # authenticated users that may ask
    identities: tuple[str, ...] = ()
    # the domains whose queues may be started; ".example.com" is every domain below. Empty: any
    domains: tuple[str, ...] = ()


class LimitsSettings(Section, frozen=True, kw_only=True):
    """What one client may do, counted over all workers and sessions. Each default is argued in docs/limits.md."""

    # networks to which none of these limits apply: our own machines, and relays that speak for many
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    # addresses that count as one client: those that share the first so many bits
    ipv4_prefix: int = 32
    # a /64 is what a provider gives to one customer, so a single address would be no limit at all
    ipv6_prefix: int = 64
    # open at once; beyond them 421 4.7.0. 0: no limit
    connections: int = 50
    # opened; beyond them 421 4.7.0
    connection_rate: Rate = Rate("600/1m")
    # mail transactions; beyond them MAIL gets 450 4.7.1
    messages: Rate = Rate("6000/1m")
    # RCPT commands; beyond them 452 4.5.3
    recipients: Rate = Rate("30000/1m")
    # replies 5xx; beyond them the session ends with 421 4.7.0, and further ones until the window has passed
    errors: Rate = Rate("300/10m")
    # recipients that do not exist (5.1.1); beyond them every RCPT gets 450 4.7.1, so that guessing tells nothing more
    unknown_recipients: Rate = Rate("100/10m")
    # RCPT commands that ask for a notice of success (NOTIFY=SUCCESS), of clients that neither relay nor have logged in; beyond them
    # 452 4.5.3. Notices go to whoever stands in MAIL FROM
    notices: Rate = Rate("300/10m")


class OverloadSettings(Section, frozen=True, kw_only=True):
    """When a worker is overloaded, and what is shorter then for clients of listeners with the role mx (docs/operating.md, "Overload")."""

    # the part in use of all sessions, of memory or of descriptors at which it begins
    enter: float = 0.9
    # below this part of each it ends again
    leave: float = 0.7
    # or the event loop is late by so much, on average over a second; it ends below half of it
    lag: Duration = Duration("500ms")
    # for how long all must be well before it ends
    calm: Duration = Duration("10s")
    # memory of one worker that counts as all of it; beyond it new mail gets 452 4.3.1. 64MB at least, or 0: half of the machine's, divided
    # by the workers
    memory: Size = Size(0)
    # part of all sessions that is kept for listeners with the role submission and for networks that `limits.exempt` names
    reserve: float = 0.1
    # instead of `smtp.timeouts.command`
    command: Duration = Duration("10s")
    # instead of `smtp.timeouts.data_block`
    data_block: Duration = Duration("30s")
    # instead of `smtp.hard_errors`
    hard_errors: int = 3
    # instead of `smtp.max_idle_commands`
    max_idle_commands: int = 10
    # instead of `smtp.min_rate_after`
    min_rate_after: Duration = Duration("10s")


class PluginsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which plugins run. Their own settings stand in `[plugins.NAME]`."""

    # names of bundled or installed plugins, or of files in `folder`; this is also the order where nothing else declares one
    enabled: tuple[str, ...] = ("max_hops", "relay", "aliases", "recipients")
    # the operator's own plugin files
    folder: str = "plugins"
    settings: dict[str, dict[str, object]] = {}


class DestinationSettings(Section, frozen=True, kw_only=True):
    """What is asked of TLS on the way to some destinations. The first table that names the domain decides; "*" is the default of all.

    "none": never; "may": where it is offered, plaintext where it is not or fails; "encrypt": always, mail waits where it cannot be;
    "verify": always, and the server must show a certificate that is trusted and bears the right name. Without any table: "may".
    """

    # "example.com", ".example.com" (below it), "[192.0.2.1]", "*": of recipients' addresses, or the hosts of routes that name one
    domains: tuple[str, ...] = ()
    # hosts that MX records lead to, written likewise: for these it can only become stricter, since whoever forges DNS names the host
    hosts: tuple[str, ...] = ()
    # "none", "may", "encrypt" or "verify"
    tls: TlsLevel = TlsLevel.MAY
    # verify: names of which the certificate must bear one: "example.com", ".example.com" (below it), "mx" (the host that DNS named: no
    # protection from forged DNS). Empty: the domain itself or a name below it; for routes that name a host and for `hosts`, the host
    tls_names: tuple[str, ...] = ()
    # verify: a PEM file with the authorities to be trusted; empty: those of the system
    tls_authorities: str = ""
    # a PEM file with a certificate, its chain and its key, to be shown when the server asks
    tls_certificate: str = ""


class DeliverySettings(Section, frozen=True, kw_only=True):
    """Sending."""

    # everything without a route of its own goes here ("smtp://HOST:PORT", "smtps://HOST:PORT"); empty: by MX
    smarthost: str = ""
    # log in at the smarthost under this name, as for a route
    smarthost_user: str = ""
    # as for a route
    smarthost_password_file: str = ""
    # connections to one site at once, over all workers; large receivers take 20, small ones are hurt by more
    site_connections: int = 20
    # connections to all sites at once, over all workers
    connections: int = 1000
    # messages sent over one connection before it is closed
    connection_messages: int = 1000
    # how long a kept connection waits for more; receivers hang up after five minutes at the latest
    connection_idle: Duration = Duration("5s")
    # recipients in one transaction (RFC 5321 section 4.5.3.1.8: a server takes at least 100)
    transaction_recipients: int = 100
    # waits between tries; the last one repeats (RFC 5321 section 4.5.4.1: 30 minutes at least after the early ones)
    retry: tuple[Duration, ...] = (
        Duration("5m"),
        Duration("15m"),
        Duration("30m"),
        Duration("1h"),
        Duration("2h"),
        Duration("4h"),
    )
    # each wait is lengthened by up to this part of itself, so that mail put off together does not return together
    jitter: float = 0.2
    # RFC 5321 section 4.5.4.1: at least four to five days
    expire: Duration = Duration("5d")
    # how long mail waits until its sender is told, once; after that it is tried on until `expire`. Greylisting, a restart or a short outage
    # are over in four hours and need no notice; whoever has heard nothing after half a working day can still telephone. Told are those
    # who asked (NOTIFY=DELAY, RFC 3461), and senders at a submission listener: nobody else, for a stranger's address may be forged.
    # 0: nobody
    delay_notice: Duration = Duration("4h")
    # loopback and private addresses found by MX or A are refused unless allowed: a stranger's DNS must not steer us into our own network
    allow_private: bool = False
    # deliveries held in memory by one worker, the rest waits in the spool
    memory_deliveries: int = 10_000
    # message data held in memory by one worker for mail that was just accepted
    memory_bodies: Size = Size("32MB")
    # for handing one message to a web service (a route "https://..."), with all that it does before it answers
    http_timeout: Duration = Duration("2m")
    # port for MX delivery; 25 except in tests
    port: int = 25


class DnsSettings(Section, frozen=True, kw_only=True):
    """Asking DNS."""

    # "ADDRESS" or "ADDRESS:PORT"; empty: those of /etc/resolv.conf
    servers: tuple[str, ...] = ()
    # believe every server that says that DNSSEC vouches for an answer, and not only those on this machine: the way to it must be safe from
    # whoever could forge it
    trusted: bool = False
    # for one lookup, all tries and servers together
    timeout: Duration = Duration("5s")
    # answers kept; one above 512 octets counts as several
    cache_size: int = 10_000
    # how long beyond its lifetime an answer is given while no server answers (RFC 8767 advises one to three days); 0s: never
    serve_stale: Duration = Duration("1d")
    # ask in random capitals, which a forger must guess too; of use with servers that are reached over a network where others can send
    mix_case: bool = False
    # lookups that the checks of one message, or of a session before it, may ask for; what is known counts nothing. SPF and DMARC at their
    # own limits need about 150, honest mail ten
    max_per_message: int = 200
    # how long they may wait for those, all together
    message_timeout: Duration = Duration("20s")


class ReportsSettings(Section, frozen=True, kw_only=True):
    """Reports to domains whose DMARC record asks for them (RFC 9990, RFC 9991), of what the plugin dmarc found (docs/senders.md)."""

    # whether they are sent. What the plugin keeps is forgotten after three days all the same
    send: bool = True
    # the address in their From field, where people can ask about them; empty: postmaster at `node.name`, for which SPF and DMARC pass by
    # the server's own name. They go out with the null reverse-path, so nothing bounces
    sender: str = ""
    # who sends them, in words; empty: `node.name`
    organization: str = ""
    # they are sent within so long behind midnight (UTC), each domain's always at the same time: not all servers at once
    spread: Duration = Duration("4h")
    # failure reports (RFC 9991), for which the plugin dmarc has a switch. Each rate holds over all workers, and cannot be "none":
    # about mail of one policy domain
    failures_of_domain: Rate = Rate("10/1h")
    # to addresses at one domain
    failures_to_destination: Rate = Rate("30/1h")
    # in all
    failures: Rate = Rate("100/1h")


class LogFormat(StrEnum):
    """How events are written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogSettings(Section, frozen=True, kw_only=True):
    """Events: one per session, transaction and attempt."""

    # auto: console on a terminal, JSON lines elsewhere
    format: LogFormat = LogFormat.AUTO
    # a file to append to; empty: standard error
    file: str = ""


class MetricsSettings(Section, frozen=True, kw_only=True):
    """Prometheus metrics and health for the whole machine, on one local port."""

    # an IP address; what is shown is nobody's secret, and nobody else's business
    address: str = "127.0.0.1"
    # 0: none
    port: int = 2580


class ControlSettings(Section, frozen=True, kw_only=True):
    """The Unix socket of the supervisor; only this user and root may speak to it."""

    # empty: control.sock in the spool's folder
    socket: str = ""


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    node: NodeSettings = NodeSettings()
    spool: SpoolSettings = SpoolSettings()
    listener: tuple[ListenerSettings, ...] = (ListenerSettings(),)
    smtp: SmtpSettings = SmtpSettings()
    submission: SubmissionSettings = SubmissionSettings()
    etrn: EtrnSettings = EtrnSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitsSettings = LimitsSettings()
    overload: OverloadSettings = OverloadSettings()
    tls: TlsSettings = TlsSettings()
    credentials: tuple[CredentialsSettings, ...] = ()
    plugins: PluginsSettings = PluginsSettings()
    route: tuple[RouteSettings, ...] = ()
    program: tuple[ProgramSettings, ...] = ()
    destination: tuple[DestinationSettings, ...] = ()
    delivery: DeliverySettings = DeliverySettings()
    dns: DnsSettings = DnsSettings()
    reports: ReportsSettings = ReportsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    control: ControlSettings = ControlSettings()
