"""The quant stage on any table with an id column: a local file or an object, in or out of the lake."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.quant.contract import Contract
from alchemy.quant.stage import (
    OUTPUT,
    PAGE,
    PROFILE,
    REPORT,
    Baseline,
    explain,
    make_features,
    profile_of,
    profile_table,
    select,
    settings_digest,
    table_of,
    target_of,
    validate_table,
)
from alchemy.stage import Progress, no_progress
from alchemy.stores import open_lake
from alchemy.stores.versions import file_digest
from alchemy.types import Receipt, digest_of

_S3 = "s3://"


def run_table(
    source: str | Path,
    output: str | Path,
    settings: Settings,
    *,
    target: str | None = None,
    baseline: Baseline | None = None,
    contract: Contract | None = None,
    progress: Progress = no_progress,
) -> Receipt:
    """Profile, check, expand and select the columns of any CSV or Parquet table.

    Args:
        source: local file, `s3://bucket/key`, or the key of a lake object when there is no such
            file. One column named `document_id` or `id` identifies the rows.
        output: local directory (made) or `s3://bucket/prefix` that gets the stage's output files.
        target: column to rank the features by; it makes no feature itself.

    Raises:
        AlchemyError: as `prepare` and `enforce` do; INPUT_INVALID for an unknown target.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alchemy-quant-") as scratch:
        space = Path(scratch) / "space"
        path = _local(str(source), settings, Path(scratch))
        place = _Place(str(output), settings, space)
        profile_table(path, space, settings.quant)
        validate_table(
            space,
            settings.quant,
            str(source),
            baseline=baseline,
            contract=contract,
            report_written=lambda: place.write([PROFILE, REPORT, PAGE]),
        )
        target_of(table_of(space, profile_of(space)), profile_of(space), target)
        make_features(space, settings.quant, target)
        outcome = select(space, settings.quant, target, progress)
        outcome = explain(space, settings.quant, outcome)
        place.write(OUTPUT)
        files = {place.name(name): file_digest(space / name) for name in OUTPUT}
        size = sum((space / name).stat().st_size for name in OUTPUT)
        inputs = {str(source): file_digest(path), "settings": settings_digest(settings)}
    return Receipt(
        run_id="local",
        stage="quant",
        uri=str(output),
        rows=outcome.rows,
        bytes=size,
        sha256=digest_of(files),
        schema=outcome.schema,
        inputs=inputs,
        seconds=round(time.monotonic() - started, 3),
        files=files,
        counts=outcome.counts,
    )


class _Place:
    """Where the output goes."""

    def __init__(self, output: str, settings: Settings, space: Path) -> None:
        self._output = output.rstrip("/")
        self._settings = settings
        self._space = space

    def name(self, name: str) -> str:
        """What the receipt calls a file."""
        remote = self._output.startswith(_S3)
        return f"{self._output}/{name}" if remote else str(Path(self._output) / name)

    def write(self, names: Sequence[str]) -> None:
        """Copy files there."""
        if self._output.startswith(_S3):
            lake, prefix = _bucket(self._output, self._settings)
            for name in names:
                lake.upload(f"{prefix}/{name}" if prefix else name, self._space / name)
            return
        directory = Path(self._output)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name in names:
                (directory / name).write_bytes((self._space / name).read_bytes())
        except OSError as error:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"cannot write to the output directory {directory}: {error.strerror or error}",
                "Give a directory that can be written.",
            ) from error


def _local(source: str, settings: Settings, scratch: Path) -> Path:
    """A local copy of the table; the file itself where it is local."""
    path = Path(source)
    if source.startswith(_S3):
        lake, key = _bucket(source, settings)
    elif path.exists() or path.is_absolute() or ".." in path.parts:
        return path
    else:
        lake, key = open_lake(settings.lake), path.as_posix()
    if not lake.exists(key):
        what = "no object" if source.startswith(_S3) else f"neither a file {path} nor a lake object"
        raise AlchemyError(ErrorCode.NOT_FOUND, f"there is {what} {key!r} in {lake.uri}")
    lake.download(key, scratch / path.name)
    return scratch / path.name


def _bucket(url: str, settings: Settings) -> tuple[Lake, str]:
    """The bucket of `s3://bucket/key`, reached with the lake's endpoint and keys, and the key."""
    bucket, _, key = url.removeprefix(_S3).partition("/")
    if not bucket:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, f"{url!r} names no bucket", "Write s3://bucket/key."
        )
    return open_lake(settings.lake.model_copy(update={"s3_bucket": bucket, "s3_prefix": ""})), key
