"""A SQL dump as text → its statements and `COPY` rows, in order, within bounded memory.

Strings, identifiers, comments, dollar quotes and `DELIMITER` lines are understood, nothing more:
a semicolon inside any of them ends no statement.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LOOK_AHEAD = 256  # more than the longest token that must be seen whole
_SNIFFED = 1 << 18
_COPY = re.compile(r"\s*COPY\b[^;]+\bFROM\s+STDIN\b", re.I)
_BODY = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+|TEMP(?:ORARY)?\s+|DEFINER\s*=\s*\S+\s+)*"
    r"(?:TRIGGER\b.*\bBEGIN\b|(?:FUNCTION|PROCEDURE)\b.*\bBEGIN\s+ATOMIC\b)",
    re.I | re.S,
)
_BODY_END = re.compile(r"\bEND\s*$", re.I)
_DELIMITER = re.compile(r"DELIMITER[ \t]+(\S+)[^\n]*", re.I)
_META = re.compile(r"\\[^\n]*")  # psql's `\connect`, `\restrict`

_PLAIN = {
    # runs without a token that matters; a whole string counts as plain where nothing escapes
    "mysql": r"(?:[^'\"`;/#\-]++|'[^'\\]*+'|-(?!-)|/(?!\*))++",
    "postgres": r"(?:[^'\";/$\-]++|(?<![Ee])'[^']*+'|-(?!-)|/(?!\*))++",
    "sqlite": r"(?:[^'\"`;/\[\-]++|'[^']*+'|-(?!-)|/(?!\*))++",
}
_TOKENS = {
    "mysql": r"'|\"|`|--(?=\s|$)|#|/\*",
    "postgres": r"'|\"|--|/\*|(?<![\w$])\$(?:[^\W\d]\w*)?\$",
    "sqlite": r"'|\"|`|\[|--|/\*",
}
_QUOTES = {"mysql": "'\"`", "postgres": "'\"", "sqlite": "'\"`["}
_ENDS = {
    "'": r"'",
    "\\'": r"\\.|''|'",
    '"': r'"',
    '\\"': r'\\.|""|"',
    "`": r"`",
    "[": r"\]",
    "--": r"\n",
    "#": r"\n",
    "/*": r"\*/",
}


@dataclass(frozen=True)
class Piece:
    """A statement, or a row of the `COPY` statement before it; `text` is None for one too long.

    Attributes:
        line: 1-based line it starts on.
        complete: False for what the end of the file cuts off.
    """

    line: int
    text: str | None
    row: bool = False
    complete: bool = True


def decode(pieces: Iterable[bytes]) -> Iterator[str]:
    """UTF-8 or, with a byte order mark, UTF-16; undecodable bytes become lone surrogates."""
    decoder: codecs.IncrementalDecoder | None = None
    for piece in pieces:
        if decoder is None:
            wide = piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")(
                "replace" if wide else "surrogateescape"
            )
        yield decoder.decode(piece).replace("\r\n", "\n")
    if decoder is not None:
        yield decoder.decode(b"", True)


def dialect_of(head: str) -> str:
    """`mysql`, `postgres` or `sqlite`, from the beginning of a dump."""
    head = head[:_SNIFFED]
    for dialect, pattern in (
        ("mysql", r"^-- (?:MySQL|MariaDB|phpMyAdmin)|^/\*M?!\d{5}"),
        ("postgres", r"^-- PostgreSQL database|^SET statement_timeout|^COPY .* FROM stdin;"),
        ("sqlite", r"^PRAGMA |^BEGIN TRANSACTION;|\bAUTOINCREMENT\b|\bINTO \[|\bTABLE \["),
        ("mysql", r"\bENGINE *=|\bAUTO_INCREMENT\b|(?:TABLE|INTO) `"),
    ):
        if re.search(pattern, head, re.M | re.I):
            return dialect
    return "postgres"


class Splitter:
    """Cuts a dump into its pieces."""

    def __init__(self, texts: Iterator[str], max_chars: int) -> None:
        self._texts = texts
        self._max = max_chars
        self._buffer, self._at, self._done = "", 0, False
        self._line = 1
        while not self._done and len(self._buffer) < _SNIFFED:
            self._fill()
        self.dialect = dialect_of(self._buffer)
        self._delimiter = ";"
        self._prepare()

    def _prepare(self) -> None:
        tokens = f"{re.escape(self._delimiter)}|;|{_TOKENS[self.dialect]}|."
        self._token = re.compile(tokens, re.S)
        self._plain = re.compile(_PLAIN[self.dialect])

    def _fill(self) -> None:
        piece = next(self._texts, None)
        # what lies before is kept for a moment: `E'` and `$` look at the character before them
        keep = max(0, self._at - 2)
        if piece is None:
            self._done = True
            piece = ""
        self._buffer, self._at = self._buffer[keep:] + piece, self._at - keep

    def _ahead(self, count: int = _LOOK_AHEAD) -> bool:
        """Whether anything is left, with that many characters in sight if there are as many."""
        while len(self._buffer) - self._at < count and not self._done:
            self._fill()
        return self._at < len(self._buffer)

    def _take(self, end: int) -> str:
        text = self._buffer[self._at : end]
        self._line += text.count("\n")
        self._at = end
        return text

    def pieces(self) -> Iterator[Piece]:
        """Statements without comments (their line ends stay), and rows of `COPY`."""
        while (piece := self._statement()) is not None:
            yield piece
            if piece.text is not None and _COPY.match(piece.text):
                yield from self._rows()

    def _statement(self) -> Piece | None:
        self._skip_between()
        if not self._ahead():
            return None
        first, held, size, closed = self._line, list[str](), 0, False
        complete = True

        def keep(text: str) -> None:
            nonlocal size
            size += len(text)
            if size <= self._max:
                held.append(text)
            else:
                held.clear()

        while self._ahead():
            end = len(self._buffer) if self._done else len(self._buffer) - _LOOK_AHEAD // 2
            plain = self._plain.match(self._buffer, self._at, end)
            if plain and plain.end() > self._at:
                stop = plain.end()
                if not self._done and self._buffer[stop - 1] in "-/" and stop - 1 > self._at:
                    stop -= 1  # the first half of `--` or `/*`?
                keep(self._take(stop))
                if stop < end - 1:
                    self._ahead()
                else:
                    continue
            token = self._token.match(self._buffer, self._at)
            if token is None:
                continue
            text = token[0]
            if text == self._delimiter:
                self._take(token.end())
                whole = "".join(held)
                if size <= self._max and _BODY.match(whole) and not _BODY_END.search(whole):
                    keep(text)  # a semicolon inside a trigger's or function's body
                    continue
                closed = True
                break
            if text in ("--", "#", "/*"):
                keep("\n" * self._quoted(text, token.end(), keep=None)[1])
            elif text in _QUOTES[self.dialect] or len(text) > 1:
                complete = self._quoted(text, token.end(), keep=keep)[0]
            else:
                keep(self._take(token.end()))
        text = None if size > self._max else "".join(held)
        if text is not None and not text.strip() and not closed:
            return None
        return Piece(first, text, complete=complete)

    def _skip_between(self) -> None:
        """White space, comments and client commands between statements."""
        while self._ahead():
            space = re.compile(r"\s*").match(self._buffer, self._at)
            if space and space.end() > self._at:
                self._take(space.end())
                continue
            rest = self._buffer[self._at : self._at + _LOOK_AHEAD]
            token = self._token.match(self._buffer, self._at)
            command = _META.match(rest) if self.dialect == "postgres" else _DELIMITER.match(rest)
            if token and token[0] in ("--", "#", "/*"):
                self._quoted(token[0], token.end(), keep=None)
            elif command:
                if self.dialect != "postgres":
                    self._delimiter = command[1]
                    self._prepare()
                self._take(self._at + command.end())
            elif token and token[0] == self._delimiter:
                self._take(token.end())
            else:
                return

    def _quoted(self, opening: str, start: int, keep: object) -> tuple[bool, int]:
        """Pass over a string, identifier or comment; whether it ends, and its line ends."""
        before = self._line
        write = keep if callable(keep) else (lambda _: None)
        previous = self._buffer[max(0, self._at - 2) : self._at]
        escaping = opening in "'\"" and (
            self.dialect == "mysql"
            or (
                self.dialect == "postgres"
                and opening == "'"
                and bool(re.search(r"(?:^|\W)[Ee]$", previous))
            )
        )
        dollar = opening.startswith("$")
        pattern = re.escape(opening) if dollar else _ENDS[f"\\{opening}" if escaping else opening]
        if opening == "/*" and self.dialect == "postgres":
            pattern = r"/\*|\*/"
        closing, depth = re.compile(pattern, re.S), 1
        write(self._take(start))
        while self._ahead():
            end = len(self._buffer) if self._done else len(self._buffer) - _LOOK_AHEAD // 2
            match = closing.search(self._buffer, self._at, len(self._buffer))
            if match is None or (match.start() >= end and not self._done):
                write(self._take(max(self._at, min(end, len(self._buffer)))))
                continue
            write(self._take(match.end()))
            if match[0][0] == "\\" or match[0] in ("''", '""'):
                continue
            depth += 1 if match[0] == "/*" else -1
            if not depth:
                return True, self._line - before
        return opening in ("--", "#"), self._line - before

    def _rows(self) -> Iterator[Piece]:
        r"""The lines of a `COPY` block up to `\.`, after the end of the statement's own line."""
        self._read_line()
        while self._ahead(1):
            line = self._line
            row = self._read_line()
            if row == "\\.":
                return
            yield Piece(line, row, row=True)
        yield Piece(self._line, None, row=True, complete=False)

    def _read_line(self) -> str | None:
        """The rest of this line without its end; None when it is over the limit."""
        held, size = list[str](), 0
        while True:
            end = self._buffer.find("\n", self._at)
            text = self._take(end if end >= 0 else len(self._buffer))
            size += len(text)
            if size <= self._max:
                held.append(text)
            else:
                held.clear()
            if end >= 0:
                self._take(end + 1)
            if end >= 0 or self._done:
                return "".join(held) if size <= self._max else None
            self._fill()
