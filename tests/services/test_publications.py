"""Twenty publications under fifty readers in five processes: one corrupt, one cut short, one killed.

What is asked of every version: no request fails, no answer mixes two versions, all readers are on
the newest good version within five seconds, and what they left is mapped nowhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from knowledge_reader import DIM, Directions, direction, text_of

from alchemy.knowledge.build import write_index
from alchemy.knowledge.catalog import CATALOG_FILE
from alchemy.knowledge.snapshot import FORMAT
from alchemy.knowledge.vectors import VECTORS_FILE
from alchemy.release.model import publish_release
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import Manifest, publish_directory
from alchemy.types import PUBLIC_GROUP, Chunk, Release, text_digest

PUBLICATIONS, CORRUPT, HALF = 20, 8, 14
PROCESSES, TASKS = 5, 10
BOUND_S = 5.0
BETWEEN_S = 0.7
SCRIPT = Path(__file__).with_name("knowledge_reader.py")


def chunk(version: int, number: int) -> Chunk:
    text = text_of(version, number)
    document_id = f"jira:D-{number}"
    return Chunk(
        id=f"{document_id}#0",
        document_id=document_id,
        source="jira",
        title="t",
        uri="",
        tenant="default",
        acl=(PUBLIC_GROUP,),
        text=text,
        ordinal=0,
        start=0,
        end=len(text),
        content_hash=text_digest(text),
    )


@dataclass
class Site:
    """A lake with releases `rl-<n>`, whose index says n in every chunk."""

    root: Path
    lake: LocalLake
    published: dict[int, float] = field(default_factory=dict)

    def build(self, version: int) -> tuple[Path, str]:
        """The files of one version; every row in another place than in the version before."""
        directory = self.root / "built" / str(version)
        rows = np.roll(np.arange(DIM), version)
        chunks = sorted((chunk(version, int(n)) for n in rows), key=lambda c: c.document_id)
        vectors = np.stack([direction(int(c.text.split()[-1])) for c in chunks])
        write_index(directory, chunks, vectors, [])
        return directory, f"ix-{version}"

    def publish(self, version: int) -> None:
        directory, name = self.build(version)
        meta = {"format": FORMAT, "embedder": Directions.digest}
        if version == HALF:  # the writer died before the manifest
            self.lake.upload(f"index/{name}/{VECTORS_FILE}", directory / VECTORS_FILE)
            manifest = Manifest(name, {}, 0, "0" * 64, meta)
        else:
            manifest = publish_directory(self.lake, "index", name, directory, meta)
        if version == CORRUPT:
            key = f"index/{name}/{CATALOG_FILE}"
            raw = bytearray(self.lake.read(key))
            raw[len(raw) // 2] ^= 0xFF
            self.lake.write(key, bytes(raw))
        release = Release(
            id=f"rl-{version}",
            created_at="2024-01-01T00:00:00Z",
            run_id="run-1",
            index=name,
            index_sha256=manifest.sha256,
            adapter="base",
            adapter_digest="",
            thresholds={},
            models={},
            prompts={},
            evaluation={},
        )
        publish_release(self.lake, release)
        self.published[version] = time.time()


@dataclass
class Reading:
    """One reader process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def live(self) -> int:
        """The newest version it has answered from."""
        return max((int(e["release"][3:]) for e in self.events("live")), default=0)

    def mapped(self, below: Path) -> set[str]:
        """Digests of the index versions that are mapped into its memory."""
        lines = Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()
        paths = {line.split(maxsplit=5)[5] for line in lines if str(below) in line}
        return {Path(path.removesuffix(" (deleted)")).parent.name for path in paths}

    def stop(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, LocalLake(tmp_path / "lake"))
    made.publish(1)
    return made


@pytest.fixture
def readers(site: Site) -> Iterator[list[Reading]]:
    started: list[Reading] = []
    try:
        for number in range(PROCESSES):
            log = site.root / f"reader-{number}.log"
            arguments = (site.lake.root, site.root / "cache", log, TASKS)
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *map(str, arguments)], stdin=subprocess.PIPE
            )
            started.append(Reading(process, log))
        wait_for(lambda: all(reader.live() == 1 for reader in started), 60, "the first version")
        yield started
    finally:
        for reader in started:
            reader.stop()


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


def test_readers_follow_every_publication_and_never_mix_two(
    site: Site, readers: list[Reading], record_property: Callable[[str, object], None]
) -> None:
    killed, alive = readers[0], readers[1:]
    for version in range(2, PUBLICATIONS + 1):
        site.publish(version)
        if version == PUBLICATIONS // 2:
            os.kill(killed.process.pid, signal.SIGKILL)
        if version in (CORRUPT, HALF):
            # long enough for every reader to look at it, refuse it, and answer on
            wait_for(
                lambda broken=version: all(
                    any(e["release"] == f"rl-{broken}" for e in reader.events("refused"))
                    for reader in (readers if broken < PUBLICATIONS // 2 else alive)
                ),
                BOUND_S,
                f"refusal of version {version}",
            )
        else:
            time.sleep(BETWEEN_S)
    wait_for(
        lambda: all(reader.live() == PUBLICATIONS for reader in alive), BOUND_S, "newest version"
    )
    last = json.loads(site.lake.read(f"index/ix-{PUBLICATIONS}/manifest.json"))["sha256"]
    cache = site.root / "cache"
    for reader in alive:
        # one more may be kept for requests that still name it
        wait_for(lambda r=reader: len(r.mapped(cache)) <= 2, BOUND_S, "unmapping")
        assert last in reader.mapped(cache)
        reader.stop()

    for reader in readers:
        assert reader.events("failed") == []
        assert reader.events("mixed") == []
        assert {e["release"] for e in reader.events("live")}.isdisjoint(
            {f"rl-{CORRUPT}", f"rl-{HALF}"}
        )
    requests = sum(reader.events("ended")[0]["requests"] for reader in alive)
    assert requests > PROCESSES * TASKS * 10
    slowest = 0.0
    for reader in alive:
        [end] = reader.events("ended")
        assert len(end["loaded"]) <= 2 and f"rl-{PUBLICATIONS}" in end["loaded"]
        seen = [(int(e["release"][3:]), e["at"]) for e in reader.events("live")]
        for version, at in site.published.items():
            if version in (1, CORRUPT, HALF):  # the first was there before any reader
                continue
            reached = [seen_at for newer, seen_at in seen if newer >= version]
            assert reached and min(reached) - at <= BOUND_S, f"version {version} came late"
            slowest = max(slowest, min(reached) - at)
    record_property("requests", requests)
    record_property("slowest_s", round(slowest, 2))
