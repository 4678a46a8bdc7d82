"""Rules by what they match: the first one that fits counts, and however many there are, finding it takes a few looks into dictionaries."""

from __future__ import annotations

import enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from upesi.plugin import Pattern, PatternError, domain_from

__all__ = ["Action", "Rule", "Rules", "read_rule"]


class Action(enum.Enum):
    """What a rule does."""

    ALLOW = "allow"
    DENY = "deny"
    DEFER = "defer"


SUBJECTS = ("client", "hostname", "helo", "sender", "recipient", "header")
_MAX_TEXT = 300


class Rule(msgspec.Struct, frozen=True):
    """One rule: `number` is its place, `pattern` as it was written, `text` what a refused client is told, `where` it stands."""

    number: int
    action: Action
    pattern: str
    text: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.action.value} {self.pattern}"


def read_rule(line: str, number: int, where: str) -> tuple[str, Rule]:
    """Read "ACTION SUBJECT PATTERN [TEXT]", for a header "ACTION header NAME PATTERN [TEXT]"; return the subject; raise ValueError.

    A pattern with blanks in it is one between slashes: `/two words/`.
    """
    action, _, rest = line.strip().partition(" ")
    subject, _, rest = rest.strip().partition(" ")
    if action not in {each.value for each in Action}:
        raise ValueError(f"{action!r} is none of {', '.join(each.value for each in Action)}")
    if subject not in SUBJECTS:
        raise ValueError(f"{subject!r} is none of {', '.join(SUBJECTS)}")
    if subject == "header":
        name, _, rest = rest.strip().partition(" ")
        if not name:
            raise ValueError("needs the name of a header field")
        subject = f"header {name.lower()}"
    pattern, text = _pattern(rest.strip())
    if not pattern:
        raise ValueError("needs a pattern")
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise ValueError(f"its text must be one line of at most {_MAX_TEXT} characters")
    return subject, Rule(number, Action(action), pattern, text, where)


def _pattern(rest: str) -> tuple[str, str]:
    if not rest.startswith("/"):
        pattern, _, text = rest.partition(" ")
        return pattern, text.strip()
    # up to the last slash that stands alone: a pattern may have slashes in it, a text rarely has one behind a blank
    end = rest.find("/ ", 1)
    end = end if end > 0 else len(rest) - 1
    if end < 1 or rest[end] != "/":
        raise ValueError("a pattern that begins with / must end with one")
    return rest[: end + 1], rest[end + 1 :].strip()


class Rules:
    """The rules of one subject."""

    __slots__ = ("_everything", "_exact", "_networks", "_patterns", "_subject", "_suffixes")

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._everything: Rule | None = None
        self._exact: dict[str, Rule] = {}
        # by what an address or a name ends in: ".example.com", "@example.com"
        self._suffixes: dict[str, Rule] = {}
        # by version and length of the prefix, then by the first address of the network
        self._networks: dict[tuple[int, int], dict[int, Rule]] = {}
        self._patterns: list[tuple[Pattern, Rule]] = []

    def add(self, rule: Rule) -> None:
        """Add a rule behind the others; raise ValueError for a pattern that this subject cannot have."""
        pattern = rule.pattern
        if pattern.startswith("/"):
            try:
                self._patterns.append((Pattern(pattern[1:-1]), rule))
            except PatternError as error:
                raise ValueError(f"{pattern} {error}") from None
        elif pattern == "*":
            self._everything = self._everything or rule
        elif self._subject == "client":
            self._add_network(ip_network(pattern), rule)
        elif self._subject in ("sender", "recipient"):
            self._add_address(pattern, rule)
        elif self._subject in ("hostname", "helo"):
            self._add_name(pattern, rule)
        else:
            self._exact.setdefault(pattern.lower(), rule)

    def first(self, value: str) -> Rule | None:
        """Return the first rule that fits `value`: an address, a name, the value of a field; `local@domain` for senders and recipients."""
        found = [rule for rule in (self._everything, self._known(value)) if rule is not None]
        best = min(found, key=_number, default=None)
        for pattern, rule in self._patterns:
            if best is not None and rule.number > best.number:
                break
            if pattern.search(value):
                return rule
        return best

    def _known(self, value: str) -> Rule | None:
        if self._subject == "client":
            return self._network(value)
        value = value.lower()
        found = [self._exact.get(value)]
        if self._suffixes:
            found += [self._suffixes.get(end) for end in _ends(value)]
        return min((rule for rule in found if rule is not None), key=_number, default=None)

    def _network(self, text: str) -> Rule | None:
        try:
            address = ip_address(text)
        except ValueError:
            return None
        bits = 32 if address.version == 4 else 128
        found = [
            rules.get(int(address) >> (bits - length) << (bits - length))
            for (version, length), rules in self._networks.items()
            if version == address.version
        ]
        return min((rule for rule in found if rule is not None), key=_number, default=None)

    def _add_network(self, network: IPv4Network | IPv6Network, rule: Rule) -> None:
        rules = self._networks.setdefault((network.version, network.prefixlen), {})
        rules.setdefault(int(network.network_address), rule)

    def _add_address(self, pattern: str, rule: Rule) -> None:
        if pattern == "<>":
            self._exact.setdefault("", rule)
        elif pattern.startswith("@."):
            self._suffixes.setdefault(f".{domain_from(pattern[2:])}", rule)
        elif pattern.startswith("@"):
            self._suffixes.setdefault(f"@{domain_from(pattern[1:])}", rule)
        else:
            local, at, domain = pattern.rpartition("@")
            if not at:
                raise ValueError(f"{pattern!r} is no address; a domain is @{pattern}, all below it @.{pattern}")
            self._exact.setdefault(f"{local}@{domain_from(domain)}".lower(), rule)

    def _add_name(self, pattern: str, rule: Rule) -> None:
        if pattern.startswith("."):
            self._suffixes.setdefault(f".{domain_from(pattern[1:])}", rule)
        else:
            # what a client calls itself need be no name
            self._exact.setdefault(pattern.lower(), rule)


def _ends(value: str) -> list[str]:
    """Return what a rule may name of a value: "@b.example" and ".example" of "a@b.example"."""
    domain = value.rpartition("@")[2]
    ends = [f"@{domain}"]
    while "." in domain:
        domain = domain.partition(".")[2]
        ends.append(f".{domain}")
    return ends


def _number(rule: Rule) -> int:
    return rule.number
