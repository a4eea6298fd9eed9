"""A process of readers: `python knowledge_reader.py LAKE CACHE LOG TASKS`, until its input closes.

Each task asks the live release again and again, as the gateway does: it takes the newest release's
id, gets that part, and searches it. Version v of the test's index answers direction d with one
chunk that says "version v direction d", so an answer shows which vectors and which text it is of.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.knowledge.warmup import warm_up
from alchemy.release.cache import ReleaseCache
from alchemy.stores.lake_local import LocalLake
from alchemy.types import PUBLIC_GROUP, Principal, Release

DIM = 32
READER = Principal("u", "default", (PUBLIC_GROUP,))
SETTINGS = RetrievalSettings()
PAUSE_S = 0.1


def direction(number: int) -> np.ndarray:
    """A unit vector, the same for text and question."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[number % DIM] = 1.0
    return vector


def text_of(version: int, number: int) -> str:
    """What version `version` says in this direction."""
    return f"version {version} direction {number % DIM}"


class Directions:
    """The embedder of these texts."""

    dim = DIM
    digest = "d" * 64

    def encode(self, texts: Any) -> np.ndarray:
        return np.stack([direction(int(text.split()[-1])) for text in texts])

    def count_tokens(self, texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]


class Readers:
    """The tasks of one process, and what they saw."""

    def __init__(self, lake: LocalLake, cache: Path, log: Path) -> None:
        self._lake = lake
        self._cache = cache
        self._log = log.open("a", buffering=1)
        self.releases = ReleaseCache(lake, self._open, part="reader", refused=self._refused)
        self.requests = 0
        self.seen: set[str] = set()

    def say(self, **fields: Any) -> None:
        self._log.write(json.dumps({"at": time.time(), **fields}) + "\n")

    def _open(self, release: Release) -> Snapshot:
        snapshot = Snapshot.fetch(self._lake, release.index, release.index_sha256, self._cache)
        warm_up(snapshot, Directions().encode, SETTINGS)
        return snapshot

    def _refused(self, release_id: str, error: Exception) -> None:
        self.say(event="refused", release=release_id, error=str(error))

    async def ask(self, seed: int) -> None:
        """Search the live release until cancelled; say what is wrong."""
        chance = random.Random(seed)
        while True:
            await asyncio.sleep(PAUSE_S * chance.uniform(0.5, 1.5))
            live = self.releases.live
            if live is None:
                continue
            if live.id not in self.seen:
                self.seen.add(live.id)
                self.say(event="live", release=live.id)
            wanted = chance.randrange(DIM)
            try:
                snapshot = await self.releases.get(live.id)
                # the text matches no direction, so that only the vectors choose
                query = Query("version", direction(wanted), READER, 3)
                [found] = await asyncio.to_thread(search, snapshot, [query], SETTINGS)
                version = int(live.id.removeprefix("rl-"))
                texts = {p.chunk.text.rpartition(" direction")[0] for p in found}
                near = [p.chunk.text for p in found if p.similarity > 0.99]
                if texts != {f"version {version}"} or near != [text_of(version, wanted)]:
                    self.say(event="mixed", release=live.id, texts=sorted(texts), near=near)
            except Exception as error:  # noqa: BLE001 - what the test counts
                self.say(event="failed", release=live.id, error=repr(error))
            self.requests += 1


async def main(root: str, cache: str, log: str, tasks: int) -> None:
    """Read until standard input is closed."""
    readers = Readers(LocalLake(root), Path(cache), Path(log))
    await readers.releases.start()
    asking = [asyncio.create_task(readers.ask(n)) for n in range(tasks)]
    readers.say(event="started")
    await asyncio.to_thread(sys.stdin.read)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    readers.say(event="ended", requests=readers.requests, loaded=list(readers.releases.loaded))
    await readers.releases.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
