"""Our metrics in Ray, and reading back those of the whole cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import ray
from ray.util.metrics import Counter, Histogram

from alchemy.errors import AlchemyError
from alchemy.logs import get_logger
from alchemy.serving.exposition import merge

_SCRAPE_TIMEOUT_S = 5.0

# every name here is prefixed by Ray with `ray_`, which `exposition.merge` takes off again


def batch_size_histogram() -> Histogram:
    """`alchemy_batch_size{part}`: requests that shared one batch."""
    return Histogram(
        "alchemy_batch_size",
        description="Requests that shared one batch.",
        boundaries=[1, 2, 4, 8, 16, 32, 64],
        tag_keys=("part",),
    )


def refused_counter(part: str) -> Callable[[str, AlchemyError], None]:
    """`alchemy_release_refused{part, code}`: attempts to load a published release that failed."""
    counter = Counter(
        "alchemy_release_refused",
        description="Published releases that could not be loaded, each attempt.",
        tag_keys=("part", "code"),
    )

    def refused(_: str, error: AlchemyError) -> None:
        counter.inc(tags={"part": part, "code": error.code.code})

    return refused


class RequestMeter:
    """Counts and times the gateway's requests."""

    def __init__(self) -> None:
        keys = ("method", "route", "status")
        self._count = Counter(
            "alchemy_http_requests", description="Finished requests and sockets.", tag_keys=keys
        )
        self._seconds = Histogram(
            "alchemy_http_request_seconds",
            description="Time from first byte in to last byte out.",
            boundaries=[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
            tag_keys=("method", "route"),
        )

    def __call__(self, method: str, route: str, status: int, seconds: float) -> None:
        """One finished request."""
        self._count.inc(tags={"method": method, "route": route, "status": str(status)})
        self._seconds.observe(seconds, tags={"method": method, "route": route})


async def cluster_metrics() -> bytes:
    """The exposition of every node that is alive; a node that does not answer is left out."""
    nodes = await asyncio.to_thread(ray.nodes)
    addresses = sorted(
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"] and node.get("MetricsExportPort")
    )
    async with httpx.AsyncClient(timeout=_SCRAPE_TIMEOUT_S, trust_env=False) as client:
        texts = await asyncio.gather(*(_scrape(client, address) for address in addresses))
    return await asyncio.to_thread(merge, [text for text in texts if text is not None])


async def _scrape(client: httpx.AsyncClient, address: str) -> str | None:
    try:
        response = await client.get(address)
        response.raise_for_status()
    except httpx.HTTPError as error:
        get_logger().warning("metrics.node_silent", address=address, error=repr(error))
        return None
    return response.text
