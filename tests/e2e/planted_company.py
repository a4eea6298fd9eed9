"""Planted secrets, and look-alikes that must stay, in every kind of raw data of the sample company.

The values come from `pii_corpus`. Around each stands prose of random length, so that chunk borders
fall before, after and beside what is redacted.
"""

from __future__ import annotations

import html
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pii_corpus import Planted, planted
from pii_look_alikes import look_alikes
from pii_values import HEX, Maker

SEED = 20_240
_CASES = planted(SEED)
_SHORTEST = 6
"""A shorter value, of which the corpus has one or two, cannot be told from chance."""
_ACCOUNTS = 8
_LOOK_ALIKES = 120
_SUBJECTS = ("ledger", "turbine", "harbour", "glacier", "orchard", "violin", "lantern", "compass")
_VERBS = ("stalls", "restarts", "fails over", "drops records", "recovers", "slows down")
_CAUSES = ("a full disk", "an old driver", "a late batch", "a wrong offset", "a stale lock")


class Company:
    """What is planted, the same at every call, for any raw directory.

    Attributes:
        cases: the hidden values of each planted text; one of them at least was written.
        texts: planted texts that hold their secret themselves.
        secrets: all of them that can be told from chance.
        reader: an e-mail address, also in the name of a file.
        look_alikes: texts that must reach the index as they are.
    """

    def __init__(self) -> None:
        m = Maker(SEED)
        self._accounts = [(m.email(), m.plain_password()) for _ in range(_ACCOUNTS)]
        self.reader = m.email()
        hidden = [case.hidden for case in _CASES]
        hidden += [(value,) for account in self._accounts for value in account]
        hidden.append((self.reader,))
        self.texts = [case.text for case in _CASES if case.syntax not in ("title", "extra")]
        self.cases = [values for values in hidden if min(map(len, values)) >= _SHORTEST]
        self.secrets = sorted({value for values in self.cases for value in values})
        # what spans lines is no good to compare with a normalised text
        texts = [case.text for case in look_alikes(SEED) if "\n" not in case.text]
        self.look_alikes = texts[:_LOOK_ALIKES]

    def write(self, raw: Path) -> None:
        """Add the planted records to a raw directory that has a folder for each source."""
        plain = [case for case in _CASES if not case.extra]
        shares = [plain[start :: len(_PLACES)] for start in range(len(_PLACES))]
        # fields beside the text exist in Jira only
        shares[_PLACES.index(_issues)] += [case for case in _CASES if case.extra]
        for place, cases in zip(_PLACES, shares, strict=True):
            place(Maker(SEED), raw, cases)
        self._write_accounts(raw / "database" / "accounts.sqlite")
        letter = raw / "documents" / f"letter-to-{self.reader}.md"
        letter.write_text(f"# A letter\n\n{prose(Maker(SEED), 2)}\n")
        self._write_look_alikes(raw)

    def _write_accounts(self, path: Path) -> None:
        """A table whose key is an e-mail address and whose columns say what they hold."""
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE accounts (email TEXT PRIMARY KEY, password TEXT)")
            connection.executemany("INSERT INTO accounts VALUES (?, ?)", self._accounts)

    def _write_look_alikes(self, raw: Path) -> None:
        m = Maker(SEED + 1)  # other hashes than those of the planted commits
        hints = [(n, f"{prose(m, 3)}\n\n{t}") for n, t in enumerate(self.look_alikes)]
        commits = [_commit(m, f"Hint {n}", text) for n, text in hints[1::2]]
        _write_lines(raw / "git_pr" / "hints.jsonl", commits)
        path = raw / "database" / "hints.sqlite"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE hints (id INTEGER PRIMARY KEY, hint TEXT)")
            connection.executemany("INSERT INTO hints VALUES (?, ?)", hints[::2])


def subject(number: int) -> str:
    """What record `number` of a place is about; a question can name it."""
    return f"{_SUBJECTS[number % len(_SUBJECTS)]} incident {number}"


def prose(m: Maker, sentences: int) -> str:
    """Harmless sentences."""
    return " ".join(
        f"The {m.pick(*_SUBJECTS)} service {m.pick(*_VERBS)} after {m.int(2, 90)} minutes because "
        f"of {m.pick(*_CAUSES)} in zone {m.int(1, 40)}."
        for _ in range(sentences)
    )


def _around(m: Maker, text: str, most: int = 8) -> str:
    return f"{prose(m, m.int(0, most))}\n\n{text}\n\n{prose(m, m.int(1, most))}"


def _title(case: Planted, number: int, what: str) -> str:
    return case.title if case.syntax == "title" else f"{what}: {subject(number)}"


def _commit(m: Maker, title: str, text: str) -> dict[str, Any]:
    return {"sha": m.of(HEX, 40), "title": title, "description": text}


def _issues(m: Maker, raw: Path, cases: list[Planted]) -> None:
    """In the description, in custom fields, and in some summaries."""
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        row = {"key": f"SEC-{number}", "summary": _title(case, number, "Issue")}
        if case.title == "Title" and number % 3 == 0:
            row["summary"] = case.text  # on one line there, whatever it was
        row["description"] = _around(m, case.text)
        rows.append(row | ({"custom": case.extra} if case.extra else {}))
    _write_lines(raw / "jira" / "planted.jsonl", rows)


def _comments(m: Maker, raw: Path, cases: list[Planted]) -> None:
    rows = [
        {
            "key": f"TALK-{number}",
            "summary": f"Talk: {subject(number)}",
            "description": prose(m, 2),
            "comments": [{"body": _around(m, _written(case), 4)} for case in group],
        }
        for number, group in enumerate(_groups(cases, 4))
    ]
    _write_lines(raw / "jira" / "planted-comments.jsonl", rows)


def _commits(m: Maker, raw: Path, cases: list[Planted]) -> None:
    rows = [
        _commit(m, _title(case, number, "Change"), _around(m, _written(case), 3))
        for number, case in enumerate(cases)
    ]
    _write_lines(raw / "git_pr" / "planted.jsonl", rows)


def _pages(m: Maker, raw: Path, cases: list[Planted]) -> None:
    rows = [
        {
            "id": f"page-{number}",
            "title": _title(group[0], number, "Page"),
            "body": "\n\n".join(_around(m, _written(case)) for case in group),
        }
        for number, group in enumerate(_groups(cases, 3))
    ]
    _write_lines(raw / "confluence" / "planted.jsonl", rows)


def _storage_pages(m: Maker, raw: Path, cases: list[Planted]) -> None:
    """Confluence's XHTML: code macros, preformatted text, and paragraphs with line breaks."""
    pages = []
    for number, group in enumerate(_groups(cases, 3)):
        body = ""
        for position, case in enumerate(group):
            text = _written(case)
            escaped = html.escape(text, quote=False)
            body += f"<h2>Step {position}</h2><p>{prose(m, m.int(1, 9))}</p>"
            body += (
                '<ac:structured-macro ac:name="code"><ac:plain-text-body><![CDATA['
                + text.replace("]]>", "]]]]><![CDATA[>")
                + "]]></ac:plain-text-body></ac:structured-macro>",
                f"<pre>{escaped}</pre>",
                "<p>" + escaped.replace("\n", "<br/>") + "</p>",
            )[position]
        title = _title(group[0], number, "Stored page")
        storage = {"storage": {"value": body, "representation": "storage"}}
        pages.append({"id": f"stored-{number}", "type": "page", "title": title, "body": storage})
    path = raw / "confluence" / "planted.json"
    path.write_text(json.dumps({"results": pages}), encoding="utf-8")


def _documents(m: Maker, raw: Path, cases: list[Planted]) -> None:
    """Long texts, of which chunks are cut."""
    for number, group in enumerate(_groups(cases, 10)):
        text = "\n\n".join(_around(m, _written(case)) for case in group)
        name = f"planted-{number}.{'md' if number % 2 else 'txt'}"
        (raw / "documents" / name).write_text(f"# {subject(number)}\n\n{text}\n", encoding="utf-8")


def _cells(m: Maker, raw: Path, cases: list[Planted]) -> None:
    path = raw / "database" / "planted.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, note TEXT)")
        connection.executemany(
            "INSERT INTO notes (title, note) VALUES (?, ?)",
            [(_title(c, n, "Note"), _around(m, _written(c), 2)) for n, c in enumerate(cases)],
        )


_PLACES: tuple[Callable[[Maker, Path, list[Planted]], None], ...] = (
    *(_issues, _comments, _commits, _pages, _storage_pages, _documents, _cells),
)


def _written(case: Planted) -> str:
    """The text, under its own title where that holds the secret: a record may carry several."""
    return f"{case.title}\n\n{case.text}" if case.syntax == "title" else case.text


def _groups(cases: list[Planted], size: int) -> Iterator[list[Planted]]:
    for start in range(0, len(cases), size):
        yield cases[start : start + size]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
