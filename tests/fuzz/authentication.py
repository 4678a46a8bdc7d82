"""SPF records and Authentication-Results of strangers."""

from __future__ import annotations

from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.authres import authentication_results
from upesi.mailauth.authres_reader import AuthresError, claims_to_be, read_authres
from upesi.mailauth.received_spf import received_spf
from upesi.mailauth.spf import SpfIdentity, check_host

__all__ = ["authres", "spf"]

_MOST_ASKED = 1 + 10 * 11 + 12 + 1
_TEXTS = {"PTR": "mail.example", "A": "203.0.113.1", "AAAA": "::1"}
_US = frozenset(("mx.example.org",))


def spf(data: bytes) -> None:
    """A record that every name has, in both families: it ends, asks for little, and says nothing that a field or reply could not hold."""
    text = data.decode("latin-1")
    for client in ("192.0.2.1", "2001:db8::1"):
        asked: list[Question] = []

        def answer(question: Question, asked: list[Question] = asked) -> Answer:
            asked.append(question)
            assert question.name.isprintable()
            assert len(question.name.replace("\\\\", "\\")) <= 253
            if question.kind == "MX":
                return Answer(Status.OK, mx=tuple(MxRecord(n, f"m{n}.example") for n in range(11)))
            if question.kind == "TXT":
                # an explanation is the record without its version
                return Answer(Status.OK, texts=(text if len(asked) % 3 else f"v=spf1 {text}",))
            return Answer(Status.OK, texts=(_TEXTS[question.kind],))

        identity = SpfIdentity(client, text[:80], text[-64:], "example.com")
        outcome = answered_from(check_host(identity), answer)
        assert len(asked) <= _MOST_ASKED
        assert outcome.explanation.isprintable()
        assert outcome.explanation.isascii()
        field = received_spf(outcome, utf8=True)
        assert field.isprintable()


def authres(data: bytes) -> None:
    """A field reads or fails; what was read is written, and reads as the same again."""
    value = data.decode(errors="replace")
    assert claims_to_be(value, _US) or not value.lower().startswith("mx.example.org;")
    try:
        field = read_authres(value)
        written = authentication_results(field.authserv_id, field.results, utf8=True)
    except (AuthresError, ValueError):
        return
    assert written.isprintable()
    again = read_authres(written)
    assert again.authserv_id == field.authserv_id
    assert authentication_results(again.authserv_id, again.results, utf8=True) == written
