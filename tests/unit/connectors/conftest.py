"""A lake in a temporary directory, and reading all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.config import Settings
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Document, Quarantined


class Company:
    """Raw data being put into a lake, and what the connectors make of it."""

    def __init__(self, root: Path) -> None:
        self.lake = LocalLake(root)
        self.settings = Settings()

    def put(self, key: str, content: str | bytes) -> None:
        self.lake.write(key, content.encode() if isinstance(content, str) else content)

    def put_json(self, key: str, value: Any) -> None:
        self.put(key, json.dumps(value, ensure_ascii=False))

    def put_lines(self, key: str, *records: Any) -> None:
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
        self.put(key, "".join(f"{line}\n" for line in lines))

    def outcomes(self, max_bytes: int = 4 << 20) -> list[Document | Quarantined]:
        units = plan_units(self.lake, self.settings, max_bytes)
        return [found for unit in units for found in read_unit(self.lake, unit, self.settings)]

    def documents(self) -> list[Document]:
        """All documents; fails when anything was quarantined."""
        found = self.outcomes()
        assert [x for x in found if isinstance(x, Quarantined)] == []
        return [x for x in found if isinstance(x, Document)]

    def document(self) -> Document:
        (document,) = self.documents()
        return document

    def quarantined(self) -> list[tuple[str, str]]:
        """Position and reason of each; fails when anything was not quarantined."""
        found = self.outcomes()
        assert [x for x in found if isinstance(x, Document)] == []
        return [(x.position, x.reason) for x in found if isinstance(x, Quarantined)]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "lake")


@pytest.fixture(scope="session")
def make_company(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Company]:
    """For property tests, which need a fresh lake per example."""
    return lambda: Company(tmp_path_factory.mktemp("lake"))
