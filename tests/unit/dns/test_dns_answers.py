"""The memory of answers: bounded in number and octets, fresh for a time, of use for a longer one."""

from __future__ import annotations

from upesi.dns.answers import UNIT, AnswerCache
from upesi.mail.answers import Answer, Status


def answer(text):
    return Answer(Status.OK, texts=(text,), ttl=10)


def test_answers_are_fresh_for_their_ttl_and_kept_beyond_it():
    """RFC 2181 section 8, RFC 8767 section 4: get gives what is fresh, stale what is kept."""
    now = [0.0]
    cache = AnswerCache(10, lambda: now[0], stale_for=100)
    cache.put(("x", "A"), answer("1"), 10)
    now[0] = 9.9
    assert cache.get(("x", "A")) == answer("1")
    now[0] = 10.0
    assert cache.get(("x", "A")) is None
    now[0] = 109.9
    assert cache.stale(("x", "A")) == answer("1")
    now[0] = 110.0
    assert cache.stale(("x", "A")) is None
    assert len(cache) == 0


def test_a_stale_answer_that_counts_again_is_not_kept_longer():
    """RFC 8767 section 4: however often nobody answers, the time of an answer ends."""
    now = [0.0]
    cache = AnswerCache(10, lambda: now[0], stale_for=50)
    cache.put(("x", "A"), answer("1"), 10)
    for seconds in (20, 40):
        now[0] = float(seconds)
        assert cache.get(("x", "A")) is None
        cache.refresh(("x", "A"), answer("old"), 15)
        assert cache.get(("x", "A")) == answer("old")
    now[0] = 60.0
    assert cache.stale(("x", "A")) is None
    cache.refresh(("x", "A"), answer("old"), 15)
    assert cache.get(("x", "A")) is None


def test_a_million_names_are_no_more_than_the_capacity():
    """DNS-08: the least recently used goes."""
    cache = AnswerCache(100, lambda: 0.0, stale_for=10)
    cache.put(("used", "A"), answer("1"), 10)
    for number in range(100_000):
        cache.put((f"n{number}", "A"), answer("1"), 10)
        if number % 50 == 0:
            assert cache.get(("used", "A")) is not None
    assert len(cache) == 100
    assert cache.get(("n99999", "A")) is not None
    assert cache.get(("n5", "A")) is None


def test_large_answers_take_the_place_of_several():
    """DNS-08: ten thousand answers of 64 KB would be 640 MB."""
    cache = AnswerCache(100, lambda: 0.0)
    for number in range(50):
        cache.put((f"small{number}", "TXT"), answer("x"), 10, 10)
    cache.put(("large", "TXT"), answer("x"), 10, 70 * UNIT)
    assert cache.get(("large", "TXT")) is not None
    assert len(cache) == 30
    cache.put(("large", "TXT"), answer("x"), 10, 10)
    cache.put(("larger", "TXT"), answer("x"), 10, 100 * UNIT)
    assert (len(cache), cache.get(("larger", "TXT"))) == (30, None)


def test_what_has_no_time_to_live_is_not_kept():
    """RFC 1035 section 3.2.1: zero means for this transaction only; it takes the place of what was known."""
    cache = AnswerCache(100, lambda: 0.0, stale_for=100)
    cache.put(("x", "A"), answer("old"), 10)
    cache.put(("x", "A"), answer("new"), 0)
    assert (cache.get(("x", "A")), cache.stale(("x", "A"))) == (None, None)
