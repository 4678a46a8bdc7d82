"""SPF records as they are read and kept."""

from __future__ import annotations

import pytest

from upesi.mailauth.spf_macros import Macro, SpfSyntaxError
from upesi.mailauth.spf_record import MAX_KEPT, SpfRecords, SpfResult, read_record, selected


def test_a_record_is_its_terms_in_order() -> None:
    """RFC 7208 section 4.6.1: qualifiers, networks and targets, in the order in which they count; modifiers wherever they stand."""
    record = read_record(
        "v=spf1 exp=e.example -ip4:192.0.2.77/24 ?a/24//64 mx:m.example ~include:%{d2}.x.example ALL redirect=r.example"
    )
    assert [(each.result, each.kind) for each in record.mechanisms] == [
        (SpfResult.FAIL, "ip4"),
        (SpfResult.NEUTRAL, "a"),
        (SpfResult.PASS, "mx"),
        (SpfResult.SOFTFAIL, "include"),
        (SpfResult.PASS, "all"),
    ]
    network, hosts, _, include, _ = record.mechanisms
    assert (network.network, network.mask4) == (0xC0000200, 0xFFFFFF00)
    assert (hosts.target, hosts.mask4, hosts.mask6) == (None, 0xFFFFFF00, (1 << 128) - (1 << 64))
    assert include.target == (Macro("d", False, 2, False, ""), ".x.example")
    assert (record.redirect, record.explanation) == (("r.example",), ("e.example",))


MISTAKES = """
ip4:1.2.3.4/ ip4:1.2.3.4/032 ip4:01.2.3.4 ip4:1.2.3.4//64 ip4 ip6:1::2::3 ip6:::1%eth0 ip6:1.2.3.4
a: a:x a:x.example/33 a:x.example//129 a:x.example/24/64 a:1.2.3.4 a:x.-y a:x.% a:x.%{ a:%{d}x a:%{dz} a:x.example..
include include: include:x.example/24 exists exists:/24 ptr/24 ptr: all: all/0 - +-a redirect= exp=x -exp=x.example
x=% x=%{q} 1=x = moo moo:x.example a:x.exa%%mple a:\u00fc.example a:x\x7f.example
"""
SOUND = """
a:x%%y.example a:%% a:x.example. a:x.1a a:x.a-1 a:x.1-1 a:x_y.example a:x..example exists:%{i}._%{h1r-} exists:x.example/24.example
x= x.y-z_1=%{c}%{r}%{t} A:%{D}/0//0 IP6:::/0 ip6:::ffff:1.2.3.4 ptr:%{l}.example
"""


@pytest.mark.parametrize("term", MISTAKES.split(), ids=ascii)
def test_a_mistake_anywhere_voids_the_record(term: str) -> None:
    """RFC 7208 section 4.6: whatever does not follow the grammar, even behind "all"."""
    with pytest.raises(SpfSyntaxError):
        read_record(f"v=spf1 +all {term}")


@pytest.mark.parametrize("term", SOUND.split())
def test_what_the_grammar_allows_is_read(term: str) -> None:
    """RFC 7208 section 12: odd records that follow the grammar are sound."""
    assert read_record(f"v=spf1 {term}")


def test_only_version_one_is_selected() -> None:
    """RFC 7208 section 4.5: "v=spf1" whatever its case, and nothing but a blank behind it."""
    assert selected(("v=spf1", "V=SPF1 a", "v=spf10", "v=spf1\ta", " v=spf1", "spf", "")) == ["v=spf1", "V=SPF1 a"]


def test_what_was_read_is_kept() -> None:
    """The same records come again and again: they are read once, and mistakes too."""
    records = SpfRecords()
    assert records.read("v=spf1 a") is records.read("v=spf1 a")
    for _ in range(2):
        with pytest.raises(SpfSyntaxError, match="no mechanism"):
            records.read("v=spf1 moo")


def test_what_is_kept_has_a_bound() -> None:
    """A stranger can have any number of records: at the bound all are forgotten."""
    records = SpfRecords()
    first = records.read("v=spf1 a")
    text = "ip4:192.0.2.1 " * 500
    for number in range(MAX_KEPT // len(text) + 1):
        records.read(f"v=spf1 {text} x={number}")
    assert records.read("v=spf1 a") is not first
    assert records.read("v=spf1 a") == first
