"""Immutable versions and the numbered pointers that publish them.

A version is a prefix with files and, written last, `manifest.json`. A pointer is a series of
create-only objects `<prefix>/<n>.json`; the highest n is live, so of two writers one wins.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import JsonRecord, digest_of

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest(JsonRecord):
    """`manifest.json`: file name → sha256 and size, one digest over all, and free metadata."""

    version: str
    files: dict[str, str]
    bytes: int
    sha256: str
    meta: dict[str, Any] = field(default_factory=dict)


def file_digest(path: Path) -> str:
    """sha256 hex of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_digests(directory: Path) -> dict[str, str]:
    """Relative POSIX path → sha256 of every file below `directory`, the manifest excluded."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(directory).as_posix(): file_digest(p) for p in paths}


def publish_directory(
    lake: Lake, prefix: str, version: str, directory: Path, meta: dict[str, Any] | None = None
) -> Manifest:
    """Upload a directory as `<prefix>/<version>/`, manifest last.

    Publishing the same version again is a no-op when the manifest is already there.
    """
    root = f"{prefix}/{version}"
    if lake.exists(f"{root}/{MANIFEST}"):
        return read_manifest(lake, root)
    files = directory_digests(directory)
    for name in files:
        lake.upload(f"{root}/{name}", directory / name)
    size = sum((directory / name).stat().st_size for name in files)
    manifest = Manifest(version, files, size, digest_of(files), meta or {})
    lake.write(f"{root}/{MANIFEST}", manifest.to_json().encode())
    return manifest


def read_manifest(lake: Lake, root: str) -> Manifest:
    """The manifest of the version at `root`; NOT_FOUND or CORRUPT."""
    raw = lake.read(f"{root}/{MANIFEST}")
    try:
        return Manifest.from_dict(json.loads(raw))
    except (ValueError, TypeError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"manifest of {root} in {lake.uri} is damaged",
            "Build the version again.",
        ) from error


def fetch_directory(lake: Lake, root: str, cache: Path) -> tuple[Path, Manifest]:
    """Copy a version to `cache/<sha256>/` and verify every file; reuse a verified copy.

    Raises:
        AlchemyError: CORRUPT when a file does not match the manifest.
    """
    manifest = read_manifest(lake, root)
    target = cache / manifest.sha256
    if target.is_dir():
        return target, manifest
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        for name, expected in manifest.files.items():
            lake.download(f"{root}/{name}", partial / name)
            if file_digest(partial / name) != expected:
                raise AlchemyError(
                    ErrorCode.CORRUPT,
                    f"{root}/{name} in {lake.uri} does not match its manifest",
                    "The version is refused; build it again.",
                )
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():  # another process on this machine was first
                raise
        return target, manifest
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def live_pointer(lake: Lake, prefix: str) -> tuple[int, dict[str, Any]] | None:
    """Highest number under `<prefix>/` and its content, or None before the first."""
    numbers = [
        int(stem)
        for item in lake.list(f"{prefix}/")
        if (stem := item.key.rpartition("/")[2].removesuffix(".json")).isdigit()
    ]
    if not numbers:
        return None
    number = max(numbers)
    return number, json.loads(lake.read(f"{prefix}/{number}.json"))


def advance_pointer(lake: Lake, prefix: str, payload: dict[str, Any], after: int) -> int:
    """Create pointer number `after + 1`; CONFLICT when another writer was first."""
    number = after + 1
    lake.create(f"{prefix}/{number}.json", json.dumps(payload, ensure_ascii=False).encode())
    return number


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted name → [before, after], where two nested mappings differ; lists count as a whole."""
    mine, theirs = _dotted(before), _dotted(after)
    return {
        name: [mine.get(name), theirs.get(name)]
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    }


def _dotted(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in cast("Mapping[str, Any]", value).items():
        found |= _dotted(inner, f"{name}.{key}" if name else str(key))
    return found
