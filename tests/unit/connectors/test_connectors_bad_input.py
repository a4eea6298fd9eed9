"""What people really leave in a folder: each ends in quarantine with file, position and reason."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from alchemy.config import CleaningSettings, Settings
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Document, Quarantined

GOOD = {"key": "XD-1", "summary": "A fine issue", "description": "It has some text."}
LIMIT = 64 * 1024


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def escaping() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../etc/jira.jsonl", json.dumps(GOOD))
        archive.writestr("jira/ok.jsonl", json.dumps(GOOD))
    return buffer.getvalue()


def lines(*records: object) -> bytes:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()


CASES: dict[str, tuple[str, bytes, str, str]] = {
    # what: key, content, where the quarantine line says it is, a word of its reason
    "a truncated PDF": ("raw/documents/cut.pdf", b"%PDF-1.7\n1 0 obj\n<<", "file", "PDF"),
    "an empty PDF": ("raw/documents/empty.pdf", b"", "file", ""),
    "a Word file that is none": ("raw/documents/no.docx", b"PK\x03\x04 not really", "file", ""),
    "a zip bomb": (
        "raw/archive/bomb.zip",
        zipped(jira__bomb=b"0" * (64 << 20)),
        "member jira/bomb",
        "",
    ),
    "a member that escapes": (
        "raw/archive/evil.zip",
        escaping(),
        "member ../../etc/jira.jsonl",
        "path",
    ),
    "a line over the limit": (
        "raw/jira/long.jsonl",
        lines(GOOD, {"key": "XD-2", "summary": "x" * 2 * LIMIT}),
        "line 2",
        "larger than",
    ),
    "invalid UTF-8": (
        "raw/jira/latin.jsonl",
        lines(GOOD) + b'{"key": "\xff"}\n',
        "line 2",
        "UTF-8",
    ),
    "a broken line": ("raw/jira/broken.jsonl", lines(GOOD, "{oops"), "line 2", "JSON"),
    "the same key twice": ("raw/jira/twice.jsonl", lines(GOOD, GOOD), "line 2", "same id"),
    "a wrong type": (
        "raw/jira/types.jsonl",
        lines(GOOD, {"key": ["XD-2"], "summary": {}}),
        "line 2",
        "key",
    ),
    "a list of numbers": ("raw/jira/numbers.json", b"[1, 2]", "[0]", "object"),
    "an unknown source": ("raw/slack/a.jsonl", lines(GOOD), "file", "no connector"),
    "an unknown format": ("raw/documents/movie.mp4", b"\0\0", "file", "no reader"),
    "a damaged database": ("raw/database/d.sqlite", b"SQLite format 3\0 and no more", "file", ""),
    "a damaged repository": ("raw/git_pr/r.bundle", b"# v2 git bundle\nnonsense", "file", ""),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cleaning=CleaningSettings(max_record_bytes=LIMIT))


def outcomes(lake: LocalLake, settings: Settings) -> Iterator[Document | Quarantined]:
    for unit in plan_units(lake, settings):
        yield from read_unit(lake, unit, settings)


@pytest.mark.parametrize("what", CASES)
def test_bad_input_is_quarantined_and_what_is_beside_it_is_read(
    what: str, tmp_path: Path, settings: Settings
) -> None:
    key, content, position, word = CASES[what]
    lake = LocalLake(tmp_path)
    lake.write(key, content)
    lake.write("raw/jira/zz-good.jsonl", lines({**GOOD, "key": "XD-9"}))
    found = list(outcomes(lake, settings))
    bad = [o for o in found if isinstance(o, Quarantined)]
    assert [b.position for b in bad if b.position.startswith(position)], bad
    assert all(b.uri.startswith(key) and word in b.reason for b in bad), bad
    assert "jira:XD-9" in {o.id for o in found if isinstance(o, Document)}
    assert not any("XD-2" in b.reason or "0000" in b.reason for b in bad)


def test_every_mixed_line_end_ends_a_line(tmp_path: Path, settings: Settings) -> None:
    lake = LocalLake(tmp_path)
    first, second = json.dumps(GOOD), json.dumps({**GOOD, "key": "XD-2"})
    lake.write("raw/jira/mixed.jsonl", f"{first}\r\n\n{second}\n\r\n".encode())
    lake.write("raw/documents/mixed.txt", b"one\r\ntwo\rthree\nfour")
    found = [o for o in outcomes(lake, settings) if isinstance(o, Document)]
    assert {o.id for o in found} == {"jira:XD-1", "jira:XD-2", "documents:mixed.txt"}
    (text,) = [o.text for o in found if o.source == "documents"]
    assert text.split("\n") == ["one", "two", "three", "four"]


def test_empty_files_and_a_directory_named_like_a_file_lose_nothing(
    tmp_path: Path, settings: Settings
) -> None:
    lake = LocalLake(tmp_path)
    lake.write("raw/jira/empty.jsonl", b"")
    lake.write("raw/documents/empty.md", b"")
    lake.write("raw/documents/folder.md/inside.md", b"# Inside\n\nA text.")
    found = list(outcomes(lake, settings))
    assert [o.id for o in found if isinstance(o, Document)] == ["documents:folder.md/inside.md"]
    assert [(o.uri, o.position) for o in found if isinstance(o, Quarantined)] == [
        ("raw/documents/empty.md", "file")
    ]


def test_a_line_of_200_mb_passes_in_little_memory(tmp_path: Path, settings: Settings) -> None:
    import tracemalloc

    folder = tmp_path / "raw" / "jira"
    folder.mkdir(parents=True)
    with (folder / "huge.jsonl").open("wb") as file:
        file.write(b'{"key": "XD-2", "summary": "')
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + lines(GOOD))
    tracemalloc.start()
    found = list(outcomes(LocalLake(tmp_path), settings))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(o).__name__ for o in found] == ["Quarantined", "Document"]
    assert peak < 32 << 20
