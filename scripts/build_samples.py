#!/usr/bin/env python3
"""Turn the real data of the Spring XD project into the sample company's raw files.

    python scripts/build_samples.py --source ../shared/data/springxd --out samples

Same input, same bytes. Writes `<out>/raw/{jira,git_pr,confluence,documents,database}` and
`<out>/NOTICE`; nothing else under `<out>` is touched. `<out>/questions.jsonl` is written by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from alchemy.connectors.asciidoc import parse_asciidoc
from alchemy.connectors.blocks import (
    Block,
    Callout,
    Code,
    Heading,
    Inline,
    Items,
    Paragraph,
    Span,
    Table,
    plain,
    to_markdown,
)

REPOSITORY = "https://github.com/spring-attic/spring-xd"
CHAPTERS = "src/docs/asciidoc/"
SPACE = "XD"  # a page needs a space key; the project's own Jira key is the only name it has
STORAGE_PART = "Reference Guide"
FLAT_PART = "Developing Modules and Extensions"
BULK_ISSUES = 500
BULK_PAGE = 250
STORY_POINTS = "customfield_10016"
SOURCES = ("jira", "git_pr", "confluence", "documents", "database")


@dataclass(frozen=True)
class Chapter:
    """A documentation file: its path in the repository and its bytes."""

    path: str
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8")

    @property
    def slug(self) -> str:
        return Path(self.path).stem


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the sample company.")
    parser.add_argument("--source", type=Path, required=True, help="directory with the real data")
    parser.add_argument("--out", type=Path, required=True, help="the samples directory")
    arguments = parser.parse_args(argv)
    missing = [
        name
        for name in ("jira_issues.csv", "commits.jsonl", "docs", "SOURCE.txt")
        if not (arguments.source / name).exists()
    ]
    if missing:
        print(f"{arguments.source} lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    for name, count in build(arguments.source, arguments.out).items():
        print(f"{name}: {count}")
    return 0


def build(source: Path, out: Path) -> dict[str, int]:
    """Write everything; how many records went where."""
    raw = out / "raw"
    for name in SOURCES:
        shutil.rmtree(raw / name, ignore_errors=True)
        (raw / name).mkdir(parents=True)
    origin = (source / "SOURCE.txt").read_text(encoding="utf-8")
    commit = re.search(r"spring-xd commit ([0-9a-f]{40})", origin)
    if not commit:
        raise SystemExit(f"{source / 'SOURCE.txt'} does not name the spring-xd commit")
    base = f"{REPOSITORY}/blob/{commit[1]}/"
    chapters = [
        Chapter(path.name.replace("__", "/"), path.read_bytes())
        for path in sorted((source / "docs").iterdir())
    ]
    counts = jira(source / "jira_issues.csv", raw / "jira")
    counts |= git(source / "commits.jsonl", raw / "git_pr")
    counts |= documentation(chapters, base, raw / "confluence", raw / "documents")
    counts |= database(chapters, raw / "database" / "springxd.sqlite")
    notice = NOTICE.format(**counts, origin=origin.strip(), commit=commit[1])
    (out / "NOTICE").write_text(notice, encoding="utf-8")
    return counts


# --- Jira and git ---------------------------------------------------------------------------------


def jira(file: Path, out: Path) -> dict[str, int]:
    """Most issues as flat JSON Lines, the newest ones as pages of a REST bulk export."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda r: int(r["issuekey"].split("-")[1]))
    flat, bulk = rows[:-BULK_ISSUES], rows[-BULK_ISSUES:]
    write_lines(
        out / "issues.jsonl",
        (
            {
                "key": row["issuekey"],
                "summary": row["title"],
                "description": row["description"] or None,
                "story_points": int(row["storypoint"]),
            }
            for row in flat
        ),
    )
    for start in range(0, len(bulk), BULK_PAGE):
        issues = [
            {
                "key": row["issuekey"],
                "fields": {
                    "summary": row["title"],
                    "description": row["description"] or None,
                    STORY_POINTS: int(row["storypoint"]),
                },
            }
            for row in bulk[start : start + BULK_PAGE]
        ]
        page = {
            "startAt": start,
            "maxResults": BULK_PAGE,
            "total": len(bulk),
            "names": {STORY_POINTS: "Story Points"},
            "issues": issues,
        }
        write_json(out / f"bulk-{start // BULK_PAGE + 1}.json", page)
    return {"issues_flat": len(flat), "issues_bulk": len(bulk)}


def git(file: Path, out: Path) -> dict[str, int]:
    """One record per commit, newest first as in the log."""
    with file.open(encoding="utf-8") as lines:
        commits = [json.loads(line) for line in lines]
    write_lines(
        out / "commits.jsonl",
        (
            {
                "sha": c["sha"],
                "title": c["subject"],
                "description": c["body"],
                "created_at": c["date"],
                "jira_keys": c["jira_keys"],
                "url": f"{REPOSITORY}/commit/{c['sha']}",
            }
            for c in commits
        ),
    )
    return {"commits": len(commits)}


# --- documentation --------------------------------------------------------------------------------


def documentation(
    chapters: Sequence[Chapter], base: str, pages: Path, files: Path
) -> dict[str, int]:
    """The guide's first two parts become wiki pages, everything else stays a file."""
    index = next(c for c in chapters if c.slug == "index")
    parts = guide_parts(index.text)
    by_slug = {c.slug: c for c in chapters if c.path.startswith(CHAPTERS)}
    storage = [by_slug[slug] for slug in parts[STORAGE_PART]]
    flat = [by_slug[slug] for slug in parts[FLAT_PART]]
    titles = {c.slug: page_title(c) for c in chapters}
    for number, chapter in enumerate(storage, 1):
        write_json(
            pages / "storage" / f"{chapter.slug}.json", storage_page(chapter, number, titles, base)
        )
    write_lines(
        pages / "pages.jsonl",
        (
            {
                "id": chapter.slug,
                "title": titles[chapter.slug],
                "body": to_markdown(parse_asciidoc(chapter.text)),
                "space": SPACE,
                "created_at": None,
                "url": base + chapter.path,
            }
            for chapter in flat
        ),
    )
    rest = [c for c in chapters if c not in storage and c not in flat]
    for chapter in rest:
        target = files / chapter.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(chapter.raw)
    return {"pages_storage": len(storage), "pages_flat": len(flat), "documents": len(rest)}


def guide_parts(index: str) -> dict[str, list[str]]:
    """Part title → slugs of its chapters, from the guide's index."""
    parts: dict[str, list[str]] = {}
    chapters: list[str] = []
    for line in index.splitlines():
        if match := re.match(r"= (.+)", line):
            chapters = parts.setdefault(match[1].strip(), [])
        elif match := re.match(r"include::(.+?)\.asciidoc\[", line):
            chapters.append(match[1])
    return parts


def page_title(chapter: Chapter) -> str:
    """The first heading, or the file's name."""
    heading = next((b for b in parse_asciidoc(chapter.text) if isinstance(b, Heading)), None)
    return plain(heading.inline).strip() if heading else chapter.slug


def storage_page(
    chapter: Chapter, number: int, titles: dict[str, str], base: str
) -> dict[str, Any]:
    """A page as the Confluence REST API gives it with `expand=body.storage,space,ancestors`."""
    return {
        "id": chapter.slug,
        "type": "page",
        "title": titles[chapter.slug],
        "space": {"key": SPACE},
        "ancestors": [{"title": STORAGE_PART}],
        "extensions": {"position": number},
        "body": {
            "storage": {
                "value": Xhtml(titles).render(parse_asciidoc(chapter.text)),
                "representation": "storage",
            }
        },
        "_links": {"base": base.rstrip("/"), "webui": f"/{chapter.path}"},
    }


MACROS = {
    "NOTE": "info",
    "TIP": "tip",
    "IMPORTANT": "note",
    "WARNING": "warning",
    "CAUTION": "warning",
}


class Xhtml:
    """Blocks as Confluence storage format."""

    def __init__(self, titles: dict[str, str]) -> None:
        self._titles = titles

    def render(self, blocks: Iterable[Block]) -> str:
        return "\n".join(map(self._block, blocks))

    def _block(self, block: Block) -> str:
        match block:
            case Heading(level, inline):
                return f"<h{level}>{self._inline(inline)}</h{level}>"
            case Paragraph(inline):
                return f"<p>{self._inline(inline)}</p>"
            case Code(text, language):
                named = f'<ac:parameter ac:name="language">{escape(language)}</ac:parameter>'
                body = f"<ac:plain-text-body>{cdata(text)}</ac:plain-text-body>"
                return macro("code", (named if language else "") + body)
            case Callout("", inner):
                return f"<blockquote>{self.render(inner)}</blockquote>"
            case Callout(label, inner):
                body = f"<ac:rich-text-body>{self.render(inner)}</ac:rich-text-body>"
                return macro(MACROS[label], body)
            case Items("number", entries, start):
                attribute = f' start="{start}"' if start != 1 else ""
                return f"<ol{attribute}>{self._entries(entries)}</ol>"
            case Items(_, entries):
                return f"<ul>{self._entries(entries)}</ul>"
            case Table(rows, header):
                lines = [
                    "<tr>" + "".join(self._cell(c, header and i == 0) for c in row) + "</tr>"
                    for i, row in enumerate(rows)
                ]
                return f"<table><tbody>{''.join(lines)}</tbody></table>"

    def _entries(self, entries: Iterable[Any]) -> str:
        return "".join(f"<li>{self._entry(entry)}</li>" for entry in entries)

    def _entry(self, entry: Any) -> str:
        # storage format has no description lists: the term leads its description in bold
        if not entry.term:
            return self.render(entry.blocks)
        term = f"<strong>{self._inline(entry.term)}</strong>"
        match entry.blocks:
            case (Paragraph(inline), *rest):
                return f"<p>{term}: {self._inline(inline)}</p>{self.render(rest)}"
            case rest:
                return f"<p>{term}</p>{self.render(rest)}"

    def _cell(self, inline: Inline, header: bool) -> str:
        tag = "th" if header else "td"
        return f"<{tag}>{self._inline(inline)}</{tag}>"

    def _inline(self, inline: Inline) -> str:
        return "".join(map(self._span, inline))

    def _span(self, span: Span) -> str:
        text = escape(span.text, quote=False).replace("\n", "<br/>")
        match span.kind:
            case "code":
                return f"<code>{text}</code>"
            case "strong":
                return f"<strong>{text}</strong>"
            case "emphasis":
                return f"<em>{text}</em>"
            case "deleted":
                return f"<s>{text}</s>"
            case "link":
                return f'<a href="{escape(span.target)}">{text}</a>'
            case "image":
                name = escape(span.target.rpartition("/")[2])
                alt = f' ac:alt="{escape(span.text)}"' if span.text else ""
                return f'<ac:image{alt}><ri:attachment ri:filename="{name}"/></ac:image>'
            case "reference":
                return self._reference(span)
            case "text":
                return text

    def _reference(self, span: Span) -> str:
        file, _, anchor = span.target.partition("#")
        title = self._titles.get(file.removesuffix(".asciidoc"))
        page = f'<ri:page ri:content-title="{escape(title)}"/>' if title else ""
        place = anchor if title else span.target
        attribute = f' ac:anchor="{escape(place)}"' if place else ""
        body = f"<ac:plain-text-link-body>{cdata(span.text)}</ac:plain-text-link-body>"
        return f"<ac:link{attribute}>{page}{body}</ac:link>"


def macro(name: str, inside: str) -> str:
    """A structured macro."""
    return f'<ac:structured-macro ac:name="{name}">{inside}</ac:structured-macro>'


def cdata(text: str) -> str:
    """A CDATA section, split where the text itself ends one."""
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


# --- database -------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE modules (
  module_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  title TEXT NOT NULL,
  chapter TEXT NOT NULL
);
CREATE TABLE module_options (
  module_id TEXT NOT NULL REFERENCES modules(module_id),
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  type TEXT NOT NULL,
  default_value TEXT,
  possible_values TEXT,
  PRIMARY KEY (module_id, name)
);
"""
OPTION = re.compile(
    r"^\$\$(?P<name>.+?)\$\$:: \$\$(?P<description>.*?)\$\$ "
    r"\*\(\$\$(?P<type>.+?)\$\$, (?:no default|default: `(?P<default>.*?)`)"
    r"(?:, possible values: `(?P<values>.+?)`)?\)\*$",
    re.M | re.S,
)
MODULE = re.compile(
    r"^//\^(?P<id>(?P<kind>\w+)\.(?P<name>\S+))\n(?P<block>.*?)^//\$(?P=id)$", re.M | re.S
)


def modules(chapter: Chapter) -> Iterator[tuple[tuple[str, ...], list[tuple[str | None, ...]]]]:
    """Module rows, each with its option rows, from the generated blocks of a chapter."""
    for match in MODULE.finditer(chapter.text):
        above = re.findall(r"^=== (?!=)(.+?)(?: ===)?$", chapter.text[: match.start()], re.M)
        title = re.sub(r"\s*\(`[^`]*`\)$", "", above[-1].strip())
        found = list(OPTION.finditer(match["block"]))
        announced = len(re.findall(r"^\$\$.+?\$\$:: ", match["block"], re.M))
        if announced != len(found):
            raise SystemExit(
                f"{chapter.path}: {match['id']}: {announced} options, {len(found)} read"
            )
        yield (
            (match["id"], match["kind"], match["name"], title, chapter.path),
            [
                (match["id"], o["name"], o["description"], o["type"], o["default"], o["values"])
                for o in found
            ],
        )


def database(chapters: Sequence[Chapter], file: Path) -> dict[str, int]:
    """A SQLite file with the modules and their options."""
    found = [row for chapter in chapters for row in modules(chapter)]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "made.sqlite")
        connection = sqlite3.connect(made)
        connection.executescript(SCHEMA)
        for module, options in sorted(found):
            connection.execute("INSERT INTO modules VALUES (?,?,?,?,?)", module)
            connection.executemany("INSERT INTO module_options VALUES (?,?,?,?,?,?)", options)
        connection.commit()
        connection.execute("VACUUM")
        connection.close()
        content = bytearray(made.read_bytes())
    # bytes 96..99 hold the version of the SQLite that wrote the file, which readers ignore; a
    # fixed one keeps the file the same on every machine
    content[96:100] = (3_040_000).to_bytes(4, "big")
    file.write_bytes(content)
    return {"modules": len(found), "options": sum(len(options) for _, options in found)}


# --- files ----------------------------------------------------------------------------------------


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """JSON Lines."""
    # JSON allows U+2028 raw, but tools that split on Unicode line ends would break the line there
    text = "".join(dumps(r).replace("\u2028", "\\u2028") + "\n" for r in records)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """One JSON object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(value) + "\n", encoding="utf-8", newline="\n")


NOTICE = """\
The sample company: real data of the Spring XD project
======================================================

Everything under raw/ is made by scripts/build_samples.py from public data. No text was written,
changed or translated; formats were converted as listed below.

Origin and licences
-------------------
{origin}

Spring XD is Copyright its original authors, Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). The issue data set gpt2sp is Copyright its authors
(AWSM Research), MIT License. "Spring" is a trademark of its owner; this project is not affiliated
with it. The changes made to the Apache-licensed files are the conversions described here.

raw/jira ({issues_flat} + {issues_bulk} issues, each once)
--------
issues.jsonl        {issues_flat} issues, flat JSON Lines: key, summary (source: title), description,
                    story_points (source: storypoint).
bulk-1.json, …      the {issues_bulk} issues with the highest numbers as pages of a Jira REST bulk export:
                    issues[].key, issues[].fields.{{summary, description, {story_points_field}}}.
Added because the format needs it: the id of the story point field ({story_points_field}) and its name
under "names"; startAt, maxResults, total. Empty descriptions are null. Descriptions are Jira wiki
markup whose line ends the source had already replaced by spaces.
Not in the source and therefore absent: status, priority, comments and their number, dates, people,
labels, links, issue type. Dropped: split_mark (the data set's train/test mark).

raw/git_pr ({commits} commits)
----------
commits.jsonl       one record per commit, not per pull request: the source has no pull requests.
                    sha, title (subject line), description (rest of the message), created_at (the
                    commit's date), jira_keys (keys the message names), url.
Derived: url, from repository and sha. Dropped: known_keys (jira_keys that are among the issues).
Not in the source and therefore absent: number, author, state, merged_at, additions, deletions,
files, diff_summary. Four commits have an empty message; they are kept as they are.

raw/confluence ({pages_storage} + {pages_flat} pages)
--------------
storage/*.json      the {pages_storage} chapters of the guide's part "Reference Guide", AsciiDoc converted to
                    Confluence storage format (XHTML with macros) in the shape of its REST API.
pages.jsonl         the {pages_flat} chapters of the part "Developing Modules and Extensions" in the flat
                    form title, body, space, created_at; the body is the AsciiDoc as Markdown.
Added because the format needs it: space ("XD", the project's Jira key) and id (the file's name).
Derived: title (first heading), ancestors and extensions.position (the guide's index), url and _links
(the file at commit {commit}).
Lost in conversion: comments, anchors, image sizes, table column widths. Description lists became
bullet lists with the term in bold. Images are referenced, not included.
Not in the source and therefore absent or null: dates, authors, versions.

raw/documents ({documents} files)
-------------
The remaining Markdown and AsciiDoc files, byte for byte, under their paths in the repository.
raw/confluence and raw/documents together hold each of the 61 files once.

raw/database/springxd.sqlite
----------------------------
modules             {modules} modules: module_id (the tag in the documentation, e.g. source.http), kind, name,
                    title (heading of its section), chapter (file).
module_options      {options} options: module_id, name, description, type, default_value (NULL: no
                    default), possible_values; primary key (module_id, name).
Read from the blocks of the documentation that Spring XD's ModuleOptionsReferenceDoc generated. The
tables and their columns are ours; every value is the documentation's.

questions.jsonl
---------------
Written for this project: questions a newcomer may ask, each with the ids of documents that answer it.
""".replace("{story_points_field}", STORY_POINTS)


if __name__ == "__main__":
    raise SystemExit(main())
