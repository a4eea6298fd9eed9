"""Files that a commit or a pull request changed, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alchemy.connectors.blocks import fenced
from alchemy.connectors.fields import clean_line

_MOST_FILES = 200
_PATCH_LINES = 60
_ALL_PATCH_LINES = 600


@dataclass(frozen=True)
class FileChange:
    """One file's change.

    Attributes:
        status: `added`, `modified`, `removed`, `renamed`, …; empty when unknown.
        additions, deletions: lines; None for a binary file or when unknown.
        previous: the path before a renaming.
        patch: a unified diff without its file header.
    """

    path: str
    status: str = ""
    additions: int | None = None
    deletions: int | None = None
    previous: str = ""
    patch: str = ""


def changes_section(files: Sequence[FileChange], total: int, summary: str = "") -> str:
    """A section with the summary, the list of files and the beginning of each patch.

    Bounded, so that a generated file does not drown what people wrote: what is left out is counted.

    Args:
        files: the changes, or the first of them.
        total: how many there are.
        summary: a description of the change that came with it.
    """
    listed = files[:_MOST_FILES]
    lines = [_line(change) for change in listed]
    if total > len(listed) and listed:
        lines.append(f"- {total - len(listed)} more files")
    parts = [summary.strip("\r\n"), "\n".join(lines), *_patches(listed)]
    text = "\n\n".join(part for part in parts if part.strip())
    return f"## Changes\n\n{text}" if text else ""


def _line(change: FileChange) -> str:
    known = change.additions is not None and change.deletions is not None
    size = f"+{change.additions} -{change.deletions}" if known else ""
    kind = change.status if change.status != "modified" or not size else ""
    notes = ", ".join(note for note in (kind, size) if note)
    path = clean_line(change.path).replace("`", "'")
    before = clean_line(change.previous).replace("`", "'")
    moved = f"`{before}` → " if before and before != path else ""
    return f"- {moved}`{path}`{f' ({notes})' if notes else ''}"


def _patches(files: Sequence[FileChange]) -> list[str]:
    parts: list[str] = []
    left = _ALL_PATCH_LINES
    for change in files:
        lines = change.patch.rstrip("\n").split("\n") if change.patch.strip() else []
        if not lines or left <= 0:
            continue
        shown = lines[: min(_PATCH_LINES, left)]
        left -= len(shown)
        parts.append(f"### {clean_line(change.path)}\n\n{fenced(chr(10).join(shown), 'diff')}")
        if len(lines) > len(shown):
            parts.append(f"{len(lines) - len(shown)} more lines of this change are not shown.")
    return parts
