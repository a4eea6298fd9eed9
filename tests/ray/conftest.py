"""One real local Ray cluster for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from alchemy.cleaning.java import put_on_path


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    put_on_path()  # before the node starts: Spark's executors are Java workers
    ray.init(
        address="local",
        namespace="alchemy",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
