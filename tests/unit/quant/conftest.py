"""Tables and settings for the tests of the quant stage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from alchemy.config import Settings, load_settings
from alchemy.quant.tables import run_table
from alchemy.types import Receipt


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("models.yaml", {"ALCHEMY_DATA": str(tmp_path / "lake")})


class Result:
    """Output of one `run_table`, read back."""

    def __init__(self, receipt: Receipt, directory: Path) -> None:
        self.receipt = receipt
        self.directory = directory
        self.features = pl.read_parquet(directory / "final_features.parquet")
        self.profile = json.loads((directory / "profile.json").read_text())
        self.report = json.loads((directory / "report.json").read_text())
        lines = (directory / "insights.jsonl").read_text().splitlines()
        self.insights = {(i := json.loads(line))["document_id"]: i for line in lines}

    def removed(self) -> dict[str, str]:
        """Removed column or feature → reason."""
        decisions = self.report["curation"]["decisions"]
        return {d["feature"]: d["reason"] for d in decisions if d["action"] == "removed"}


Quant = Callable[..., Result]


@pytest.fixture
def quant(settings: Settings, tmp_path: Path) -> Quant:
    """Run the stage over columns (id `d00000`, … added when missing)."""
    runs = itertools.count()

    def run(columns: dict[str, Any], quant: dict[str, Any] | None = None, **options: Any) -> Result:
        number = next(runs)
        rows = len(next(iter(columns.values())))
        ids = {"document_id": [f"d{i:05d}" for i in range(rows)]}
        frame = pl.DataFrame({**ids, **columns}, nan_to_null=False)
        path = tmp_path / f"table{number}.parquet"
        frame.write_parquet(path)
        changed = settings.model_copy(
            update={"quant": settings.quant.model_copy(update=quant or {})}
        )
        receipt = run_table(path, tmp_path / f"out{number}", changed, **options)
        return Result(receipt, tmp_path / f"out{number}")

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
