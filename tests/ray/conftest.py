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


_UNPROVEN = ("test_evaluator.py", "test_knowledge_deployment.py", "test_trainer.py")
"""Each passed alone; their behaviour after the Spark tests in one cluster is not yet seen."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in _UNPROVEN:
            item.add_marker(pytest.mark.unproven)
