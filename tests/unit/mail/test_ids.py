"""Message ids."""

from __future__ import annotations

import pytest

from upesi.mail.ids import MessageIds, message_id_from


def constant(n: int) -> bytes:
    return b"\xff" * n


def test_ids_rise_within_a_millisecond_and_when_the_clock_steps_back() -> None:
    """Sortable by time, and unique whatever the clock does."""
    times = iter([1000.0, 1000.0, 999.0, 0.0, 1000.001])
    ids = MessageIds(lambda: next(times), constant)
    made = [ids.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert all(len(one) == 16 for one in made)


def test_a_long_burst_within_one_millisecond_neither_repeats_nor_overflows() -> None:
    """The steps leave room for far more ids than a millisecond has."""
    ids = MessageIds(lambda: 5.0, constant)
    made = [ids.next() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {one[:6] for one in made} == {(5000).to_bytes(6, "big")}


def test_two_sources_with_different_chance_do_not_meet() -> None:
    """80 bits of chance a process."""
    first, second = (MessageIds(lambda: 5.0, lambda n, value=value: bytes([value]) * n) for value in (1, 2))
    assert not {first.next() for _ in range(100)} & {second.next() for _ in range(100)}


def test_id_is_read_as_people_see_it() -> None:
    """32 hexadecimal digits in any case, blanks around them."""
    assert message_id_from(" 00112233445566778899AABBCCDDEEFF ") == bytes.fromhex("00112233445566778899aabbccddeeff")


@pytest.mark.parametrize("text", ["", "00", "g" * 32, "0" * 33, "0" * 31, "\u0661" * 32])
def test_what_is_no_id_is_refused(text: str) -> None:
    """And the complaint shows no more than forty characters of it."""
    with pytest.raises(ValueError) as caught:
        message_id_from(text * 3 if text else text)
    assert len(str(caught.value)) < 120
