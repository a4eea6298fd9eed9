"""What no kept release and no live pointer needs any more, and removing it.

Everything in the lake is either raw or made from it, in versions that are never changed. Kept are:
the live release, the newest ones and pinned ones, with the index, the adapter, the profile and the
pairs of each; the last wash (the next one continues it) and whatever is young (a run may be at it),
with everything that their receipts name. The rest can be made again.

A version's proof (manifest, receipt) goes first, so that what is left of an interrupted removal is
never taken for a whole version. Raw data, feedback, tombstones, pointers, base models and the
records of releases stay.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake, LakeObject
from alchemy.release.model import all_releases, live_release, pinned_releases, released
from alchemy.stores.versions import MANIFEST, live_pointer, read_manifest
from alchemy.types import JsonRecord, Release

VERSIONS = ("index", "adapters")
CORPUS = "processed"
RUNS = ("runs", CORPUS, "quant", "sft")
WASHED, EMBEDDINGS, LEDGER = "washed", "embeddings", "ledger"
_PROOFS = (MANIFEST, "receipt.json", "report.json", "done.json")
_POINTERS = 10_000

log = get_logger()


@dataclass(frozen=True)
class Policy:
    """What is kept besides what is live, pinned or needed by the next wash.

    Attributes:
        releases: newest releases that were live, with all they need.
        min_age_s: what was written later stays: it may be of a run in progress.
        embeddings: also remove vectors of texts that no kept index holds.
    """

    releases: int = 3
    min_age_s: float = 3600.0
    embeddings: bool = False


@dataclass(frozen=True)
class Garbage(JsonRecord):
    """Something that can go.

    Attributes:
        kind: `index`, `adapters`, `run`, `processed` (of a run of which a release needs the rest),
            `washed`, `embeddings` or `cache`.
        name: version, run, or what is left of a key or path.
        keys: lake objects, proofs first; of a cache none.
        path: local directory; of lake objects empty.
    """

    kind: str
    name: str
    bytes: int
    objects: int
    keys: tuple[str, ...] = ()
    path: str = ""


@dataclass
class Needed:
    """What must stay.

    Attributes:
        versions: by kind.
        runs: whole ones; of `released_runs` all but the corpus.
        washed: `<settings>/<object>` of parts.
    """

    versions: dict[str, set[str]] = field(
        default_factory=lambda: {kind: set() for kind in VERSIONS}
    )
    runs: set[str] = field(default_factory=set[str])
    released_runs: set[str] = field(default_factory=set[str])
    washed: set[str] = field(default_factory=set[str])
    releases: list[Release] = field(default_factory=list[Release])

    def holds(self, found: Garbage) -> bool:
        """Whether this has come to be needed."""
        if found.kind in VERSIONS:
            return found.name in self.versions[found.kind]
        if found.kind == "run":
            return found.name in self.runs | self.released_runs
        if found.kind == CORPUS:
            return found.name in self.runs
        return found.kind == WASHED and found.name in self.washed


def kept_releases(lake: Lake, policy: Policy) -> list[Release]:
    """The live one, the newest, pinned and young ones."""
    live, pinned = live_release(lake), pinned_releases(lake)
    newest = [release.id for release in islice(released(lake, _POINTERS), policy.releases)]
    kept = {*newest, *pinned, *([live.id] if live else [])}
    young = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - policy.min_age_s))
    return [r for r in all_releases(lake) if r.id in kept or r.created_at >= young]


def needed(lake: Lake, policy: Policy) -> Needed:
    """Follow every reference from what is kept."""
    found = Needed(releases=kept_releases(lake, policy))
    for release in found.releases:
        found.versions["index"].add(release.index)
        found.versions["adapters"].add(release.adapter)
        found.released_runs.add(release.run_id)
    young = time.time() - policy.min_age_s
    for kind in RUNS:
        for run_id, objects in _grouped(lake, kind):
            if any(item.modified > young for item in objects):
                found.runs.add(run_id)
    pointer = live_pointer(lake, LEDGER)
    if pointer is not None:
        found.runs.add(pointer[1]["run_id"])
        found.washed |= _washed_roots(lake, pointer[1]["run_id"])
    for run_id in found.runs:
        for item in lake.list(f"runs/{run_id}/"):
            if item.key.endswith("/receipt.json"):
                kind, _, name = str(_json(lake, item.key).get("uri", "")).partition("/")
                if kind in VERSIONS:
                    found.versions[kind].add(name)
    return found


def find_garbage(
    lake: Lake,
    cache: Path,
    policy: Policy,
    hashes_of: Callable[[Release], Iterable[str]] | None = None,
) -> list[Garbage]:
    """What can go, by kind and name.

    Args:
        cache: this machine's verified copies, `<data>/cache`.
        hashes_of: content hashes of the chunks of a release's index; needed for embeddings.
    """
    keep, young = needed(lake, policy), time.time() - policy.min_age_s
    found: list[Garbage] = []
    for kind in VERSIONS:
        for version, objects in _grouped(lake, kind):
            if version not in keep.versions[kind] and _all_older(objects, young):
                found.append(_of(kind, version, objects))
    runs: dict[str, list[LakeObject]] = {}
    for kind in RUNS:
        for run_id, objects in _grouped(lake, kind):
            runs.setdefault(run_id, []).extend(objects)
    for run_id, objects in sorted(runs.items()):
        if run_id in keep.runs or not _all_older(objects, young):
            continue
        corpus = [item for item in objects if item.key.startswith(f"{CORPUS}/")]
        if run_id not in keep.released_runs:
            found.append(_of("run", run_id, objects))
        elif corpus:  # a missing file shows when the run's receipts are verified
            found.append(_of(CORPUS, run_id, corpus))
    washed = dict(_grouped(lake, WASHED, depth=2))
    # a wash that runs for longer than the least age still writes: then nothing of any goes
    if all(_all_older(objects, young) for objects in washed.values()):
        found += [_of(WASHED, r, o) for r, o in washed.items() if r not in keep.washed]
    if policy.embeddings:
        assert hashes_of is not None
        found += _embeddings(lake, keep, young, hashes_of)
    return [*found, *_copies(lake, cache, keep, young)]


def remove_garbage(lake: Lake, garbage: Iterable[Garbage], policy: Policy) -> Iterator[Garbage]:
    """Remove it piece by piece; yields what went.

    What is needed again meanwhile (a run that came upon an old version) stays.
    """
    kind, keep = "", Needed()
    for item in garbage:
        if item.kind != kind and item.kind in (*VERSIONS, "run", CORPUS, WASHED):
            kind, keep = item.kind, needed(lake, policy)
        if keep.holds(item):
            log.info("gc.needed_again", kind=item.kind, name=item.name)
            continue
        for key in item.keys:
            lake.delete(key)
        if item.path:
            shutil.rmtree(item.path, ignore_errors=True)
        yield item


def _of(kind: str, name: str, objects: Iterable[LakeObject]) -> Garbage:
    ordered = sorted(objects, key=lambda item: (not item.key.endswith(_PROOFS), item.key))
    keys = tuple(item.key for item in ordered)
    return Garbage(kind, name, sum(item.size for item in ordered), len(keys), keys)


def _grouped(lake: Lake, prefix: str, depth: int = 1) -> Iterator[tuple[str, list[LakeObject]]]:
    """(name, objects) of each folder `depth` levels below a prefix."""
    groups: dict[str, list[LakeObject]] = {}
    for item in lake.list(f"{prefix}/"):
        parts = item.key.split("/")
        if len(parts) > depth + 1:
            groups.setdefault("/".join(parts[1 : depth + 1]), []).append(item)
    yield from sorted(groups.items())


def _all_older(objects: Iterable[LakeObject], moment: float) -> bool:
    return all(item.modified <= moment for item in objects)


def _washed_roots(lake: Lake, run_id: str) -> set[str]:
    """`<settings>/<object>` of the parts that the last wash's ledger names."""
    try:
        lines = lake.read(f"processed/{run_id}/ledger.jsonl").splitlines()[1:]
    except AlchemyError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return set()
        raise
    roots = (unit["root"] for line in lines for unit in json.loads(line)["units"])
    return {"/".join(root.split("/")[1:3]) for root in roots}


def _embeddings(
    lake: Lake, keep: Needed, young: float, hashes_of: Callable[[Release], Iterable[str]]
) -> Iterator[Garbage]:
    """Shards of which no kept index holds a text; a shard goes whole or not at all."""
    from alchemy.knowledge.embeddings import shard_hashes

    used: dict[str, set[str]] = {}
    for release in {release.index: release for release in keep.releases}.values():
        manifest = read_manifest(lake, f"index/{release.index}")
        used.setdefault(str(manifest.meta["embedder"]), set()).update(hashes_of(release))
    for model, objects in _grouped(lake, EMBEDDINGS):
        known = used.get(model, set())
        for item in objects:
            if item.modified > young:
                continue
            if not known or known.isdisjoint(shard_hashes(lake, item.key)):
                yield _of(EMBEDDINGS, item.key.partition("/")[2], [item])


def _copies(lake: Lake, cache: Path, keep: Needed, young: float) -> Iterator[Garbage]:
    """Local copies of versions that are not kept, and what interrupted fetches left."""
    for kind in VERSIONS:
        kept = {
            read_manifest(lake, f"{kind}/{version}").sha256
            for version in keep.versions[kind]
            if lake.exists(f"{kind}/{version}/{MANIFEST}")
        }
        folder = cache / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name in kept or path.stat().st_mtime > young:
                continue
            files = [file for file in path.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files)
            name = f"{kind}/{path.name}"
            yield Garbage("cache", name, size, len(files), path=str(path))


def _json(lake: Lake, key: str) -> dict[str, object]:
    try:
        return json.loads(lake.read(key))
    except ValueError as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{key} in {lake.uri} is damaged: nothing is removed while it cannot be followed",
            "Delete it, or run its stage again.",
        ) from error
