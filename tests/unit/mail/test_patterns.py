"""Patterns with a time bound: what they find is what `re` finds, and nothing makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upesi.mail.patterns import MAX_PATTERN, MAX_TEXT, Pattern, PatternError


@pytest.mark.parametrize(
    ("pattern", "found", "missed"),
    [
        ("viagra", ["cheap VIAGRA here"], ["via gra", ""]),
        ("^test-\\d+@", ["test-12@x", "TEST-1@"], ["atest-1@", "test-@x", "test-a@"]),
        ("\\.(ru|cn)$", ["mail.ru", "a.CN"], ["ru", "mail.ru.example"]),
        ("[^a-z0-9.-]", ["a_b", "a b"], ["a.b-c", ""]),
        ("^.{3,5}$", ["abc", "abcde"], ["ab", "abcdef"]),
        ("^(?:ab){2}$", ["abab"], ["ab", "ababab"]),
        ("a{0,2}b|^c?$", ["aab", "b", "", "c"], ["cc", "aa"]),
        ("x{2,}", ["axxb", "xxxx"], ["axb"]),
        ("\\D\\W\\S", ["a-b"], ["1-b", "a- "]),
        ("[]a]-[\\d.-]", ["]-1", "a--", "a-."], ["b-1"]),
        ("^$", [""], ["a"]),
        ("", ["", "anything"], []),
        ("(a|b|)c", ["c", "ac"], ["d"]),
        ("(a*)*b", ["aab", "b"], ["aac"]),
        ("\\$\\^\\(\\{", ["$^({"], ["$"]),
    ],
)
def test_patterns_find_what_they_say(pattern: str, found: list[str], missed: list[str]) -> None:
    """Literals, classes, anchors, groups, choices and counts, whatever the case of letters."""
    compiled, other = Pattern(pattern), re.compile(pattern, re.IGNORECASE)
    for text in found:
        assert compiled.search(text), text
        assert other.search(text), text
    for text in missed:
        assert not compiled.search(text), text
        assert not other.search(text), text


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "[", "[a", "a**", "a*?", "a++", "*a", "(?=a)", "(?P<n>a)", "\\1", "\\b", "\\", "a{2,1}", "a{x}", "[z-a]", "a{5000}",
        "(" * 60 + ")" * 60, "(a{100}){100}", "a" * (MAX_PATTERN + 1), "a{0}",
    ],
)  # fmt: skip
def test_what_is_no_pattern_or_needs_going_back_is_refused(pattern: str) -> None:
    """Said when the configuration is read, not when a message comes."""
    with pytest.raises(PatternError):
        Pattern(pattern)


_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "1"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"^{one}"),
        inner.map(lambda one: f"{one}$"),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(_ATOMS, _grown, max_leaves=6), st.text("ab1c", max_size=8))
def test_patterns_agree_with_re(pattern: str, text: str) -> None:
    """Over generated patterns and texts the answer is that of `re`."""
    assert Pattern(pattern).search(text) == (re.compile(pattern).search(text) is not None)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){12}$", "(a*)*(a*)*b", "(a|b)*a(a|b){12}$"]
)
def test_no_pattern_is_slow(pattern: str) -> None:
    """ReDoS: what takes `re` for ever takes as long as the text times the pattern here; the bound is generous for a busy machine."""
    compiled = Pattern(pattern)
    start = time.process_time()
    compiled.search("ab" * MAX_TEXT + "c")
    compiled.search("a" * 100_000 + "c")
    assert time.process_time() - start < 10


def test_a_text_is_looked_at_to_its_bound() -> None:
    """What stands behind it is as if it were not there."""
    assert Pattern("b").search("a" * (MAX_TEXT - 1) + "b")
    assert not Pattern("b").search("a" * MAX_TEXT + "b")
