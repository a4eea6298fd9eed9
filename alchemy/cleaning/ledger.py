"""The sync ledger: what the last wash read, so that the next one reads only what changed.

`processed/<run>/ledger.jsonl` names every raw object with its sha256 and the parts that were made
of it; `records.parquet` every record with the digest of its cleaned form. The newest pointer
`ledger/<n>.json` names the last wash. An object with the same sha256 costs that comparison; in a
changed object, a record that parses to the same document is not cleaned again (`reading`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alchemy
from alchemy.cleaning.plan import RawData, UnitDone, UnitTask
from alchemy.cleaning.previous import CHUNKS, CORPUS, METRICS, RECORDS, Previous
from alchemy.cleaning.reading import DONE
from alchemy.config import Settings, SyncSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake, RawObject
from alchemy.stage import read_receipt
from alchemy.stores.versions import advance_pointer, file_digest, live_pointer
from alchemy.types import text_digest

LEDGER = "ledger.jsonl"
POINTER = "ledger"
_WASHED = "washed"
_FORMAT = "5"
"""Of what reading makes: another one whenever its keys, signals or rules change."""

log = get_logger()


@dataclass(frozen=True)
class Entry:
    """A raw object and the units that were made of it."""

    sha256: str
    units: tuple[UnitDone, ...]


@dataclass(frozen=True)
class Ledger:
    """What a wash read.

    Attributes:
        run_id: its run; empty for the ledger of the wash in progress.
        reading, finishing: digests of what shapes the parts, and what shapes the final files.
        boilerplate: source → digest of the lines that were left out of its documents.
    """

    run_id: str
    reading: str
    finishing: str
    entries: dict[str, Entry]
    boilerplate: dict[str, str]

    def write(self, path: Path) -> None:
        """One line of header, one line per object."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            header = {
                "reading": self.reading,
                "finishing": self.finishing,
                "boilerplate": self.boilerplate,
            }
            file.write(json.dumps(header, sort_keys=True) + "\n")
            for key, entry in self.entries.items():
                units = [unit.to_dict() for unit in entry.units]
                line = {"key": key, "sha256": entry.sha256, "units": units}
                file.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")


def reading_digest(settings: Settings, unit_bytes: int) -> str:
    """Changes with everything but the raw data that a unit's parts depend on."""
    shaping = (settings.cleaning.model_dump_json(), settings.archives.model_dump_json())
    return text_digest(_FORMAT, alchemy.__version__, *shaping, str(unit_bytes))[:16]


def finishing_digest(settings: Settings, unit_bytes: int) -> str:
    """Changes with everything but the raw data that the final files depend on."""
    ruler = settings.model_b.model_dump_json(
        include={"provider", "model_id", "model_path", "revision", "max_length"}
    )
    return text_digest(reading_digest(settings, unit_bytes), ruler)[:16]


def last_ledger(lake: Lake) -> Ledger | None:
    """The ledger of the last wash; None before the first.

    Raises:
        AlchemyError: CORRUPT for a damaged one.
    """
    pointer = live_pointer(lake, POINTER)
    if pointer is None:
        return None
    run_id = pointer[1]["run_id"]
    key = f"processed/{run_id}/{LEDGER}"
    if not lake.exists(key):
        log.warning("ledger.gone", run=run_id)
        return None
    try:
        header, *lines = [json.loads(line) for line in lake.read(key).splitlines()]
        entries = {
            line["key"]: Entry(
                line["sha256"], tuple(UnitDone.from_dict(unit) for unit in line["units"])
            )
            for line in lines
        }
        return Ledger(
            run_id, header["reading"], header["finishing"], entries, header["boilerplate"]
        )
    except (ValueError, TypeError, KeyError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{key} in {lake.uri} is damaged",
            "Run `data-alchemy ingest --full`.",
        ) from error


def publish_ledger(lake: Lake, run_id: str) -> None:
    """Make this wash the last one; the loser of a race comes after the winner."""
    while True:
        pointer = live_pointer(lake, POINTER)
        try:
            advance_pointer(lake, POINTER, {"run_id": run_id}, after=pointer[0] if pointer else 0)
            return
        except AlchemyError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise


def drop_replaced(lake: Lake, last: Ledger | None, now: Ledger) -> int:
    """Delete parts that only the ledger before knew: what vanished is not kept; how many objects.

    An interrupted wash of raw data that changed meanwhile may leave parts that no ledger names.
    """
    if last is None:
        return 0
    used = {_object_root(unit.root) for entry in now.entries.values() for unit in entry.units}
    old = {_object_root(unit.root) for entry in last.entries.values() for unit in entry.units}
    keys = [item.key for root in sorted(old - used) for item in lake.list(f"{root}/")]
    for key in keys:
        lake.delete(key)
    return len(keys)


def _object_root(unit_root: str) -> str:
    return unit_root.rpartition("/")[0]


@dataclass(frozen=True)
class Planned:
    """Which units there are, and which of them must be read.

    Attributes:
        objects: (object, units that are known, tasks for those that are not), in raw order; a
            known object has no tasks.
        pending_bytes: size of the objects that must be read, at least in part.
    """

    objects: Sequence[tuple[RawObject, tuple[UnitDone, ...], tuple[UnitTask, ...]]]
    pending_bytes: int

    @property
    def tasks(self) -> list[UnitTask]:
        """Everything to read."""
        return [task for _, _, tasks in self.objects for task in tasks]

    def entries(self, done: dict[str, UnitDone]) -> dict[str, Entry]:
        """Every object with its units, those that were read now among them.

        Args:
            done: unit root → what reading it gave.
        """
        return {
            raw.key: Entry(raw.sha256, tuple(done[task.root] for task in tasks) or known)
            for raw, known, tasks in self.objects
        }


def plan(lake: Lake, raw: RawData, reading: str, last: Ledger | None, full: bool) -> Planned:
    """Compare the raw data with the last wash.

    Args:
        reading: `reading_digest` of this wash.
        last: with another digest it is of no use here.
        full: read everything, whatever is known.
    """
    known = last.entries if last is not None and last.reading == reading and not full else {}
    objects: list[tuple[RawObject, tuple[UnitDone, ...], tuple[UnitTask, ...]]] = []
    pending = 0
    for item in raw.objects(lake):
        entry = known.get(item.key)
        if entry is not None and entry.sha256 == item.sha256:
            objects.append((item, entry.units, ()))
            continue
        root = f"{_WASHED}/{reading}/{text_digest(item.key, item.sha256)[:32]}"
        tasks = tuple(
            UnitTask(f"{root}/{number:06d}", unit, _earlier(entry, number, unit))
            for number, unit in enumerate(raw.units(lake, item))
        )
        objects.append((item, (), tasks))
        pending += item.size
    return Planned(objects, pending)


def finished_tasks(lake: Lake, tasks: Sequence[UnitTask], reading: str) -> dict[str, UnitDone]:
    """Units that an interrupted wash, or one of other raw data, has read already: root → done."""
    if not tasks:
        return {}
    stored = {
        item.key.removesuffix(f"/{DONE}")
        for item in lake.list(f"{_WASHED}/{reading}/")
        if item.key.endswith(f"/{DONE}")
    }
    return {
        task.root: UnitDone.from_dict(json.loads(lake.read(f"{task.root}/{DONE}")))
        for task in tasks
        if task.root in stored
    }


def _earlier(entry: Entry | None, number: int, unit: Any) -> tuple[str, ...]:
    """Parts in which the records of this unit were: of its table, or of the ranges around it."""
    if entry is None:
        return ()
    label = getattr(unit, "part", "")
    near = [
        done
        for place, done in enumerate(entry.units)
        if done.label == label and (label or abs(place - number) <= 1)
    ]
    return tuple(key for done in near for key in done.part_keys())


def check_vanished(changed: dict[str, Counter[str]], settings: SyncSettings) -> None:
    """Stop before most of a source is deleted because an export came out short.

    Raises:
        AlchemyError: VANISHED naming the source, the share and how to go on.
    """
    for source, vanished in sorted(changed["vanished"].items()):
        before = vanished + changed["unchanged"][source] + changed["changed"][source]
        if vanished >= settings.min_vanished and vanished > settings.max_vanished_share * before:
            raise AlchemyError(
                ErrorCode.VANISHED,
                f"{vanished} of {before} records of {source!r} are no longer in the raw data "
                f"({vanished / before:.0%}, more than sync.max_vanished_share "
                f"{settings.max_vanished_share:.0%})",
                "Nothing was deleted. If they are meant to go, run `data-alchemy ingest "
                "--allow-vanished`; else upload the missing files again.",
            )


def fetch_previous(lake: Lake, last: Ledger, into: Path) -> Previous | None:
    """Local copies of the last wash's files; None when they are not what its receipt says."""
    receipt = read_receipt(lake, last.run_id, "wash")
    prefix = f"processed/{last.run_id}"
    for name in (CORPUS, CHUNKS, METRICS, RECORDS):
        expected = receipt.files.get(f"{prefix}/{name}") if receipt else None
        if expected is None or not lake.exists(f"{prefix}/{name}"):
            log.warning("wash.previous_gone", run=last.run_id, file=name)
            return None
        lake.download(f"{prefix}/{name}", into / name)
        if file_digest(into / name) != expected:
            log.warning("wash.previous_damaged", run=last.run_id, file=name)
            return None
    return Previous(into, last.boilerplate)
