"""Which patterns are worth trying on a text, and where in it.

Most texts hold none of the literals of most patterns, and looking for a literal is a hundred times
cheaper than a regular expression: so each pattern has its triggers, and runs only where one occurs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from alchemy.cleaning.pii_commands import COMMANDS
from alchemy.cleaning.pii_patterns import CREDENTIALS
from alchemy.cleaning.pii_personal import ADDRESSES, NUMBERS
from alchemy.cleaning.pii_shapes import OTHER_SHAPES, SHAPE

Search = Callable[[int], re.Match[str] | None]
"""The first candidate at or behind a position."""

_REACH = {
    "assign": 13,
    "flag": 0,
    "command": 0,
    "call": 0,
    "call2": 0,
    "arguments": 0,
    "dialled": 0,
    "bearer": 0,
    "header": 0,
    "cookie": 0,
}
"""How far before one of its triggers a candidate can begin, where it cannot begin elsewhere."""


@dataclass(frozen=True)
class Finder:
    """One kind of candidate.

    Attributes:
        triggers: one of these must occur in the text (any, when empty).
        exact: the triggers' case counts.
        pattern: what a candidate looks like.
        reach: a candidate begins at most so many characters before a trigger; None: anywhere.
    """

    name: str
    triggers: tuple[str, ...]
    exact: bool
    pattern: re.Pattern[str]
    reach: int | None

    def search(self, text: str) -> Search:
        """How to find this finder's candidates in a text."""
        if self.reach is None:
            return lambda position: self.pattern.search(text, position)
        return _near(self.pattern, text, self._starts(text, self.reach))

    def _starts(self, text: str, reach: int) -> list[int]:
        """Every place where a candidate may begin, in order."""
        lower = folded(text)
        starts: set[int] = set()
        for trigger in self.triggers:
            at = lower.find(trigger)
            while at >= 0:
                starts.update(range(max(0, at - reach), at + 1))
                at = lower.find(trigger, at + 1)
        return sorted(starts)


def _near(pattern: re.Pattern[str], text: str, starts: list[int]) -> Search:
    def search(position: int) -> re.Match[str] | None:
        for number in range(bisect_left(starts, position), len(starts)):
            if match := pattern.match(text, starts[number]):
                return match
        return None

    return search


def folded(text: str) -> str:
    """The text in lower case, with every character at its place: only this one becomes two."""
    return text.replace("\u0130", "I").lower()


FINDERS = tuple(
    Finder(
        name,
        triggers,
        name.startswith("shape"),
        re.compile(pattern, re.ASCII | (0 if name.startswith("shape") else re.VERBOSE)),
        _REACH.get(name),
    )
    for name, triggers, pattern in (
        *COMMANDS,
        *CREDENTIALS,
        *ADDRESSES,
        ("shape", (), SHAPE),
        *((f"shape{number}", *other) for number, other in enumerate(OTHER_SHAPES)),
        *NUMBERS,
    )
)

_SEVEN_DIGITS = re.compile(r"\d(?:[ .()/\n-]{0,3}[\dA-Z]){6}", re.ASCII)
_FOUR_NUMBERS = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d", re.ASCII)
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:", re.ASCII)
_DASH = re.compile(r"-(?<=\s-)[A-Za-z-]")
_DIGIT = re.compile(r"\d", re.ASCII)
_PORT_FIELD = re.compile(r":(?:\d{4,5}|\*):", re.ASCII)

_NUMERIC = frozenset({"phone", "digits", "ssn", "dialled", "ipv4_name", "iban"})
_CONFIRMED = frozenset(
    "flag command call call2 arguments dialled easyconnect signature iban shape2 shape5 shape6 shape7".split()
)
"""Triggers are common words, candidates rare: one look spares the search of every part."""
_SHORTEST_TOKEN = 15
_LEAST_WORD = {
    "awssecret": 40,
    "shape2": 59,
    "shape3": 83,
    "shape4": 36,
    "shape5": 34,
    "shape6": 35,
    "shape7": 26,
}
"""A finder → the length of the shortest word that can hold one of its candidates."""


def finders(text: str) -> list[Finder]:
    """The finders worth trying on a text, in order of precedence."""
    lower = text.lower()
    hopeless: set[str] = set()
    if not _SEVEN_DIGITS.search(text):
        hopeless |= _NUMERIC
    if not _TWO_COLONS.search(text):
        hopeless.add("ipv6")
    if not _FOUR_NUMBERS.search(text):
        hopeless.add("ipv4")
    if not _PORT_FIELD.search(text):
        hopeless.add("pgpass")
    if not _DASH.search(text):
        hopeless |= {"flag", "option"}
    parts = text.split()
    if " / " not in text and not any(map(_is_pair, [part for part in parts if "/" in part])):
        hopeless.add("pair")
    words = [word for word in parts if len(word) >= _SHORTEST_TOKEN]
    longest = max(map(len, words), default=0)
    hopeless.update(name for name, least in _LEAST_WORD.items() if least > longest)
    if not _SHAPE.search(" ".join(words)):
        hopeless.add("shape")
    found: list[Finder] = []
    for finder in FINDERS:
        if finder.name not in hopeless:
            inside = text if finder.exact else lower
            for trigger in finder.triggers:  # a generator costs more than most of the looks
                if trigger in inside:
                    if finder.name not in _CONFIRMED or finder.search(text)(0):
                        found.append(finder)
                    break
            else:
                if not finder.triggers and (
                    finder.name not in _CONFIRMED or finder.search(text)(0)
                ):
                    found.append(finder)
    return found


def _is_pair(word: str) -> bool:
    """Whether a word can be a user and a password: one slash, and a digit behind it."""
    return word.count("/") == 1 and _DIGIT.search(word, word.index("/")) is not None


_SHAPE = next(finder.pattern for finder in FINDERS if finder.name == "shape")
