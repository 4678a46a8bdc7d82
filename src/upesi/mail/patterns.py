"""Regular expressions whose time is bounded: operators write them, strangers choose what they are tried on.

Python's `re` has no limit of time, and goes back and forth without end on `(a+)+$`. Here a pattern becomes a set of states that the text is
led through once (Thompson's construction): the time is at most the length of the text times the states of the pattern, whatever both
are, and both are bounded. The states that were met are remembered as one (a lazily built automaton), so the usual character costs one
look into a dictionary.

What it knows: literals, `.`, classes `[a-z]` `[^...]` `\\d \\w \\s \\D \\W \\S`, anchors `^` and `$`, groups `(...)` and `(?:...)`, `|`,
and `* + ? {m} {m,} {m,n}`. Not, because they need going back: references, looking around, possessive and lazy repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["MAX_PATTERN", "MAX_STATES", "MAX_TEXT", "Pattern", "PatternError"]

# characters of a pattern, and states that it may become: "x{1000}" is short and large
MAX_PATTERN = 1_000
MAX_STATES = 1_000
# characters of a text that are looked at; the rest is as if it were not there. A line of a header has 998, an address 320
MAX_TEXT = 2_000
# remembered sets of states with one character each; at the bound they are forgotten, and found again where they are needed
_MAX_KNOWN = 4_096
_MAX_DEPTH = 50

Test = Callable[[str], bool]


class PatternError(ValueError):
    """A pattern that is none, or asks for what is not known here; the text says where."""


class _State:
    """One state: goes on by `test` to `after`, or without a character to `jumps`; `anchor` is "^" or "$", which pass at an end only."""

    __slots__ = ("after", "anchor", "jumps", "number", "test")

    def __init__(self, number: int, test: Test | None = None, anchor: str = "") -> None:
        self.number = number
        self.test = test
        self.anchor = anchor
        self.after: _State | None = None
        self.jumps: list[_State] = []


class _Part:
    """A piece of a pattern: where it begins, and the state where it has been passed."""

    __slots__ = ("end", "start")

    def __init__(self, start: _State, end: _State) -> None:
        self.start = start
        self.end = end


_SPACES = " \t\r\n\f\v"
_CLASSES: dict[str, Test] = {
    "d": str.isdecimal,
    "w": lambda c: c.isalnum() or c == "_",
    "s": lambda c: c in _SPACES,
    "D": lambda c: not c.isdecimal(),
    "W": lambda c: not (c.isalnum() or c == "_"),
    "S": lambda c: c not in _SPACES,
}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}


class Pattern:
    """A pattern that is looked for anywhere in a text; upper and lower case are one."""

    __slots__ = ("_final", "_known", "_start", "_states", "text")

    def __init__(self, text: str) -> None:
        """Raises PatternError."""
        if len(text) > MAX_PATTERN:
            raise PatternError(f"has more than {MAX_PATTERN} characters")
        self.text = text
        reader = _Reader(text)
        whole = reader.whole()
        self._states = reader.states
        self._final = whole.end.number
        self._start = whole.start
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def search(self, text: str) -> bool:
        """Whether it is found in the first `MAX_TEXT` characters of `text`."""
        text = text[:MAX_TEXT].lower()
        first = self._closed([self._start], at_start=True, at_end=not text)
        if self._final in first:
            return True
        # a search may begin at any place: the start is added again behind each character
        states, last, known = first, len(text) - 1, self._known
        for index, character in enumerate(text):
            if index == last:
                return self._final in self._step(states, character, at_end=True)
            key = (states, character)
            following = known.get(key)
            if following is None:
                if len(known) >= _MAX_KNOWN:
                    known.clear()
                following = known[key] = self._step(states, character, at_end=False)
            if self._final in following:
                return True
            states = following
        return False

    def _step(self, states: frozenset[int], character: str, *, at_end: bool) -> frozenset[int]:
        reached = [self._start]
        for number in states:
            state = self._states[number]
            if state.test is not None and state.after is not None and state.test(character):
                reached.append(state.after)
        return self._closed(reached, at_start=False, at_end=at_end)

    def _closed(self, states: Iterable[_State], *, at_start: bool, at_end: bool) -> frozenset[int]:
        """Return the numbers of `states` and of all that are reached from them without a character."""
        found: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state.number in found:
                continue
            if (state.anchor == "^" and not at_start) or (state.anchor == "$" and not at_end):
                continue
            found.add(state.number)
            waiting += state.jumps
        return frozenset(found)


class _Reader:
    """Reads a pattern by descending into it, as deep as its parentheses."""

    def __init__(self, text: str) -> None:
        self.states: list[_State] = []
        self._text = text.lower() if "\\" not in text else _lowered(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> _Part:
        """Return all of it."""
        part = self._choice()
        if self._at < len(self._text):
            raise self._error("a ) without its (")
        return part

    def _state(self, test: Test | None = None, anchor: str = "") -> _State:
        if len(self.states) >= MAX_STATES:
            raise PatternError(f"is too large: more than {MAX_STATES} states")
        state = _State(len(self.states), test, anchor)
        self.states.append(state)
        return state

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _choice(self) -> _Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        start, end = self._state(), self._state()
        for part in parts:
            start.jumps.append(part.start)
            part.end.jumps.append(end)
        return _Part(start, end)

    def _sequence(self) -> _Part:
        start = self._state()
        end = start
        while self._peek() not in ("", "|", ")"):
            part = self._repeated()
            end.jumps.append(part.start)
            end = part.end
        return _Part(start, end)

    def _repeated(self) -> _Part:
        begin = self._at
        part = self._atom()
        end = self._at
        least, most = self._bounds()
        if (least, most) == (1, 1):
            return part
        if self._peek() in ("*", "+", "?") and self._peek():
            raise self._error("lazy, possessive and doubled repeats are not known")
        # a counted repeat is that many copies: read again from its text
        copies = [part] + [self._again(begin, end) for _ in range(max(least, most or least + (least == 0), 1) - 1)]
        return self._joined(copies, least, most)

    def _again(self, begin: int, end: int) -> _Part:
        at, self._at = self._at, begin
        part = self._atom()
        assert self._at == end
        self._at = at
        return part

    def _joined(self, copies: list[_Part], least: int, most: int | None) -> _Part:
        start, end = self._state(), self._state()
        here = start
        for index, part in enumerate(copies):
            if index >= least:
                here.jumps.append(end)
            here.jumps.append(part.start)
            here = part.end
        here.jumps.append(end)
        if most is None:
            # the last copy as often as it likes
            copies[-1].end.jumps.append(copies[-1].start)
        return _Part(start, end)

    def _bounds(self) -> tuple[int, int | None]:
        sign = self._peek()
        if sign in ("*", "+", "?") and sign:
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        close = self._text.find("}", self._at)
        if sign != "{" or close < 0:
            return 1, 1
        low, comma, high = self._text[self._at + 1 : close].partition(",")
        if not low.isdecimal() or (high and not high.isdecimal()):
            raise self._error("a { that is no count; a brace itself is \\{")
        self._at = close + 1
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if most is not None and (most < least or most == 0):
            raise self._error("a count that cannot be")
        if least > MAX_STATES or (most or 0) > MAX_STATES:
            raise PatternError(f"is too large: more than {MAX_STATES} states")
        return least, most

    def _atom(self) -> _Part:
        sign = self._peek()
        self._at += 1
        if sign == "(":
            return self._group()
        if sign in ("*", "+", "?"):
            raise self._error("nothing to repeat")
        if sign in ("^", "$"):
            state = self._state(anchor=sign)
            return _Part(state, state)
        test = (
            self._class() if sign == "[" else self._escaped()[0] if sign == "\\" else _any if sign == "." else _is(sign)
        )
        start, end = self._state(test), self._state()
        start.after = end
        return _Part(start, end)

    def _group(self) -> _Part:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise self._error("groups of the form (?...) are not known")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"has more than {_MAX_DEPTH} parentheses in each other")
        part = self._choice()
        self._depth -= 1
        if self._peek() != ")":
            raise self._error("a ( without its )")
        self._at += 1
        return part

    def _escaped(self) -> tuple[Test, str]:
        """Return what a backslash and the next character mean, and the character where it is one."""
        sign = self._peek()
        self._at += 1
        if sign in _CLASSES and sign:
            return _CLASSES[sign], ""
        if sign in _ESCAPES and sign:
            return _is(_ESCAPES[sign]), _ESCAPES[sign]
        if not sign or sign.isalnum():
            raise self._error(f"\\{sign} is not known")
        return _is(sign), sign

    def _class(self) -> Test:
        inverted = self._peek() == "^"
        self._at += inverted
        tests: list[Test] = []
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise self._error("a [ without its ]")
            tests.append(self._member())
            first = False
        self._at += 1
        return _one_of(tests, inverted=inverted)

    def _member(self) -> Test:
        low_test, low = self._single()
        if not low or self._peek() != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return low_test
        self._at += 1
        _, high = self._single()
        if not high or high < low:
            raise self._error("a range that cannot be")
        return _between(low, high)

    def _single(self) -> tuple[Test, str]:
        sign = self._peek()
        self._at += 1
        return self._escaped() if sign == "\\" else (_is(sign), sign)

    def _error(self, text: str) -> PatternError:
        return PatternError(f"at character {self._at}: {text}")


def _lowered(text: str) -> str:
    """Return the pattern in lower case, except what a backslash stands before: \\D is not \\d."""
    return "".join(
        character if index and text[index - 1] == "\\" else character.lower() for index, character in enumerate(text)
    )


def _any(character: str) -> bool:
    return True


def _is(wanted: str) -> Test:
    return lambda character: character == wanted


def _between(low: str, high: str) -> Test:
    return lambda character: low <= character <= high


def _one_of(tests: list[Test], *, inverted: bool) -> Test:
    return lambda character: any(test(character) for test in tests) is not inverted
