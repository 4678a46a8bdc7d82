"""RFC 8601: the grammar of Authentication-Results by its own examples, whose field it is, and what a value may hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mailauth.authres import MAX_RESULTS, authentication_results
from upesi.mailauth.authres_reader import AuthresError, AuthresField, authserv_id, claims_to_be, read_authres
from upesi.mailauth.results import MethodResult
from upesi.mailauth.words import MAX_WORD, word


def result(method: str, said: str, reason: str = "", **properties: str) -> MethodResult:
    """Make a result; `smtp_mailfrom` is smtp.mailfrom."""
    pairs = tuple((name.replace("_", ".", 1), value) for name, value in properties.items())
    return MethodResult(method, said, reason, pairs)


EXAMPLES = [
    ("example.org 1; none", "example.org"),
    (
        "example.com;\r\n          spf=pass smtp.mailfrom=example.net",
        "example.com",
        result("spf", "pass", smtp_mailfrom="example.net"),
    ),
    (
        "example.com;\r\n          auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n          spf=pass smtp.mailfrom=example.net",
        "example.com",
        result("auth", "pass", smtp_auth="sender@example.net"),
        result("spf", "pass", smtp_mailfrom="example.net"),
    ),
    (
        "example.com; iprev=pass\r\n          policy.iprev=192.0.2.200",
        "example.com",
        result("iprev", "pass", policy_iprev="192.0.2.200"),
    ),
    (
        "example.com;\r\n          dkim=pass (good signature) header.d=example.com",
        "example.com",
        result("dkim", "pass", header_d="example.com"),
    ),
    (
        'example.com;\r\n      dkim=pass reason="good signature"\r\n        header.i=@mail-router.example.net;\r\n'
        '      dkim=fail reason="bad signature"\r\n        header.i=@newyork.example.com',
        "example.com",
        result("dkim", "pass", "good signature", header_i="@mail-router.example.net"),
        result("dkim", "fail", "bad signature", header_i="@newyork.example.com"),
    ),
    (
        "foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
        "      policy (A dot can go here) . (like that) expired\r\n"
        "      (this surprised me) = (as I wasn't expecting it) 1362471462",
        "foo.example.net",
        result("dkim", "fail", policy_expired="1362471462"),
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=["B.2", "B.3", "B.4a", "B.4b", "B.5", "B.6", "B.7"])
def test_the_examples_of_the_rfc_are_read_and_written(example: tuple[str, str, MethodResult]) -> None:
    """C81, RFC 8601 appendix B: each example is read, comments and folds and all, and what is written of it reads as the same."""
    value, name, *results = example
    assert read_authres(value) == AuthresField(name, tuple(results))
    assert read_authres(authentication_results(name, results)) == AuthresField(name, tuple(results))


def test_the_exact_form() -> None:
    """C81, RFC 8601 section 2.2: id; method=result reason=value ptype.property=value, and "none" where there is nothing."""
    results = [
        result("spf", "fail", "no such host", smtp_mailfrom="a@example.com"),
        result("dkim", "pass", header_i="@example.com", header_b="abc/+=="),
        result("iprev", "pass", policy_iprev="2001:db8::1"),
    ]
    assert authentication_results("mx.example.org", results) == (
        'mx.example.org; spf=fail reason="no such host" smtp.mailfrom=a@example.com; '
        'dkim=pass header.i=@example.com header.b="abc/+=="; iprev=pass policy.iprev="2001:db8::1"'
    )
    assert authentication_results("mx.example.org", ()) == "mx.example.org; none"


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\x00b", "\x7f", "b\u00fccher", "a\u2028b", "x" * (MAX_WORD + 1)])
def test_what_no_field_can_hold_is_left_out(value: str) -> None:
    """C81, RFC 8601 section 7.8: a property that cannot be one word is left out, and the rest stands."""
    found = result("spf", "pass", smtp_helo=value, smtp_mailfrom="a@example.com")
    assert authentication_results("us", [found]) == "us; spf=pass smtp.mailfrom=a@example.com"


def test_utf8_stands_in_quotes_where_the_message_has_it() -> None:
    """RFC 8601 section 5, RFC 6532: in an SMTPUTF8 message a value may be UTF-8."""
    found = result("spf", "pass", smtp_mailfrom="j\u00fcrg@example.com")
    assert authentication_results("us", [found], utf8=True) == 'us; spf=pass smtp.mailfrom="j\u00fcrg@example.com"'
    assert authentication_results("us", [found]) == "us; spf=pass"


@pytest.mark.parametrize("name", ["spf=pass; x", "s p f", "", "-", "spf;", "\u00fc"])
def test_a_method_is_a_keyword(name: str) -> None:
    """RFC 8601 section 2.2: what is no keyword is no method, result or property."""
    assert authentication_results("us", [MethodResult(name, "pass"), MethodResult("spf", name)]) == "us; none"
    assert authentication_results("us", [MethodResult("spf", "pass", "", ((f"smtp.{name}", "x"),))]) == "us; spf=pass"


def test_a_field_has_a_bound() -> None:
    """Section 2.2 sets none: fifty results, and a reason of 320 characters."""
    many = authentication_results("us", [result("dkim", "pass")] * 1000)
    assert many.count("dkim=pass") == MAX_RESULTS
    assert len(authentication_results("us", [result("spf", "fail", "x y" * 1000)])) < MAX_WORD + 50


@pytest.mark.parametrize(
    "value",
    [
        "",
        ";",
        "(",
        "(never closed",
        '"never closed',
        "us; spf",
        "us; spf=",
        "us; =pass",
        "us; spf=pass x",
        "us; spf=pass smtp.x=",
        "us x",
        "us; spf=pass reason=",
        "us; " + "a=b; " * 200,
        "us; a=" + "b" * 20_000,
        "(" * 20_000,
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_field_is_refused(value: str) -> None:
    """C81: reading is bounded, and what it cannot read it refuses, whatever it is."""
    with pytest.raises(AuthresError):
        read_authres(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("example.org; none", "example.org"),
        ("(c)example.org(d);none", "example.org"),
        ('"exa\\mple.org" ; none', "example.org"),
        ("\r\n\texample.org\r\n ; none", "example.org"),
        ("example.org", "example.org"),
    ],
)
def test_the_id_is_what_stands_in_front(value: str, name: str) -> None:
    """C81, RFC 8601 section 2.2: [CFWS] authserv-id: comments, folds and quotes are not part of it."""
    assert authserv_id(value) == name


def test_our_names_are_compared_as_names() -> None:
    """C81, RFC 8601 section 2.5: case, a final dot and U-labels make no other name; a longer or shorter name is another."""
    us = frozenset(("xn--bcher-kva.example",))
    for ours in ("XN--bcher-KVA.example; none", "b\u00fccher.example; none", "B\u00dcCHER.example.; none"):
        assert claims_to_be(ours, us)
    for other in ("bucher.example; none", "mx.xn--bcher-kva.example; none", "xn--bcher-kva.example.com; none"):
        assert not claims_to_be(other, us)


@given(
    st.text(max_size=400),
    st.lists(
        st.builds(
            lambda reason, pairs: MethodResult(
                "spf", "pass", reason, tuple((f"smtp.p{n}", v) for n, v in enumerate(pairs))
            ),
            st.text(max_size=400),
            st.lists(st.text(max_size=400), max_size=3),
        ),
        max_size=4,
    ),
)
def test_no_value_becomes_anything_else(reason: str, results: list[MethodResult]) -> None:
    """C81, RFC 8601 section 7.8: whatever values strangers send, the field has the results that were meant, and their values or none."""
    results = [*results, MethodResult("dkim", "fail", reason)]
    field = read_authres(authentication_results("us", results, utf8=True))
    assert [(each.method, each.result) for each in field.results] == [(each.method, each.result) for each in results]
    for read, meant in zip(field.results, results, strict=True):
        assert set(read.properties) <= set(meant.properties)
        assert read.reason in ("", meant.reason[:MAX_WORD])


@given(st.text(max_size=MAX_WORD))
def test_a_word_is_one_line_of_its_own(text: str) -> None:
    """A word has no line end, and reads as what it was; or it is none."""
    for utf8 in (False, True):
        said = word(text, utf8=utf8)
        if said is not None:
            assert said.isprintable()
            assert utf8 or said.isascii()
            quoted = re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"', said)
            assert (said if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1])) == text
            assert quoted is not None or not set(said) & set(' "\\();,')
