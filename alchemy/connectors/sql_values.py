"""Literal values of dumps: `VALUES` tuples and `COPY` rows.

A parser of whole statements (sqlglot) makes a tree of each value: it reads 0.7 to 1.4 MB of
`INSERT` per CPU second where this one reads 9 to 26 (Chinook; rows of text), and one value that it
does not know would cost the whole statement. So definitions go there and rows come here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from alchemy.connectors.fields import BadRecord

_NUMBER = r"[-+]?\s*(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])"
_CAST = r"(?:\s*::\s*[A-Za-z_][\w.\" ]*(?:\(\d+(?:\s*,\s*\d+)?\))?[\w ]*(?:\[\])*)*"
_STRINGS = {
    "mysql": r"'(?:[^'\\]++|\\.|'')*+'|\"(?:[^\"\\]++|\\.|\"\")*+\"",
    "postgres": r"'(?:[^']++|'')*+'",
    "sqlite": r"'(?:[^']++|'')*+'",
}
_SPACE = re.compile(r"[\s,]*")
_SKIPPED = re.compile(r"[^()'\"]++|\"[^\"]*+\"")
_MYSQL_ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}
_C_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}
_C_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[0-7]{1,3}|.)", re.S)


class TupleReader:
    """Reads `(…), (…)` lists of one dialect.

    Values are None, bool, str (numbers too, digit for digit) or bytes.
    """

    def __init__(self, dialect: str) -> None:
        self._mysql = dialect == "mysql"
        string = _STRINGS[dialect]
        self._string = re.compile(string, re.S)
        self._literal = re.compile(
            rf"\s*(?:(NULL|TRUE|FALSE)\b|({_NUMBER})|0x([0-9A-Fa-f]+)\b"
            rf"|E('(?:[^'\\]++|\\.|'')*+')"
            rf"|([NBX]|U&|_\w+\s*)?({string})){_CAST}\s*([,)\]|]?)",
            re.I | re.S,
        )

    def tuples(self, text: str, at: int) -> Iterator[tuple[int, list[Any] | None]]:
        """Offset and values of each tuple from `at` on; None for one with an unknown expression."""
        while True:
            at = _end_of(_SPACE, text, at)
            if at >= len(text) or text[at] != "(":
                return  # the end, or `ON CONFLICT …`
            start = at
            try:
                values, at = self._list(text, at + 1, ")")
                yield start, values
            except BadRecord:
                at = self._skip(text, start)
                yield start, None

    def _list(self, text: str, at: int, closing: str) -> tuple[list[Any], int]:
        values: list[Any] = []
        match_literal = self._literal.match
        while True:
            match = match_literal(text, at)
            end = match[7] if match is not None else ""
            if match is not None and (end == "," or end == closing):
                values.append(self._value(match))
                at = match.end()
            else:
                value, at = self._expression(text, at)
                values.append(value)
                end = text[at : at + 1]
                at += 1
            if end == closing:
                return values, at
            if end != ",":
                raise BadRecord("not a list of values")

    def _value(self, match: re.Match[str]) -> Any:
        word, number, digits, escaped, prefix, string, _ = match.groups()
        if string is not None:
            if prefix is None and "\\" not in string and string[0] not in string[1:-1]:
                return string[1:-1]
            return self._text(prefix or "", string)
        if number is not None:
            return number if number[0] not in "+-" else "".join(number.split()).lstrip("+")
        if word is not None:
            return None if word.upper() == "NULL" else word.upper() == "TRUE"
        if escaped is not None:
            return _c_unescaped(escaped[1:-1].replace("''", "'"))
        return bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")

    def _text(self, prefix: str, quoted: str) -> Any:
        prefix, quote = prefix.strip().lower(), quoted[0]
        inside = quoted[1:-1].replace(quote * 2, quote)
        if self._mysql and "\\" in inside:
            inside = re.sub(
                r"\\(.)",
                lambda m: _MYSQL_ESCAPES.get(m[1], m[0] if m[1] in "%_" else m[1]),
                inside,
                flags=re.S,
            )
        if prefix == "x":
            return _hex(inside)
        if prefix == "b":
            return str(int(inside or "0", 2)) if re.fullmatch("[01]*", inside) else inside
        if prefix == "_binary":
            return inside.encode("utf-8", "surrogateescape")
        return inside

    # --- the few expressions that dumps write for a value -----------------------------------------

    def _expression(self, text: str, at: int) -> tuple[Any, int]:
        """A value, a call of a known function, `ARRAY[…]`, or several joined by `||`."""
        value, at = self._operand(text, at)
        while True:
            at = _end_of(re.compile(rf"{_CAST}\s*"), text, at)
            if text[at : at + 2] != "||":
                return value, at
            other, at = self._operand(text, at + 2)
            value = f"{value}{other}"

    def _operand(self, text: str, at: int) -> tuple[Any, int]:
        match = re.compile(r"\s*(?:(ARRAY)\s*\[|CAST\s*(\()|(\w+)\s*\()", re.I).match(text, at)
        if match and match[1]:
            values, at = self._list(text, match.end(), "]")
            return json.dumps(values, ensure_ascii=False), at
        if match and match[2]:
            value, at = self._expression(text, match.end())
            rest = re.compile(r"\s*AS\s+[\w ]+(?:\([\d, ]*\))?\s*\)", re.I).match(text, at)
            if not rest:
                raise BadRecord("not a cast")
            return value, rest.end()
        if match:
            function = _FUNCTIONS.get(match[3].lower())
            if function is None:
                raise BadRecord("not a known function")
            values, at = self._list(text, match.end(), ")")
            try:
                return function(*values), at
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                raise BadRecord("not usable arguments") from error
        literal = self._literal.match(text, at)
        if literal is None:
            raise BadRecord("not a value")
        return self._value(literal), literal.start(7)

    def _skip(self, text: str, at: int) -> int:
        """Behind the tuple that starts at `at`."""
        depth = 0
        while at < len(text):
            match = self._string.match(text, at) or _SKIPPED.match(text, at)
            if match:
                at = match.end()
                continue
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
            if not depth:
                return at
        return at


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    # what SQLite's shell writes for text with line ends or other control characters
    "replace": lambda text, old, new: text.replace(old, new),
    "char": lambda *codes: "".join(chr(int(code)) for code in codes),
    "unistr": lambda text: re.sub(
        r"\\(?:u([0-9A-Fa-f]{4})|\+([0-9A-Fa-f]{6})|([0-9A-Fa-f]{4})|(\\))",
        lambda m: m[4] or chr(int(m[1] or m[2] or m[3], 16)),
        text,
    ),
}


def copy_row(line: str) -> list[str | None]:
    r"""The values of a `COPY` line: tab between, `\N` for null, C escapes."""
    if "\\" not in line:
        return list(line.split("\t"))
    return [None if field == "\\N" else _c_unescaped(field) for field in line.split("\t")]


def _c_unescaped(text: str) -> str:
    return _C_ESCAPE.sub(_c_escape, text) if "\\" in text else text


def _c_escape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "uU" and len(code) > 1:
        return chr(int(code[1:], 16)) if int(code[1:], 16) < 0x110000 else "\ufffd"
    if code[0] == "x" and len(code) > 1:
        return _byte(int(code[1:], 16))
    if code[0] in "01234567":
        return _byte(int(code, 8) & 0xFF)
    return _C_ESCAPES.get(code, code)


def _byte(code: int) -> str:
    # a byte of UTF-8 that stands alone becomes what an undecodable one becomes
    return chr(code) if code < 0x80 else chr(0xDC00 + code)


def _hex(text: str) -> bytes | str:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text


def bytea(value: Any) -> Any:
    r"""Bytes of PostgreSQL's `\x…` form, or of text whose bytes were written as they are."""
    if not isinstance(value, str):
        return value
    if value.startswith("\\x"):
        return _hex(value[2:])
    return value.encode("utf-8", "surrogateescape")


_ARRAY_TOKEN = re.compile(r'\s*(?:([{}])|"((?:[^"\\]|\\.)*)"|([^,{}"]+))\s*(,?)', re.S)


def json_array(value: Any, numeric: bool, boolean: bool = False) -> Any:
    """JSON of PostgreSQL's `{1,"a b",NULL}`; what is not in that form stays as it is."""
    if not isinstance(value, str) or not value.startswith("{"):
        return value

    def element(text: str) -> str:
        if text == "NULL":
            return "null"
        if boolean and text in ("t", "f"):
            return "true" if text == "t" else "false"
        if numeric and re.fullmatch(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text):
            return text
        return json.dumps(text, ensure_ascii=False)

    found: list[str] = []
    at = 0
    while at < len(value):
        match = _ARRAY_TOKEN.match(value, at)
        if match is None or match.end() == at:
            return value
        at = match.end()
        if match[1]:
            found.append("[" if match[1] == "{" else "]")
        elif match[2] is not None:
            found.append(
                json.dumps(re.sub(r"\\(.)", r"\1", match[2], flags=re.S), ensure_ascii=False)
            )
        else:
            found.append(element(match[3].strip()))
        if match[4]:
            found.append(", ")
    return "".join(found)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
