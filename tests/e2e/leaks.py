"""Looking for planted values in everything that a run leaves behind, in whatever form it is kept."""

from __future__ import annotations

import gzip
import html
import json
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import redis
from pyarrow import parquet

_SPACE = re.compile(r"\s+")
_SQLITE = b"SQLite format 3\x00"
_PLAIN_SUFFIXES = (".json", ".jsonl", ".log", ".txt", ".out", ".err", ".md", ".yaml")
_WORD = re.compile(r"[^\W_]{10,}")
_STEM = 3
"""Letters a stemmer may take off the end of a word."""


class Finder:
    """Finds any of the values: as they are, escaped, in another case, with other white space."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = {form: value for value in values for form in _forms(value)}
        self._patterns = sorted(self._values)
        self._words = {
            word[:-_STEM].lower(): value
            for value in set(self._values.values())
            for word in _WORD.findall(value)
            if re.search(r"\d", word)
        }

    def in_text(self, text: str) -> set[str]:
        """Values that a text holds."""
        squeezed = _SPACE.sub(" ", text)
        found = pl.Series([squeezed]).str.extract_many(
            self._patterns, ascii_case_insensitive=True, overlapping=True
        )
        by_form = {form.lower(): form for form in self._values}
        forms = {by_form[hit.lower()] for hit in found.explode().drop_nulls()}
        return {self._values[form] for form in forms if _is_whole(form, squeezed)}

    def in_bytes(self, raw: bytes) -> set[str]:
        """Values that binary content holds."""
        return self.in_text(raw.decode("latin-1")) if raw else set()

    def in_words(self, words: Sequence[str]) -> set[str]:
        """Values of which a full-text index has a word."""
        lines = {word[: len(stem)]: stem for word in words for stem in (word[:-_STEM],) if stem}
        lines |= {word: word for word in words}
        return {self._words[line] for line in lines if line in self._words}


def _forms(value: str) -> set[str]:
    squeezed = _SPACE.sub(" ", value)
    joined = re.sub(r"[\s().-]", "", value)
    return {
        squeezed,
        json.dumps(squeezed)[1:-1],
        json.dumps(squeezed, ensure_ascii=False)[1:-1],
        html.escape(squeezed),
        urllib.parse.quote(squeezed, safe=""),
        *([joined] if len(joined) >= 10 else []),
    }


def _is_whole(form: str, text: str) -> bool:
    """Whether a number is found as itself, not as a part of a longer one."""
    if not re.fullmatch(r"[\d .+()-]+", form):
        return True
    return bool(re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", text))


def in_file(finder: Finder, path: Path) -> set[str]:
    """Values in one file, read as what it is."""
    raw = path.read_bytes()
    if raw.startswith(_SQLITE):
        return in_sqlite(finder, path)
    if raw.startswith(b"PAR1"):
        return finder.in_text(
            _flat(parquet.read_table(path).to_pylist()).decode("utf-8", "replace")
        )
    if raw.startswith(b"\x1f\x8b"):
        raw = gzip.decompress(raw)
    if path.suffix in _PLAIN_SUFFIXES:
        return finder.in_text(raw.decode("utf-8", "replace"))
    return finder.in_bytes(raw)


def in_sqlite(finder: Finder, path: Path) -> set[str]:
    """Values in the rows of a database, and in the stemmed words of an index."""
    found: set[str] = set()
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            found |= finder.in_text("\n".join(_cell(c) for row in rows for c in row))
            if name == "terms":
                found |= finder.in_words([row[0] for row in rows])
    finally:
        connection.close()
    return found


def _cell(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def in_tree(finder: Finder, root: Path, *without: Path) -> dict[Path, set[str]]:
    """Files under a directory that hold a value; `without` is left out.

    Under the directory itself: values in the files' names.
    """
    found: dict[Path, set[str]] = {}
    paths = list(_files(root, without))
    if names := finder.in_text("\n".join(str(path.relative_to(root)) for path in paths)):
        found[root] = names
    for path in paths:
        try:
            hits = in_file(finder, path)
        except FileNotFoundError:  # a live cluster turns its files over
            continue
        if hits:
            found[path] = hits
    return found


def _files(root: Path, without: tuple[Path, ...]) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if not any(path.is_relative_to(other) for other in without):
            if path.is_file() and not path.is_symlink():
                yield path


def in_redis(finder: Finder, url: str) -> dict[str, set[str]]:
    """Keys whose name or value holds a value, of any type."""
    found: dict[str, set[str]] = {}
    with redis.Redis.from_url(url) as client:
        readers: dict[Any, Callable[[Any], object]] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"stream": client.xrange,
        }
        for key in client.scan_iter():
            content = readers[client.type(key)](key)
            if hits := finder.in_bytes(key) | finder.in_bytes(_flat(content)):
                found[key.decode(errors="replace")] = hits
    return found


def _flat(content: object) -> bytes:
    """The bytes of a reply, however they are nested."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, dict):
        content = content.items()
    if isinstance(content, Iterable) and not isinstance(content, str):
        return b"\n".join(_flat(part) for part in content)
    return str(content).encode()
