r"""Reading through what splits or disguises a value: line continuations, encodings, `(at)`.

A secret may be wrapped over lines, glued from string literals, or written with entities and escapes.
The view of a text is the text with those joints taken out, in windows around them, together with
the way back to the original offsets. What is found in a view counts only where it spans a joint.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_REACH = 400
"""Characters read on either side of a joint."""

_TLD = r"(?:com|org|net|edu|gov|info|io|dev|de|uk|fr|cn|nl|ch|at|eu|us|ca|au|jp|in|br|it|es|se)\b"

# as `Joint`; `html` and `hex` are decoded
_RULES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("=\n",), r"=\n", ""),  # quoted-printable
    (("\\\n",), r"\\\n[ \t]*", ""),  # shell, properties, C
    (
        (
            *("\n+", '" +', "' +", '"+', "'+", '"\n', "'\n", "' .", '" .', "' &", '" &'),
            *('" |', "' |", '" \\\n', "' \\\n", '"\\\n', "'\\\n"),
        ),
        r"""(?<=[^\s"'=:(,\[{>])(["'])[ \t]*(?:(?:[+.&]|\|\|)[ \t]*(?:_?\n[ \t]*)?|\\?\n[ \t]*(?:[+.&][ \t]*)?)[bru]?\1(?=[^\s"',:;)\]}])""",
        "",
    ),
    # C and Python put literals together that stand side by side; so do no two words of a sentence
    (
        ('" "', "' '"),
        r"""(?<=[^\s"'=:(,\[{>])(["'])[ ]\1(?=[^\s"',:;)\]}]+\1[ \t]*(?:[;,)\]}\n]|\Z))""",
        "",
    ),
    (
        ("&",),
        r"&(?:\#\d{2,6}|\#[xX][0-9A-Fa-f]{2,5}|lt|gt|quot|amp|commat|period|colon|equals);",
        "html",
    ),
    (("%",), r"%[2-7][0-9A-Fa-f]", "hex"),
    (("\\u00", "\\x"), r"\\(?:u00|x)[2-7][0-9A-Fa-f]", "hex"),
    (
        ("[.]", "(.)", "[dot]", "(dot)", "{dot}"),
        r"[ ]?(?:\[\.\]|\(\.\)|[\[({](?:dot|DOT)[\])}])[ ]?",
        ".",
    ),
    (
        ("[at]", "(at)", "{at}", "[AT]", "(AT)", "[@]", "(@)"),
        r"[ ]?[\[({](?:at|AT|@)[\])}][ ]?",
        "@",
    ),
    ((" dot ", " DOT "), r"(?<=\w)[ ](?:at|AT)[ ](?=[\w-]+[ ](?:dot|DOT)[ ]\w)", "@"),
    ((" dot ", " DOT "), r"(?<=\w)[ ](?:dot|DOT)[ ](?=\w)", "."),
    ((" @ ",), rf"(?<=\w)[ ]@[ ](?=[\w-]+(?:\.[\w-]+)*\.{_TLD})", "@"),
    (("@\n",), r"(?<=\w)@\n[ \t>]*(?=\w)", "@"),
    (("\n@",), r"(?<=\w)\n[ \t>]*@(?=\w)", "@"),
    (("\n",), r"\n(?<=\d\n)(?=\d{3}[ .-]\d)", " "),  # a telephone number
)
Joint: TypeAlias = tuple[tuple[str, ...], re.Pattern[str], str]
"""Literals of which one must occur, the pattern, and what stands for it."""


# encoded data wrapped at a line end: a long run, then a line that is nothing but a run
_RUN = "A-Za-z0-9+/_=.-"
_WRAP = re.compile(
    rf"\n(?<=[{_RUN}]{{12}}\n)[ \t>|*#]{{0,12}}(?=([{_RUN}]+)[\"'`,;)]{{0,2}}(?:\n|\Z))"
)

_COMPILED: tuple[Joint, ...] = (
    *((literals, re.compile(pattern, re.VERBOSE), what) for literals, pattern, what in _RULES),
    (("\n",), _WRAP, ""),
)


_BRACKETED = re.compile(r"[\[({](?:[.@]|dot|DOT|at|AT)[\])}]")


@dataclass(frozen=True)
class View:
    """A window of a text without its joints.

    Attributes:
        text: what is read.
        joints: where in it something was taken out or replaced.
    """

    text: str
    joints: list[int]
    _at: list[int]
    _origin: list[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Offsets in the original text of a span of the view."""
        last = bisect_right(self._at, end - 1) - 1
        stop = self._origin[last] + (end - self._at[last])
        if last + 1 < len(self._at) and end == self._at[last + 1] and self._decoded(last):
            stop = self._origin[last + 1]
        first = bisect_right(self._at, start) - 1
        return self._origin[first] + (start - self._at[first]), stop

    def _decoded(self, segment: int) -> bool:
        return segment % 2 == 1

    def crosses(self, start: int, end: int) -> bool:
        """Whether a span holds a joint in its inside."""
        at = bisect_right(self.joints, start - 1)
        return at < len(self.joints) and self.joints[at] < end


def joint_rules(text: str) -> list[Joint]:
    """The joints that can occur in a text or any part of it."""
    found: list[Joint] = []
    bracketed = _BRACKETED.search(text)
    quoted = '"' in text or "'" in text
    for rule in _COMPILED:
        first = rule[0][0]
        if (first[0] == "[" and not bracketed) or (first == "\n+" and not quoted):
            continue
        for literal in rule[0]:  # a generator costs more than most of the looks
            if literal in text:
                if rule[1].search(text):
                    found.append(rule)
                break
    return found


def views(text: str, rules: list[Joint]) -> Iterator[View]:
    """The views of a text; none for most.

    Args:
        rules: see `joint_rules`.
    """
    joints = _joints(text, rules) if rules else []
    if not joints:
        return
    group = [joints[0]]
    for joint in joints[1:]:
        if joint[0] - group[-1][1] > _REACH:
            yield _view(text, group)
            group = []
        group.append(joint)
    yield _view(text, group)


def _joints(text: str, rules: list[Joint]) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    for _, pattern, what in rules:
        for match in pattern.finditer(text):
            put = _decoded(match.group(), what) if what in ("html", "hex") else what
            if put is not None and (pattern is not _WRAP or _encoded(text, match)):
                found.append((match.start(), match.end(), put))
    found.sort()
    apart: list[tuple[int, int, str]] = []
    for joint in found:
        if not apart or joint[0] >= apart[-1][1]:
            apart.append(joint)
    return apart


def _decoded(token: str, what: str) -> str | None:
    char = html.unescape(token) if what == "html" else chr(int(token[-2:], 16))
    return char if len(char) == 1 and (char.isprintable() or char == "\n") else None


def _encoded(text: str, match: re.Match[str]) -> bool:
    """Whether the line after a wrap goes on with encoded data rather than with a word."""
    tail = match.group(1)
    head = text[max(0, match.start() - 40) : match.start()].split()[-1]
    mixed = any(map(str.isdigit, head)) and not head.isdigit()
    wide = match.start() - (text.rfind("\n", 0, match.start()) + 1) >= 48
    word = tail.isalpha() and (tail.islower() or tail.istitle() or tail.isupper())
    return mixed and (not word or (wide and len(tail) <= 3)) and not tail.replace("-", "").isdigit()


def _view(text: str, joints: list[tuple[int, int, str]]) -> View:
    """Segments alternate between kept text and what stands for a joint."""
    at, origin, marks, pieces = [0], [max(0, joints[0][0] - _REACH)], list[int](), list[str]()
    length, done = 0, origin[0]
    for start, end, put in joints:
        pieces += (text[done:start], put)
        length += start - done
        marks.append(length)
        at.append(length)
        origin.append(start)
        length += len(put)
        at.append(length)
        origin.append(end)
        done = end
    pieces.append(text[done : joints[-1][1] + _REACH])
    return View("".join(pieces), marks, at, origin)
