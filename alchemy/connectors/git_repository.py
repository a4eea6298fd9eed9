"""A git repository, commit by commit, from the bundle that `alchemy lake upload` made of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.changes import FileChange, changes_section
from alchemy.connectors.fields import BadRecord, get_time
from alchemy.connectors.git_command import GitFailed, git_output, run_git
from alchemy.connectors.jira_keys import jira_keys
from alchemy.connectors.records import Outcome, RawUnit, make_document, too_large
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import Document, Quarantined

_MOST_FILES = 500
"""Files of one commit that are kept; all are counted."""
_FIELDS: tuple[str, ...] = ("sha", "parents", "written", "committed", "message")
# \1 begins a commit; between the fields, and around file names, git writes NUL
_FORMAT = "%x01%H%x00%P%x00%at%x00%ct%x00%B%x00"
_LOG = (
    *("log", "--stdin", "--raw", "--numstat", "-z", "--find-renames", f"--format={_FORMAT}"),
    *("--encoding=UTF-8", "--no-color", "--no-ext-diff", "--no-textconv", "--no-notes"),
    *("--no-show-signature", "--no-mailmap", "--abbrev=12", "--root", "--diff-merges=off"),
)
_STATUS = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "C": "copied"}
_MAIN_BRANCHES = ("main", "master", "trunk", "develop")


@dataclass(frozen=True)
class Ref:
    """A branch or a tag: its name as people say it and the commit it leads to."""

    kind: str
    name: str
    sha: str


@dataclass
class Commit:
    """A commit while its lines are read."""

    values: dict[str, str]
    files: list[FileChange] = field(default_factory=list[FileChange])
    total: int = 0
    additions: int = 0
    deletions: int = 0
    status: dict[str, str] = field(default_factory=dict[str, str])
    problem: str = ""

    def count(self, numbers: tuple[str, str], path: str, previous: str = "") -> None:
        """Add a changed file."""
        added, deleted = (int(n) if n.isdecimal() else None for n in numbers)
        self.total += 1
        self.additions += added or 0
        self.deletions += deleted or 0
        if len(self.files) < _MOST_FILES:
            status = self.status.get(path, "")
            if added is None:
                status = ", ".join(word for word in (status, "binary") if word)
            self.files.append(FileChange(path, status, added, deleted, previous))


def read_bundle(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One document per commit of any branch or tag.

    Raises:
        AlchemyError: git is not installed, or the lake cannot give the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="alchemy-git-") as scratch:
        where = Path(scratch)
        bundle, repository = where / "repository.bundle", where / "repository.git"
        lake.download(unit.key, bundle)
        try:
            run_git(where, "init", "--quiet", "--bare", "--template=", str(repository))
            run_git(
                repository,
                *("fetch", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules"),
                *(str(bundle), "+refs/*:refs/*"),
            )
            bundle.unlink()
            refs = _refs(repository)
        except GitFailed:
            yield Quarantined(unit.source, unit.key, "file", "not a complete git bundle")
            return
        if not refs:
            yield Quarantined(unit.source, unit.key, "file", "the bundle has no branch and no tag")
            return
        try:
            for ref, commit in _commits(repository, refs, settings.cleaning.max_record_bytes):
                position = f"commit {commit.values['sha'][:12]}"
                try:
                    yield _document(unit, settings, ref, commit)
                except BadRecord as error:
                    yield Quarantined(unit.source, unit.key, position, str(error))
        except GitFailed:
            reason = "the repository is damaged; the rest of its history was not read"
            yield Quarantined(unit.source, unit.key, "file", reason)


def _refs(repository: Path) -> list[Ref]:
    """Tags, oldest first, then branches, the main one first: each names the commits it adds."""
    shape = "%(refname)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)"
    listed = run_git(repository, "for-each-ref", "--sort=creatordate", f"--format={shape}")
    tags: list[Ref] = []
    branches: list[Ref] = []
    for line in listed.splitlines():
        name, kind, sha, peeled_kind, peeled = line.split("\0")
        if "commit" not in (kind, peeled_kind):
            continue  # a tag may name a file
        sha = sha if kind == "commit" else peeled
        if name.startswith("refs/tags/"):
            tags.append(Ref("tag", name.removeprefix("refs/tags/"), sha))
        else:
            short = re.sub(r"^refs/(?:heads/|remotes/[^/]+/|)", "", name)
            branches.append(Ref("branch", short, sha))
    order = {name: place for place, name in enumerate(_MAIN_BRANCHES)}
    branches.sort(key=lambda ref: (order.get(ref.name, len(order)), ref.name))
    return tags + branches


def _commits(repository: Path, refs: list[Ref], limit: int) -> Iterator[tuple[Ref, Commit]]:
    """Every commit once, with the first of `refs` that contains it."""
    before: list[str] = []
    done: set[str] = set()
    for ref in refs:
        if ref.sha in done:
            continue
        done.add(ref.sha)
        with git_output(repository, _LOG, "\n".join([ref.sha, *before, ""])) as pieces:
            for commit in _parsed(_tokens(pieces, limit), limit):
                yield ref, commit
        before.append(f"^{ref.sha}")


def _tokens(pieces: Iterable[bytes], limit: int) -> Iterator[bytes | None]:
    """What stands between NUL bytes; None for what is longer than `limit`."""
    held, oversized = bytearray(), False
    for piece in pieces:
        *ends, rest = piece.split(b"\0")
        for end in ends:
            held += end
            oversized = oversized or len(held) > limit
            yield None if oversized else bytes(held)
            oversized = False
            held.clear()
        if not oversized:
            held += rest
            if len(held) > limit:
                oversized = True
                held.clear()


def _parsed(tokens: Iterator[bytes | None], limit: int) -> Iterator[Commit]:
    commit: Commit | None = None
    for token in tokens:
        text = _text(token).lstrip("\n")
        if text.startswith("\1"):
            if commit is not None:
                yield commit
            rest = [next(tokens, b"") for _ in _FIELDS[1:]]
            values = dict(zip(_FIELDS, [text[1:], *map(_text, rest)], strict=True))
            commit = Commit(values, problem=too_large(limit) if None in rest else "")
        elif commit is None or not text:
            continue
        elif text.startswith(":"):
            mark = text.rsplit(" ", 1)[-1][:1]
            names = [_text(next(tokens, b"")) for _ in range(2 if mark in "RC" else 1)]
            if len(commit.status) < _MOST_FILES:
                commit.status[names[-1]] = _STATUS.get(mark, "")
        elif match := re.match(r"(\d+|-)\t(\d+|-)\t(.*)", text, re.S):
            previous = ""
            path = match[3]
            if not path:  # a renaming has both its names behind it
                previous, path = _text(next(tokens, b"")), _text(next(tokens, b""))
            commit.count((match[1], match[2]), path, previous)
    if commit is not None:
        yield commit


def _text(token: bytes | None) -> str:
    return (token or b"").decode("utf-8", "replace")


def _document(unit: RawUnit, settings: Settings, ref: Ref, commit: Commit) -> Document:
    values = commit.values
    if commit.problem:
        raise BadRecord(commit.problem)
    sha, parents = values["sha"][:12], values["parents"].split()
    subject, _, body = values["message"].partition("\n")
    changes = changes_section(commit.files, commit.total)
    untitled = not subject.strip()
    if untitled:  # a change all the same
        subject = f"Commit {sha}"
    moments = {name: int(values[name]) for name in ("written", "committed") if values[name]}
    return make_document(
        unit,
        settings,
        {},
        key=sha,
        title=subject,
        text="\n\n".join(part for part in (body.strip("\n"), changes) if part.strip()),
        uri=f"{unit.key}#{sha}",
        created_at=get_time(moments, "written"),
        updated_at=get_time(moments, "committed"),
        metrics={
            "additions": None if len(parents) > 1 else float(commit.additions),
            "deletions": None if len(parents) > 1 else float(commit.deletions),
            "files": None if len(parents) > 1 else float(commit.total),
            "description_chars": float(len(body.strip())),
        },
        extra={
            "jira_keys": jira_keys(subject, body),
            "untitled": True if untitled else None,
            "repository": PurePosixPath(unit.key).stem,
            "parents": [parent[:12] for parent in parents],
            "merge": True if len(parents) > 1 else None,
            ref.kind: ref.name,
        },
    )


# --- making the bundle ----------------------------------------------------------------------------


def is_repository(path: Path) -> bool:
    """Whether this directory is a git work tree's top or a bare repository."""
    bare = all((path / name).exists() for name in ("HEAD", "objects", "refs"))
    return path.is_dir() and ((path / ".git").exists() or bare)


def bundle_refs(header: bytes) -> dict[str, str]:
    """Ref → object of a bundle, from its first bytes; empty when they are no bundle's."""
    lines = header.split(b"\n")
    if not re.fullmatch(rb"# v\d git bundle", lines[0]):
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            break
        match = re.fullmatch(rb"([0-9a-f]{40,64}) (.+)", line)
        if match:
            found[match[2].decode("utf-8", "replace")] = match[1].decode()
    return found


def upload_repository(lake: Lake, path: Path, prefix: str) -> bool:
    """Upload a bundle of all branches and tags; False when the stored one has the same refs.

    Raises:
        AlchemyError: git is missing, or the repository cannot be read or is not complete.
    """
    path = path.resolve()
    key = f"{prefix}/{path.name.removesuffix('.git') or 'repository'}.bundle"
    try:
        if run_git(path, "rev-parse", "--is-shallow-repository").strip() == "true":
            raise AlchemyError(
                ErrorCode.INPUT_UNREADABLE,
                f"{path} holds only the latest part of its history",
                "Complete it with `git fetch --unshallow`.",
            )
        kinds = ("refs/heads", "refs/tags", "refs/remotes")
        listed = run_git(path, "for-each-ref", "--format=%(objectname) %(refname)", *kinds)
        pairs = (line.split(" ", 1) for line in listed.splitlines())
        refs = {name: sha for sha, name in pairs if not name.endswith("/HEAD")}
        if not refs:
            raise AlchemyError(ErrorCode.INPUT_UNREADABLE, f"{path} has no commits")
        if lake.exists(key) and bundle_refs(_header(lake, key)) == refs:
            return False
        with tempfile.TemporaryDirectory(prefix="alchemy-git-") as scratch:
            bundle = Path(scratch) / "repository.bundle"
            with git_output(
                path, ("bundle", "create", "--quiet", str(bundle), "--stdin"), _lines(refs)
            ) as pieces:
                for _ in pieces:
                    pass
            lake.upload(key, bundle)
    except GitFailed as error:
        raise AlchemyError(
            ErrorCode.INPUT_UNREADABLE, f"git cannot read {path}: {error}", "Mend the repository."
        ) from error
    return True


def _lines(refs: dict[str, Any]) -> str:
    return "".join(f"{name}\n" for name in sorted(refs))


def _header(lake: Lake, key: str) -> bytes:
    """A bundle's lines before its pack."""
    held = b""
    for piece in lake.stream(key):
        held += piece
        if b"\n\n" in held or len(held) > 64 << 20:
            break
    return held
