"""Every target over its corpus, its worst repetitions, and mixtures: what `make fuzz` found stays found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.corpus import escaped, read_corpus
from tests.fuzz.slow import LARGEST, MOST, seconds
from tests.fuzz.targets import ONCE, TARGETS

CORPUS = {name: read_corpus(name) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_no_kept_input_breaks_its_target(name: str) -> None:
    """Each line of the corpus parses or is refused as the reader's contract says."""
    assert CORPUS[name]
    for data in CORPUS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_sixty_four_kilobytes_take_less_than_a_tenth_of_a_second(name: str) -> None:
    """No input repeated to 64 kB takes long: no reader is worse than linear."""
    for data in CORPUS[name]:
        large = (data * (LARGEST // max(len(data), 1) + 1))[:LARGEST]
        took = seconds(ONCE[name], large)
        assert took < MOST, f"{took:.3f} s for {escaped(data)[:200]}"


@pytest.mark.parametrize("name", TARGETS)
def test_no_mixture_breaks_a_target(name: str) -> None:
    """Parts of kept inputs and any octets, in any order."""
    parts = st.one_of(st.sampled_from(CORPUS[name]), st.binary(max_size=20))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(parts, st.integers(0, 200), st.integers(0, 200)), max_size=6))
    def run(pieces: list[tuple[bytes, int, int]]) -> None:
        TARGETS[name](b"".join(data[min(a, b) : max(a, b)] for data, a, b in pieces))

    run()


def test_the_harness_can_fail() -> None:
    """A target that raises, or takes too long, is seen."""

    def broken(data: bytes) -> None:
        raise IndexError(data)

    with pytest.raises(IndexError):
        seconds(broken, b"x")

    def slow(data: bytes) -> None:
        sum(range(20_000_000))

    assert seconds(slow, b"x") > MOST
