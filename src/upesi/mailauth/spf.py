"""Sender Policy Framework: may this client send for this domain (RFC 7208, check_host)?

The domain says so in a record of DNS, whose author may be anybody: whatever the record asks us to look up is counted (section 4.6.4), and
at the limit the answer is "permerror". Pure: `check_host` is a generator that asks (`upesi.mailauth.asking`).

It does not decide what becomes of the mail: that is for plugins, and for DMARC, which hears of a pass for one of its domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from upesi.mail.address import Address
from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.spf_macros import Macro, MacroString, SpfSyntaxError, macro_string, name_from, possible, text_from
from upesi.mailauth.spf_record import Mechanism, SpfRecord, SpfRecords, SpfResult, selected

__all__ = [
    "MAX_HOSTS",
    "MAX_LOOKUPS",
    "MAX_READ",
    "MAX_VOID",
    "SpfIdentity",
    "SpfOutcome",
    "SpfResult",
    "check_host",
    "helo_identity",
    "mail_identity",
]

# RFC 7208 section 4.6.4: terms that ask DNS, of those terms that found nothing, and hosts behind one "mx" or "ptr"
MAX_LOOKUPS = 10
MAX_VOID = 2
MAX_HOSTS = 10
# Octets of all records of one check. Eleven of the longest, of nothing but terms, would take 0.1 s to read; eleven honest ones have 5,000
MAX_READ = 24_576

_VOID = (Status.NXDOMAIN, Status.NODATA)
_ALL6 = (1 << 128) - 1


class SpfIdentity(msgspec.Struct, frozen=True):
    """Who is to be checked: `domain` is the identity's, `local` and `sender_domain` make the address that macros show.

    `client` is the client's address as text; `receiver` our name and `now` Unix seconds, for explanations.
    """

    client: str
    helo: str
    local: str
    domain: str
    kind: str = "mailfrom"
    receiver: str = "unknown"
    now: int = 0

    @property
    def sender(self) -> str:
        """The address in question, as `%{s}` shows it."""
        return f"{self.local}@{self.domain}"


class SpfOutcome(msgspec.Struct, frozen=True):
    """What a check found.

    `mechanism` is the term that matched, as it was written; `explanation` what the domain says to whom it wants refused, printable ASCII
    and not ours; `problem` what is wrong, for logs and for Received-SPF.
    """

    result: SpfResult
    identity: SpfIdentity
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""


def helo_identity(client: str, helo: str, *, receiver: str = "unknown", now: int = 0) -> SpfIdentity:
    """Return the HELO identity: the name that the client gave, as if postmaster had sent (section 2.3)."""
    return SpfIdentity(client, helo, "postmaster", helo, "helo", receiver, now)


def mail_identity(
    client: str, helo: str, reverse_path: Address | None, *, receiver: str = "unknown", now: int = 0
) -> SpfIdentity:
    """Return the MAIL FROM identity; of the null reverse-path it is postmaster at the HELO name (section 2.4)."""
    if reverse_path is None:
        return SpfIdentity(client, helo, "postmaster", helo, "mailfrom", receiver, now)
    return SpfIdentity(client, helo, reverse_path.local, reverse_path.domain, "mailfrom", receiver, now)


def check_host(identity: SpfIdentity, records: SpfRecords | None = None, *, explain: bool = True) -> Asking[SpfOutcome]:
    """Ask whether the client may send for the identity's domain. Of a client without an address (a Unix socket) nobody can say: NONE.

    `records` keeps what was read for the next check; without `explain` no explanation is fetched.
    """
    try:
        check = _Check(identity, records if records is not None else SpfRecords())
    except ValueError:
        return SpfOutcome(SpfResult.NONE, identity, problem="the client has no address")
    domain = identity.domain.removesuffix(".")
    try:
        found = yield from check.evaluate(domain)
    except _Ended as ended:
        return SpfOutcome(ended.result, identity, ended.mechanism, problem=ended.problem)
    said = ""
    if explain and found.result is SpfResult.FAIL and found.explanation is not None:
        said = yield from check.explained(found.explanation, found.domain)
    return SpfOutcome(found.result, identity, found.mechanism, said)


class _Ended(Exception):
    """The check is over, with an error."""

    def __init__(self, result: SpfResult, problem: str) -> None:
        super().__init__(problem)
        self.result = result
        self.problem = problem
        self.mechanism = ""


def _broken(problem: str) -> _Ended:
    return _Ended(SpfResult.PERMERROR, problem)


class _Found(msgspec.Struct, frozen=True):
    """What one record says: which term of it matched, and who explains it."""

    result: SpfResult
    mechanism: str = ""
    domain: str = ""
    explanation: MacroString | None = None


_NONE = _Found(SpfResult.NONE)
_DEFAULT = _Found(SpfResult.NEUTRAL, "default")


class _Check:
    """One check: the client's address as a number, and what has been looked up."""

    __slots__ = (
        "_address",
        "_domain",
        "_identity",
        "_kind",
        "_lookups",
        "_names",
        "_number",
        "_read",
        "_records",
        "_six",
        "_void",
    )

    def __init__(self, identity: SpfIdentity, records: SpfRecords) -> None:
        address = ip_address(identity.client)
        # a client that came by IPv4 is one wherever its address is written as IPv6 (section 5)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        self._address: IPv4Address | IPv6Address = address
        self._number = int(address)
        self._six = address.version == 6
        self._kind = "AAAA" if self._six else "A"
        self._identity = identity
        self._records = records
        self._lookups = 0
        self._void = 0
        self._read = 0
        # the record's domain, for %{d}
        self._domain = ""
        # validated names of the client, for "ptr" and %{p}: asked for once
        self._names: list[str] | None = None

    def evaluate(self, domain: str) -> Asking[_Found]:
        """Apply the record of `domain` (section 4.6); NONE where there is none."""
        record = yield from self._record(domain)
        if record is None:
            return _NONE
        for mechanism in record.mechanisms:
            kind = mechanism.kind
            # the two that need no DNS, and are most of all terms, cost no generator
            if kind == "ip4":
                matches = not self._six and self._number & mechanism.mask4 == mechanism.network
            elif kind == "ip6":
                matches = self._six and self._number & mechanism.mask6 == mechanism.network
            elif kind == "all":
                matches = True
            else:
                matches = yield from self._asked(mechanism, domain)
            if matches:
                return _Found(mechanism.result, mechanism.text, domain, record.explanation)
        if record.redirect is None:
            return _DEFAULT
        # the whole check goes on there, with its domain and its explanation (section 6.1)
        self._count("redirect")
        target = yield from self._target(record.redirect, domain)
        found = _NONE if target is None else (yield from self.evaluate(target))
        if found is _NONE:
            raise _broken("redirect leads to no record")
        return found

    def _record(self, domain: str) -> Asking[SpfRecord | None]:
        """Return the record of `domain` (section 4.4 and 4.5), None where it has none or is no domain (section 4.3)."""
        if not _is_domain(domain):
            return None
        answer = yield Question(_quoted(domain), "TXT")
        if answer.status.trouble:
            raise _Ended(SpfResult.TEMPERROR, f"DNS did not say TXT of {domain}")
        records = selected(answer.texts)
        if not records:
            return None
        if len(records) > 1:
            raise _broken(f"{domain} has several records")
        self._read += len(records[0])
        if self._read > MAX_READ:
            raise _broken(f"the records have more than {MAX_READ} octets in all")
        try:
            return self._records.read(records[0])
        except SpfSyntaxError as error:
            raise _broken(f"record of {domain}: {error}") from None

    def _asked(self, mechanism: Mechanism, domain: str) -> Asking[bool]:
        """Whether a mechanism that asks DNS matches."""
        self._count(mechanism.text)
        target: str | None = domain
        if mechanism.target is not None:
            target = yield from self._target(mechanism.target, domain)
        try:
            if mechanism.kind == "include":
                return (yield from self._include(target))
            # a name that DNS cannot hold does not exist (section 4.3)
            if target is None:
                return False
            return (yield from _KINDS[mechanism.kind](self, target, mechanism))
        except _Ended as ended:
            ended.mechanism = mechanism.text
            raise

    def _include(self, target: str | None) -> Asking[bool]:
        found = _NONE if target is None else (yield from self.evaluate(target))
        if found is _NONE:
            raise _broken("include leads to no record")
        return found.result is SpfResult.PASS

    def _a(self, target: str, mechanism: Mechanism) -> Asking[bool]:
        answer = yield from self._lookup(target, self._kind)
        return self._among(answer.texts, mechanism)

    def _mx(self, target: str, mechanism: Mechanism) -> Asking[bool]:
        answer = yield from self._lookup(target, "MX")
        hosts = [record.exchange for record in sorted(answer.mx) if record.exchange]
        for host in hosts[:MAX_HOSTS]:
            addresses = yield Question(host, self._kind)
            if addresses.status.trouble:
                raise _Ended(SpfResult.TEMPERROR, f"DNS did not say {self._kind} of {host}")
            if self._among(addresses.texts, mechanism):
                return True
        if len(hosts) > MAX_HOSTS:
            raise _broken(f"{target} has more than {MAX_HOSTS} MX hosts")
        return False

    def _exists(self, target: str, mechanism: Mechanism) -> Asking[bool]:
        # of IPv6 clients too (section 5.7)
        answer = yield from self._lookup(target, "A")
        return answer.status is Status.OK

    def _ptr(self, target: str, mechanism: Mechanism) -> Asking[bool]:
        names = yield from self._validated(counted=True)
        wanted = target.lower()
        return any(name == wanted or name.endswith(f".{wanted}") for name in names)

    def _count(self, what: str) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _broken(f"more than {MAX_LOOKUPS} terms that ask DNS, at {what[:80]}")

    def _lookup(self, name: str, kind: str) -> Asking[Answer]:
        answer = yield Question(_quoted(name), kind)
        if answer.status.trouble:
            raise _Ended(SpfResult.TEMPERROR, f"DNS did not say {kind} of {name}")
        self._note_void(answer)
        return answer

    def _note_void(self, answer: Answer) -> None:
        if answer.status in _VOID:
            self._void += 1
            if self._void > MAX_VOID:
                raise _broken(f"more than {MAX_VOID} terms found nothing in DNS")

    def _among(self, texts: Sequence[str], mechanism: Mechanism) -> bool:
        mask = mechanism.mask6 if self._six else mechanism.mask4
        wanted = self._number & mask
        kind: type[IPv4Address] | type[IPv6Address] = IPv6Address if self._six else IPv4Address
        return any(int(kind(text)) & mask == wanted for text in texts)

    def _validated(self, *, counted: bool = False) -> Asking[list[str]]:
        """Return the client's names that lead back to it (section 5.5). An error is no name: its owner is not the domain's."""
        if self._names is not None:
            return self._names
        self._names = []
        answer = yield Question(self._address.reverse_pointer, "PTR")
        if counted:
            self._note_void(answer)
        exactly = Mechanism(SpfResult.PASS, "a", "", mask4=(1 << 32) - 1, mask6=_ALL6)
        for claimed in answer.texts[:MAX_HOSTS]:
            name = claimed.removesuffix(".").lower()
            addresses = yield Question(name, self._kind)
            if self._among(addresses.texts, exactly):
                self._names.append(name)
        return self._names

    def _target(self, parts: MacroString, domain: str) -> Asking[str | None]:
        """Expand a domain-spec; None where it is no name."""
        if self._names is None and _wants_name(parts):
            # %{p} counts with the terms that ask DNS (section 4.6.4)
            self._count("%{p}")
            yield from self._validated()
        self._domain = domain
        return name_from(parts, self._value)

    def explained(self, parts: MacroString, domain: str) -> Asking[str]:
        """Return what `domain` says to those that it wants refused (section 6.2), "" where there is anything wrong with it."""
        if self._names is None and _wants_name(parts):
            yield from self._validated()
        self._domain = domain
        name = name_from(parts, self._value)
        if name is None:
            return ""
        answer = yield Question(_quoted(name), "TXT")
        if answer.status is not Status.OK or len(answer.texts) != 1:
            return ""
        try:
            text = macro_string(answer.texts[0], explanation=True)
        except SpfSyntaxError:
            return ""
        if self._names is None and _wants_name(text):
            yield from self._validated()
        return text_from(text, self._value)

    def _value(self, letter: str) -> str:
        identity = self._identity
        match letter:
            case "d":
                return self._domain
            case "i":
                return self._dotted()
            case "l":
                return identity.local or "postmaster"
            case "o":
                return identity.domain
            case "s":
                return f"{identity.local or 'postmaster'}@{identity.domain}"
            case "h":
                return identity.helo
            case "v":
                return "ip6" if self._six else "in-addr"
            case "p":
                return self._shown_name()
            case "c":
                return str(self._address)
            case "r":
                return identity.receiver
        return str(identity.now)

    def _dotted(self) -> str:
        """The address in dots: of IPv6, every nibble (section 7.3)."""
        if not self._six:
            return str(self._address)
        return ".".join(f"{self._number:032X}")

    def _shown_name(self) -> str:
        """One validated name: the domain itself before names below it before others (section 7.3)."""
        domain = self._domain.lower()
        names = self._names or []
        below = [name for name in names if name.endswith(f".{domain}")]
        return domain if domain in names else (below or names or ["unknown"])[0]


def _is_domain(name: str) -> bool:
    """Whether this can have a record: several labels, and no address literal (section 4.3)."""
    return "." in name and name[0] != "[" and possible(name)


def _quoted(name: str) -> str:
    # a backslash would be read as the start of an escape, and "a\\.b" as one label: a name from a local part is whatever its sender likes
    return name.replace("\\", "\\\\") if "\\" in name else name


def _wants_name(parts: MacroString) -> bool:
    return any(type(part) is Macro and part.letter == "p" for part in parts)


_KINDS = {"a": _Check._a, "mx": _Check._mx, "exists": _Check._exists, "ptr": _Check._ptr}
