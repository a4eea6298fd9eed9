from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release.cache import ReleaseCache
from alchemy.release.model import publish_release
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Release


def release(name: str) -> Release:
    return Release(
        id=name,
        created_at="2024-01-01T00:00:00Z",
        run_id="run-1",
        index=f"ix-{name}",
        index_sha256="",
        adapter="base",
        adapter_digest="",
        thresholds={},
        models={},
        prompts={},
        evaluation={},
    )


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path)


class Loader:
    """Counts loads and their overlap; the part is the release's index name."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.broken: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.running = 0
        self.most_running = 0

    def __call__(self, release: Release) -> str:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.loads.append(release.id)
            assert self.gate.wait(5)
            if release.id in self.broken:
                raise RuntimeError("bad weights")
            return release.index
        finally:
            self.running -= 1


@asynccontextmanager
async def following(cache: ReleaseCache[str]) -> AsyncIterator[ReleaseCache[str]]:
    await cache.start()
    try:
        yield cache
    finally:
        await cache.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - polls what another task does
            await asyncio.sleep(0.005)


def live_id(cache: ReleaseCache[str]) -> str | None:
    return cache.live.id if cache.live else None


async def test_the_live_release_is_loaded_at_start(lake: LocalLake) -> None:
    publish_release(lake, release("a"))
    async with following(ReleaseCache(lake, Loader(), part="test")) as cache:
        assert live_id(cache) == "a"
        assert await cache.get("a") == "ix-a"


async def test_a_lake_without_releases_has_no_live_one_until_the_first_is_published(
    lake: LocalLake,
) -> None:
    async with following(ReleaseCache(lake, Loader(), part="test", poll_s=0.01)) as cache:
        assert cache.live is None
        publish_release(lake, release("a"))
        await until(lambda: live_id(cache) == "a")


async def test_a_new_live_release_is_loaded_before_anyone_asks_for_it(lake: LocalLake) -> None:
    loader = Loader()
    publish_release(lake, release("a"))
    async with following(ReleaseCache(lake, loader, part="test", poll_s=0.01)) as cache:
        publish_release(lake, release("b"))
        await until(lambda: live_id(cache) == "b")
        assert set(cache.loaded) == {"a", "b"}
        assert await cache.get("a") == "ix-a"
    assert loader.loads == ["a", "b"]


async def test_concurrent_requests_share_one_load(lake: LocalLake) -> None:
    loader = Loader()
    publish_release(lake, release("a"))
    cache = ReleaseCache(lake, loader, part="test")
    parts = await asyncio.gather(*(cache.get("a") for _ in range(20)))
    assert set(parts) == {"ix-a"}
    assert loader.loads == ["a"]


async def test_different_releases_are_loaded_one_after_the_other(lake: LocalLake) -> None:
    loader = Loader()
    for name in "abc":
        publish_release(lake, release(name))
    cache = ReleaseCache(lake, loader, part="test")
    await asyncio.gather(*(cache.get(name) for name in "abc"))
    assert loader.most_running == 1


async def test_the_least_recently_used_release_goes_first_and_the_live_one_stays(
    lake: LocalLake,
) -> None:
    for name in "abcl":
        publish_release(lake, release(name))
    gone: list[tuple[str, str]] = []
    cache = ReleaseCache(
        lake, Loader(), part="test", evicted=lambda name, part: gone.append((name, part))
    )
    async with following(cache):
        for name in "abc":
            await cache.get(name)
        assert set(cache.loaded) == {"l", "c"}
        assert gone == [("a", "ix-a"), ("b", "ix-b")]
        assert await cache.get("a") == "ix-a"


async def test_a_live_release_that_cannot_be_loaded_leaves_the_old_one_serving(
    lake: LocalLake,
) -> None:
    loader = Loader()
    loader.broken.add("b")
    publish_release(lake, release("a"))
    cache = ReleaseCache(lake, loader, part="test", poll_s=0.01, retry_s=0.05)
    async with following(cache):
        publish_release(lake, release("b"))
        await until(lambda: "b" in loader.loads)
        await asyncio.sleep(0.03)
        assert live_id(cache) == "a"
        assert await cache.get("a") == "ix-a"

        loader.broken.clear()
        await until(lambda: live_id(cache) == "b")


async def test_a_failed_load_is_answered_without_loading_again_until_the_retry_time(
    lake: LocalLake,
) -> None:
    loader = Loader()
    loader.broken.add("a")
    publish_release(lake, release("a"))
    cache = ReleaseCache(lake, loader, part="test", retry_s=0.2)
    for _ in range(3):
        with pytest.raises(AlchemyError, match="bad weights") as raised:
            await cache.get("a")
        assert raised.value.code is ErrorCode.INTERNAL
    assert loader.loads == ["a"]

    loader.broken.clear()
    await asyncio.sleep(0.25)
    assert await cache.get("a") == "ix-a"


async def test_an_unknown_release_is_not_found(lake: LocalLake) -> None:
    with pytest.raises(AlchemyError) as raised:
        await ReleaseCache(lake, Loader(), part="test").get("nowhere")
    assert raised.value.code is ErrorCode.NOT_FOUND


async def test_a_caller_that_gives_up_does_not_stop_the_load_others_wait_for(
    lake: LocalLake,
) -> None:
    loader = Loader()
    loader.gate.clear()
    publish_release(lake, release("a"))
    cache = ReleaseCache(lake, loader, part="test")
    impatient = asyncio.create_task(cache.get("a"))
    patient = asyncio.create_task(cache.get("a"))
    await until(lambda: bool(loader.loads))
    impatient.cancel()
    loader.gate.set()
    assert await patient == "ix-a"
    assert loader.loads == ["a"]


async def test_a_damaged_pointer_keeps_the_poll_alive_and_the_old_release_live(
    lake: LocalLake,
) -> None:
    publish_release(lake, release("a"))
    async with following(ReleaseCache(lake, Loader(), part="test", poll_s=0.01)) as cache:
        lake.write("releases/pointer/2.json", b"{broken")
        await asyncio.sleep(0.05)
        assert live_id(cache) == "a"
        lake.delete("releases/pointer/2.json")
        publish_release(lake, release("b"))
        await until(lambda: live_id(cache) == "b")


async def test_a_lake_that_is_down_at_start_is_read_when_it_comes_back(tmp_path: Path) -> None:
    lake = LocalLake(tmp_path / "lake")
    publish_release(lake, release("a"))
    (tmp_path / "lake").rename(tmp_path / "away")
    (tmp_path / "lake").write_text("not a directory")
    async with following(ReleaseCache(lake, Loader(), part="test", poll_s=0.01)) as cache:
        assert cache.live is None
        (tmp_path / "lake").unlink()
        (tmp_path / "away").rename(tmp_path / "lake")
        await until(lambda: live_id(cache) == "a")


async def test_a_refused_release_is_reported_until_a_good_one_is_live(lake: LocalLake) -> None:
    loader = Loader()
    loader.broken.add("b")
    publish_release(lake, release("a"))
    reported: list[tuple[str, str]] = []
    cache = ReleaseCache(
        lake,
        loader,
        part="test",
        poll_s=0.01,
        retry_s=0.02,
        refused=lambda name, error: reported.append((name, error.message)),
    )
    async with following(cache):
        assert cache.refused is None
        publish_release(lake, release("b"))
        await until(lambda: cache.refused is not None)
        assert cache.refused is not None and cache.refused[0] == "b"
        assert "bad weights" in cache.refused[1].message
        assert reported[0][0] == "b" and live_id(cache) == "a"

        publish_release(lake, release("c"))
        await until(lambda: live_id(cache) == "c")
        assert cache.refused is None


async def test_a_release_that_is_taken_back_is_no_longer_refused(lake: LocalLake) -> None:
    loader = Loader()
    loader.broken.add("b")
    publish_release(lake, release("a"))
    async with following(ReleaseCache(lake, loader, part="test", poll_s=0.01)) as cache:
        publish_release(lake, release("b"))
        await until(lambda: cache.refused is not None)
        publish_release(lake, release("a"))  # a roll-back is the next pointer
        await until(lambda: cache.refused is None)
        assert live_id(cache) == "a"


async def test_a_replica_that_starts_on_a_broken_release_serves_the_newest_good_one(
    lake: LocalLake,
) -> None:
    for name in ("a", "b"):
        publish_release(lake, release(name))
    lake.write("releases/c.json", b"{broken")
    lake.write("releases/pointer/3.json", b'{"release": "c", "reason": ""}')
    async with following(ReleaseCache(lake, Loader(), part="test", poll_s=0.01)) as cache:
        assert live_id(cache) == "b"
        publish_release(lake, release("d"))
        await until(lambda: live_id(cache) == "d")


async def test_a_good_release_that_a_broken_one_followed_at_once_is_not_missed(
    lake: LocalLake,
) -> None:
    loader = Loader()
    publish_release(lake, release("a"))
    async with following(ReleaseCache(lake, loader, part="test", poll_s=0.05)) as cache:
        publish_release(lake, release("b"))
        lake.write("releases/c.json", b"{broken")
        lake.write("releases/pointer/3.json", b'{"release": "c", "reason": ""}')
        await until(lambda: live_id(cache) == "b")
