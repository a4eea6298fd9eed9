"""What every stage gets and gives: a `StageContext` in, a `Receipt` out.

A stage reads through `fetch`, works in `scratch`, and ends with `finish`, which uploads its files
and returns the receipt. The pipeline stores receipts; a stored receipt that verifies is a skip.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.stores.versions import file_digest
from alchemy.types import JsonRecord, Receipt, digest_of

T = TypeVar("T", bound=JsonRecord)
Progress = Callable[[str, dict[str, Any]], None]


def no_progress(event: str, fields: dict[str, Any]) -> None:
    """Progress sink for callers that show none."""


@dataclass(frozen=True)
class StageContext:
    """One stage of one run.

    Attributes:
        run_id: the run.
        stage: this stage's name.
        scratch: local directory of this attempt, removed by the caller afterwards.
        progress: called with an event name and JSON fields; cheap, never raises.
    """

    run_id: str
    stage: str
    settings: Settings
    lake: Lake
    scratch: Path
    progress: Progress = no_progress
    started: float = field(default_factory=time.monotonic)

    def receipt_of(self, stage: str) -> Receipt:
        """Receipt of an earlier stage of this run; NOT_FOUND names the stage to run first."""
        receipt = read_receipt(self.lake, self.run_id, stage)
        if receipt is None:
            raise AlchemyError(
                ErrorCode.NOT_FOUND,
                f"run {self.run_id} has no receipt of stage {stage!r}, which {self.stage!r} needs",
                f"Run stage {stage!r} first.",
            )
        return receipt

    def fetch(self, key: str) -> Path:
        """Local copy of a lake object, in scratch, with the key's base name kept."""
        path = self.scratch / "in" / key
        if not path.exists():
            self.lake.download(key, path)
        return path

    def out(self, name: str) -> Path:
        """Path in scratch for an output file (parents made)."""
        path = self.scratch / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(
        self,
        prefix: str,
        files: Mapping[str, Path],
        *,
        rows: int,
        schema: Sequence[str],
        inputs: Mapping[str, str],
        counts: Mapping[str, float] | None = None,
    ) -> Receipt:
        """Upload `files` (name → local path) under `prefix/` and describe them."""
        for name, path in files.items():
            self.lake.upload(f"{prefix}/{name}", path)
        return self.receipt(
            prefix,
            {f"{prefix}/{name}": file_digest(path) for name, path in files.items()},
            size=sum(path.stat().st_size for path in files.values()),
            rows=rows,
            schema=schema,
            inputs=inputs,
            counts=counts,
        )

    def receipt(
        self,
        prefix: str,
        files: Mapping[str, str],
        *,
        size: int,
        rows: int,
        schema: Sequence[str],
        inputs: Mapping[str, str],
        counts: Mapping[str, float] | None = None,
    ) -> Receipt:
        """The receipt for output that is already in the lake (key → sha256)."""
        return Receipt(
            run_id=self.run_id,
            stage=self.stage,
            uri=prefix,
            rows=rows,
            bytes=size,
            sha256=digest_of(files),
            schema=tuple(schema),
            inputs=dict(inputs),
            seconds=round(time.monotonic() - self.started, 3),
            files=dict(files),
            counts=dict(counts or {}),
        )


def receipt_key(run_id: str, stage: str) -> str:
    """Lake key of a stage's receipt."""
    return f"runs/{run_id}/{stage}/receipt.json"


def write_receipt(lake: Lake, receipt: Receipt) -> None:
    """Store the receipt: from here on the stage counts as done."""
    lake.write(receipt_key(receipt.run_id, receipt.stage), receipt.to_json().encode())


def read_receipt(lake: Lake, run_id: str, stage: str) -> Receipt | None:
    """The stored receipt, or None."""
    key = receipt_key(run_id, stage)
    if not lake.exists(key):
        return None
    try:
        return Receipt.from_dict(json.loads(lake.read(key)))
    except (ValueError, TypeError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{key} in {lake.uri} is damaged",
            "Delete it to run the stage again.",
        ) from error


def write_jsonl(path: Path, records: Iterable[JsonRecord]) -> int:
    """Write one JSON object per line; how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(record.to_json() + "\n")
            count += 1
    return count


def read_jsonl(path: Path, kind: type[T]) -> Iterator[T]:
    """Records of a file this system wrote; CORRUPT names file and line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield kind.from_dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise AlchemyError(
                    ErrorCode.CORRUPT,
                    f"{path.name}:{number}: not a {kind.__name__} record",
                    "Run the stage that wrote it again.",
                ) from error
