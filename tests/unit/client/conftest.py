from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_gateway import Gateway, running


@pytest.fixture(scope="session")
def served_gateway() -> Iterator[Gateway]:
    with running() as gateway:
        yield gateway


@pytest.fixture
def gateway(served_gateway: Gateway) -> Gateway:
    served_gateway.reset()
    return served_gateway
