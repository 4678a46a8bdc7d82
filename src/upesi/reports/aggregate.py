"""The XML of an aggregate report (RFC 9990 section 3.1 and appendix A): what a domain's name was used for in mail to us on one day.

All text in it is from outside and is escaped; characters that XML cannot have become "?". Nothing is read here: reports that others send
to us are ordinary mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

import msgspec

from upesi.mailauth.observation import MethodSaid, Observation, Published

__all__ = ["AggregateReport", "aggregate_xml"]

_NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
_GENERATOR = "Upesi"
# RFC 9990 section 3.1.1.2: of the format; many who read reports look for it first
_VERSION = "1.0"

# XML 1.0 section 2.2: Char
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# the words that the schema knows; whatever else a method says is told as the nearest of them
_DKIM_RESULTS = frozenset(("none", "pass", "fail", "policy", "neutral", "temperror", "permerror"))
_SPF_RESULTS = frozenset(("none", "pass", "fail", "softfail", "policy", "neutral", "temperror", "permerror"))


class AggregateReport(msgspec.Struct, frozen=True):
    """One report. `organization` and `contact` are who we are, `begins` and `ends` seconds of Unix, `lost` messages in no row."""

    id: str
    organization: str
    contact: str
    begins: int
    ends: int
    published: Published
    rows: tuple[tuple[Observation, int], ...]
    lost: int = 0


def aggregate_xml(report: AggregateReport) -> bytes:
    """Return the document, in UTF-8. It needs a row: there is no report of nothing."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<feedback xmlns="{_NAMESPACE}">',
        _element("version", _VERSION),
    ]
    lines += _metadata(report)
    lines += _policy(report.published)
    for observation, count in report.rows:
        lines += _record(observation, count)
    lines.append("</feedback>\n")
    return "\n".join(lines).encode()


def _metadata(report: AggregateReport) -> Iterator[str]:
    yield "<report_metadata>"
    yield _element("org_name", report.organization)
    yield _element("email", report.contact)
    yield _element("report_id", report.id)
    yield f"<date_range>{_element('begin', report.begins)}{_element('end', report.ends)}</date_range>"
    # one element at the most, whatever there is to say
    yield from _optional("error", "; ".join(_errors(report)))
    yield _element("generator", _GENERATOR)
    yield "</report_metadata>"


def _errors(report: AggregateReport) -> Iterator[str]:
    if report.published.faulty:
        yield "the record has no valid p, or an sp or np that is not valid, and counts as p=none"
    if report.lost:
        yield f"{report.lost} more messages were seen, in more rows than are kept"


def _policy(published: Published) -> Iterator[str]:
    yield "<policy_published>"
    yield _element("domain", published.domain)
    yield _element("p", published.p)
    yield from _optional("sp", published.sp)
    yield from _optional("np", published.np)
    yield _element("adkim", published.adkim)
    yield _element("aspf", published.aspf)
    yield _element("discovery_method", "treewalk")
    yield from _optional("fo", published.fo)
    yield _element("testing", "y" if published.testing else "n")
    yield "</policy_published>"


def _record(observation: Observation, count: int) -> Iterator[str]:
    yield "<record>"
    yield from _row(observation, count)
    yield "<identifiers>"
    yield _element("header_from", observation.header_from)
    yield from _optional("envelope_from", observation.envelope_from)
    yield "</identifiers>"
    yield "<auth_results>"
    for said in observation.dkim:
        yield "<dkim>" + "".join(_signature(said)) + "</dkim>"
    for said in observation.spf:
        result = said.result if said.result in _SPF_RESULTS else "permerror"
        domain = _element("domain", said.domain)
        yield f"<spf>{domain}{_element('scope', 'mfrom')}{_element('result', result)}</spf>"
    yield "</auth_results>"
    yield "</record>"


def _row(observation: Observation, count: int) -> Iterator[str]:
    yield "<row>"
    yield _element("source_ip", observation.source)
    yield _element("count", count)
    yield "<policy_evaluated>"
    yield _element("disposition", observation.disposition)
    yield _element("dkim", "pass" if observation.dkim_aligned else "fail")
    yield _element("spf", "pass" if observation.spf_aligned else "fail")
    if observation.override:
        comment = "".join(_optional("comment", observation.comment))
        yield f"<reason>{_element('type', observation.override)}{comment}</reason>"
    yield "</policy_evaluated>"
    yield "</row>"


def _signature(said: MethodSaid) -> Iterator[str]:
    yield _element("domain", said.domain)
    yield _element("selector", said.selector)
    yield _element("result", said.result if said.result in _DKIM_RESULTS else "permerror")


def _optional(name: str, text: str) -> Iterator[str]:
    if text:
        yield _element(name, text)


def _element(name: str, text: str | int) -> str:
    return f"<{name}>{escape(_NOT_XML.sub('?', str(text)))}</{name}>"
