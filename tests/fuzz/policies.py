"""What is fuzzed of DMARC and of lists in DNS: authors, policy records and the walk, answers of lists."""

from __future__ import annotations

from upesi.mail.address import domain_from
from upesi.mail.answers import Answer, Status
from upesi.mail.headers import Headers
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.dmarc import check_dmarc
from upesi.mailauth.dmarc_record import MAX_URIS, dmarc_record
from upesi.mailauth.dnsxl import MAX_TEXT, ListZone, code_patterns, list_query, said_by, zone_text
from upesi.mailauth.from_domain import Author, author_of
from upesi.mailauth.report_destinations import report_destinations

__all__ = ["authors", "dmarc", "lists"]

# the walk of each of ten domains that passed SPF and DKIM, of four authors, and whether each exists
_MOST_QUESTIONS = 8 * (4 + 20) + 4
# a message has so many TXT records to judge at the most
_MOST_TEXTS = 5
_ZONE = ListZone("bl.example", (), code_patterns({"127.255.255.*": ""}))


def authors(data: bytes) -> None:
    """A header section: one author is found only where there is one field, and their domains are domains."""
    headers = Headers(data)
    found = author_of(headers, data)
    if isinstance(found, Author):
        assert headers.count("From") == 1
        assert found.addresses
        assert all(domain_from(domain) == domain for domain in found.domains)
        assert not any("@" in address.local for address in found.addresses)
        # a second field is never overlooked, wherever it stands
        for more in (
            b"From: victim@bank.example\r\n" + data,
            data[: headers.size].rstrip(b"\r\n") + b"\r\nfrom : v@b.example",
        ):
            assert not isinstance(author_of(Headers(more), more), Author)


def dmarc(data: bytes) -> None:
    """Lines: an author domain, then what DNS says, again and again; whatever that is, nothing passes that did not pass before."""
    author, *texts = data.decode("latin-1").split("\n")
    texts = texts or [""]
    asked: list[Question] = []

    def answer(question: Question) -> Answer:
        asked.append(question)
        text = texts[len(asked) % len(texts)]
        return Answer(Status.TIMEOUT) if text == "!" else Answer(Status.OK, texts=tuple(text.split("\0")))

    for text in texts[:_MOST_TEXTS]:
        record = dmarc_record(text)
        if record is not None:
            assert len(record.rua) <= MAX_URIS
            assert all(str(uri.address).isprintable() for uri in record.rua)
            _destinations(author, text)
    outcome = answered_from(check_dmarc([author], (), ()), answer)
    assert outcome.result != "pass"
    outcome = answered_from(check_dmarc([author], texts, texts), answer)
    assert len(asked) <= 2 * _MOST_QUESTIONS
    assert len(set(asked)) <= _MOST_QUESTIONS
    assert outcome.result != "pass" or outcome.dkim or outcome.spf


def _destinations(domain: str, text: str) -> None:
    record = dmarc_record(text)
    assert record is not None
    allowed = answered_from(report_destinations(domain, record.rua), lambda _: Answer(Status.NXDOMAIN))
    # without anybody's consent, only to the domain itself
    assert all(uri.address.domain == domain for uri in allowed.uris)


def lists(data: bytes) -> None:
    """Answers and words of a list, and whatever is looked up in it."""
    texts = tuple(data.decode("latin-1").split("\n"))
    codes, why = said_by(_ZONE, Answer(Status.OK, texts=texts))
    assert why.isprintable()
    assert not (codes and why)
    assert all(code.startswith("127.") and code.isprintable() for code in codes)
    said = zone_text(Answer(Status.OK, texts=texts))
    assert said.isprintable()
    assert len(said) <= MAX_TEXT
    name = list_query(texts[0], "bl.example")
    assert name is None or name.endswith(".bl.example")
