"""The order of hooks: PLUGINS, "Rules", the one about order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.hooks.order import Cycle, Placed, in_order


def order(*hooks: Placed) -> list[str]:
    return in_order([(hook, hook.plugin) for hook in hooks])


def test_without_declarations_the_listed_order_stands():
    """The list in the configuration, where nothing is declared."""
    assert order(Placed("c"), Placed("a"), Placed("b")) == ["c", "a", "b"]


def test_after_moves_a_hook_behind_others_and_nothing_else():
    """after=: only what must move moves."""
    assert order(Placed("a", after=("c",)), Placed("b"), Placed("c"), Placed("d")) == ["b", "c", "a", "d"]


def test_before_moves_a_hook_in_front():
    """before= is the other side of after=."""
    assert order(Placed("a"), Placed("b"), Placed("c", before=("a",))) == ["b", "c", "a"]


def test_a_name_that_is_not_enabled_is_ignored():
    """after=["spf"] without spf changes nothing."""
    assert order(Placed("a", after=("spf",), before=("dkim",)), Placed("b")) == ["a", "b"]


def test_all_hooks_of_a_named_plugin_count():
    """A plugin with two hooks at a point is passed as a whole."""
    assert order(Placed("x", after=("a",)), Placed("a"), Placed("b"), Placed("a")) == ["a", "b", "a", "x"]


def test_a_circle_is_named():
    """The error names the circle, not all that hangs on it."""
    with pytest.raises(
        Cycle, match=r"^a after c after b after a$|^b after a after c after b$|^c after b after a after c$"
    ):
        order(
            Placed("z", after=("a",)), Placed("a", after=("c",)), Placed("b", after=("a",)), Placed("c", after=("b",))
        )


def test_a_plugin_cannot_run_after_itself():
    """The smallest circle."""
    with pytest.raises(Cycle, match="a after a"):
        order(Placed("a", after=("a",)))


names = st.sampled_from("abcdef")
placed = st.builds(Placed, names, st.lists(names, max_size=2).map(tuple), st.lists(names, max_size=2).map(tuple))


@given(st.lists(placed, max_size=8))
def test_every_declaration_holds_or_a_circle_is_found(hooks: list[Placed]):
    """Any declarations: all hooks come once, each behind what it is after and in front of what it is before."""
    try:
        result = in_order([(hook, index) for index, hook in enumerate(hooks)])
    except Cycle:
        return
    assert sorted(result) == list(range(len(hooks)))
    place = {index: position for position, index in enumerate(result)}
    for index, hook in enumerate(hooks):
        for other, them in enumerate(hooks):
            if them.plugin in hook.after:
                assert place[other] < place[index]
            if them.plugin in hook.before:
                assert place[index] < place[other]
