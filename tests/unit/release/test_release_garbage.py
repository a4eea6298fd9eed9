"""What `gc` removes and, above all, what it leaves: a lake of several runs and releases."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from release_world import Words, chunks

from alchemy.config import RetrievalSettings
from alchemy.knowledge.build import write_index
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import FORMAT, Snapshot
from alchemy.release.garbage import Policy, find_garbage, remove_garbage
from alchemy.release.model import pin_release, publish_release, unpin_release
from alchemy.stage import write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import publish_directory
from alchemy.types import Principal, Receipt, Release, text_digest

OLD_S = 7200.0
ASKER = Principal("u", "default", ("everyone",))


class Site:
    """A lake in which `cycle(n)` makes run, index, adapter and release n, all two hours old."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lake = LocalLake(root / "lake")
        self.cache = root / "cache"

    def cycle(self, n: int, *, release: bool = True) -> None:
        run_id = f"run-{n}"
        content = [replace(c, text=f"{c.text} Version {n}.") for c in chunks()[:4]]
        content = [replace(c, content_hash=text_digest(c.text)) for c in content]
        vectors = Words().encode([c.text for c in content])
        EmbeddingCache(self.lake, Words.digest, Words.dim).add(
            [c.content_hash for c in content], vectors
        )
        write_index(self.root / "built" / str(n), content, vectors, [])
        meta = {"format": FORMAT, "embedder": Words.digest}
        built = self.root / "built" / str(n)
        manifest = publish_directory(self.lake, "index", f"ix-{n}", built, meta)
        adapter = self.root / "adapter" / str(n)
        adapter.mkdir(parents=True)
        (adapter / "adapter_model.safetensors").write_bytes(b"weights %d" % n)
        publish_directory(self.lake, "adapters", f"ad-{n}", adapter)
        for stage, uri in (("index", f"index/ix-{n}"), ("train", f"adapters/ad-{n}")):
            write_receipt(self.lake, Receipt(run_id, stage, uri, 1, 1, "0" * 64, (), {}, 0.1))
        self.lake.write(f"runs/{run_id}/report.json", b"{}")
        root = f"washed/settings/object-{n}"
        for key in (f"processed/{run_id}/rag_chunks.jsonl", f"quant/{run_id}/profile.json"):
            self.lake.write(key, b"{}\n")
        self.lake.write(f"sft/{run_id}/sft_train.jsonl", b"{}\n")
        self.lake.write(f"{root}/000000/0000.read.parquet", b"x")
        header, unit = {"reading": "settings"}, {"root": f"{root}/000000"}
        entry = {"key": "raw/jira/a.jsonl", "sha256": "0", "units": [unit]}
        ledger = f"{json.dumps(header)}\n{json.dumps(entry)}\n"
        self.lake.write(f"processed/{run_id}/ledger.jsonl", ledger.encode())
        self.lake.write(f"ledger/{n}.json", json.dumps({"run_id": run_id}).encode())
        if release:
            publish_release(self.lake, self.release_of(n, run_id, manifest.sha256))
        self.age(OLD_S)

    def release_of(self, n: int, run_id: str, sha256: str) -> Release:
        return Release(
            id=f"rl-{n}",
            created_at="2024-01-01T00:00:00Z",
            run_id=run_id,
            index=f"ix-{n}",
            index_sha256=sha256,
            adapter=f"ad-{n}",
            adapter_digest="",
            thresholds={},
            models={},
            prompts={},
            evaluation={},
        )

    def age(self, seconds: float, below: str = "") -> None:
        moment = time.time() - seconds
        for base in (self.lake.root, self.cache):
            for path in (base / below).rglob("*"):
                os.utime(path, (moment, moment))

    def keys(self) -> set[str]:
        return {item.key for item in self.lake.list("")}

    def collect(self, policy: Policy = Policy(releases=2)) -> set[str]:  # noqa: B008 - frozen
        found = find_garbage(self.lake, self.cache, policy, self.hashes)
        return {f"{g.kind} {g.name}" for g in remove_garbage(self.lake, found, policy)}

    def snapshot(self, n: int) -> Snapshot:
        release = json.loads(self.lake.read(f"releases/rl-{n}.json"))
        return Snapshot.fetch(self.lake, f"ix-{n}", release["index_sha256"], self.cache / "index")

    def hashes(self, release: Release) -> Sequence[str]:
        catalog = self.snapshot(int(release.id[3:])).catalog
        return [c.content_hash for c in catalog.chunks(range(catalog.count)).values()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    for n in range(1, 6):
        made.cycle(n)
    return made


def removed(n: int) -> set[str]:
    return {f"index ix-{n}", f"adapters ad-{n}", f"run run-{n}", f"washed settings/object-{n}"}


def test_what_only_old_releases_used_goes_and_the_newest_still_answer(site: Site) -> None:
    fixed = {k for k in site.keys() if k.startswith(("releases/", "ledger/", "embeddings/"))}
    older = {"washed settings/object-4", "processed run-4"}
    assert site.collect() == removed(1) | removed(2) | removed(3) | older
    left = site.keys()
    assert fixed <= left, "records, pointers and vectors stay"
    for n in (4, 5):
        for key in (f"sft/run-{n}/sft_train.jsonl", f"quant/run-{n}/profile.json"):
            assert key in left
        snapshot = site.snapshot(n)
        text = snapshot.catalog.chunks([0])[0].text
        [found] = search(
            snapshot, [Query(text, Words().encode([text])[0], ASKER, 1)], RetrievalSettings()
        )
        assert f"Version {n}." in found[0].chunk.text
    assert not any("run-1/" in key or "ix-1/" in key for key in left)
    assert site.collect() == set(), "nothing is left to do"


def test_a_pinned_release_stays_until_it_is_unpinned(site: Site) -> None:
    pin_release(site.lake, "rl-1")
    gone = site.collect()
    assert gone == removed(2) | removed(3) | {
        *("washed settings/object-1", "washed settings/object-4"),
        *("processed run-1", "processed run-4"),
    }
    assert site.snapshot(1).catalog.count == 4
    unpin_release(site.lake, "rl-1")
    assert site.collect() == removed(1) - {"washed settings/object-1"}


def test_the_live_release_stays_also_when_it_is_an_old_one(site: Site) -> None:
    first = Release.from_dict(json.loads(site.lake.read("releases/rl-1.json")))
    publish_release(site.lake, first)  # rolled back
    site.age(OLD_S)
    gone = site.collect(Policy(releases=1))
    assert "index ix-1" not in gone and "run run-1" not in gone
    assert {"index ix-2", "index ix-4"} <= gone


def test_the_last_wash_stays_without_any_release_and_all_its_receipts_name(site: Site) -> None:
    site.cycle(6, release=False)
    gone = site.collect()
    assert not gone & (removed(6) | {"run run-6"})
    assert "washed settings/object-5" in gone, "only the last ledger's parts are read again"


def test_an_index_that_a_release_was_refreshed_away_from_goes(site: Site) -> None:
    """A sync makes a release of an old run's adapter and a new index: the old index has no user."""
    refreshed = Release.from_dict(json.loads(site.lake.read("releases/rl-5.json")))
    publish_release(site.lake, replace(refreshed, id="rl-6", run_id="run-4", adapter="ad-4"))
    site.age(OLD_S)
    gone = site.collect(Policy(releases=1))
    assert {"index ix-4", "processed run-4"} <= gone
    assert not gone & {"run run-4", "adapters ad-4", "index ix-5"}
    assert "sft/run-4/sft_train.jsonl" in site.keys()


def test_young_things_stay_with_what_their_receipts_name(site: Site) -> None:
    now = time.time()
    os.utime(site.lake.root / "runs" / "run-1" / "index" / "receipt.json", (now, now))
    gone = site.collect()
    assert not gone & {"run run-1", "index ix-1", "adapters ad-1"}
    assert "index ix-2" in gone


def test_while_a_wash_writes_no_parts_of_any_go(site: Site) -> None:
    site.lake.write("washed/settings/object-9/000000/0000.read.parquet", b"y")
    assert not any(name.startswith("washed") for name in site.collect())


def test_proofs_go_first(site: Site) -> None:
    found = {g.name: g for g in find_garbage(site.lake, site.cache, Policy(releases=2))}
    assert found["ix-1"].keys[0] == "index/ix-1/manifest.json"
    proofs = [key.endswith(("receipt.json", "report.json")) for key in found["run-1"].keys]
    assert proofs == sorted(proofs, reverse=True) and sum(proofs) == 3


def test_what_is_needed_again_between_looking_and_removing_stays(site: Site) -> None:
    policy = Policy(releases=2)
    found = find_garbage(site.lake, site.cache, policy)
    first = Release.from_dict(json.loads(site.lake.read("releases/rl-1.json")))
    publish_release(site.lake, first)
    gone = {f"{g.kind} {g.name}" for g in remove_garbage(site.lake, found, policy)}
    assert not gone & {"index ix-1", "adapters ad-1", "run run-1"}
    assert "index ix-2" in gone


def test_vectors_go_only_when_asked_and_no_kept_index_has_their_text(site: Site) -> None:
    before = {k for k in site.keys() if k.startswith("embeddings/")}
    gone = site.collect(Policy(releases=2, embeddings=True))
    assert sum(name.startswith("embeddings") for name in gone) == 3
    cache = EmbeddingCache(site.lake, Words.digest, Words.dim)
    for n, missing in ((5, False), (1, True)):
        text = f"{chunks()[0].text} Version {n}."
        known = cache.fill([text_digest(text)], Words().encode([text]))
        assert bool(known) is missing
    assert len({k for k in site.keys() if k.startswith("embeddings/")}) == len(before) - 3


def test_local_copies_of_what_went_go_too(site: Site) -> None:
    for n in (1, 5):
        site.snapshot(n).close()
    (site.cache / "index" / ".partial-abc").mkdir()
    site.age(OLD_S)
    gone = {name for name in site.collect() if name.startswith("cache")}
    assert len(gone) == 2 and "cache index/.partial-abc" in gone
    assert len(list((site.cache / "index").iterdir())) == 1


def test_sizes_are_those_of_the_files(site: Site) -> None:
    [index] = [
        g for g in find_garbage(site.lake, site.cache, Policy(releases=2)) if g.name == "ix-1"
    ]
    sizes = [item.size for item in site.lake.list("index/ix-1/")]
    assert (index.bytes, index.objects) == (sum(sizes), len(sizes))
