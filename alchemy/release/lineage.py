"""Who has seen a document: its copies, the pairs made of it, the adapters trained on those."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.release.model import all_releases, live_release
from alchemy.stores.versions import live_pointer
from alchemy.types import JsonRecord

_PAIRS, _ADAPTERS, _LINEAGE = "sft/", "adapters/", "/lineage.json"
_LEDGER = "ledger"
_REMOVED = "removed.jsonl"


@dataclass(frozen=True)
class Lineage(JsonRecord):
    """What was made of some documents.

    Attributes:
        copies: ids of documents that the last wash left out because they say the same; they come
            back when the document goes.
        originals: ids of documents that stand for these, of which they are the copies.
        pairs: run → ids of training and evaluation pairs.
        adapters: versions trained on such pairs.
        releases: releases that draft with such an adapter; `live` is the one that answers now.
    """

    copies: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()
    pairs: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    adapters: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    live: str | None = None

    @property
    def remedy(self) -> str:
        """What removes all of it."""
        if not (self.pairs or self.adapters):
            return "No training pair or adapter has seen it."
        return (
            "The next `data-alchemy full-cycle` writes its pairs and trains its adapter without it; "
            "`alchemy gc` then removes what has seen it."
        )


def lineage_of(lake: Lake, tenant: str, document_ids: Collection[str]) -> Lineage:
    """Everything in the lake that was made of these documents of a tenant.

    Reads every run's pairs: what was trained once stays until it is deleted.
    """
    wanted = frozenset(document_ids)
    pairs: dict[str, list[str]] = {}
    for run_id, row in _lines(lake, _PAIRS, wanted):
        if row["tenant"] == tenant and wanted.intersection(row["document_ids"]):
            pairs.setdefault(run_id, []).append(row["id"])
    adapters = tuple(
        item.key.removeprefix(_ADAPTERS).removesuffix(_LINEAGE)
        for item in lake.list(_ADAPTERS)
        if item.key.endswith(_LINEAGE)
        and wanted.intersection(json.loads(lake.read(item.key))["documents"])
    )
    releases = tuple(r.id for r in all_releases(lake) if r.adapter in adapters)
    live = live_release(lake)
    copies, originals = _copies(lake, wanted)
    return Lineage(
        copies,
        originals,
        pairs,
        adapters,
        releases,
        live.id if live and live.id in releases else None,
    )


def left_out(lake: Lake, document_ids: frozenset[str]) -> set[str]:
    """Those of these documents that the last wash read but left out."""
    return {row["id"] for row in _removed(lake, document_ids)} & document_ids


def _copies(lake: Lake, wanted: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the last wash: who was left out for one of these, and for whom one of these was."""
    copies: set[str] = set()
    originals: set[str] = set()
    for row in _removed(lake, wanted):
        if row["survivor"] in wanted and row["id"] not in wanted:
            copies.add(row["id"])
        elif row["id"] in wanted and row["survivor"] not in (None, *wanted):
            originals.add(row["survivor"])
    return tuple(sorted(copies)), tuple(sorted(originals))


def _removed(lake: Lake, wanted: frozenset[str]) -> Iterator[dict[str, Any]]:
    pointer = live_pointer(lake, _LEDGER)
    if pointer is not None:
        yield from _matching(lake, f"processed/{pointer[1]['run_id']}/{_REMOVED}", wanted)


def _lines(lake: Lake, prefix: str, wanted: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(run, line) of the JSON Lines below a prefix that name one of these ids."""
    for item in lake.list(prefix):
        if item.key.endswith(".jsonl"):
            run_id = item.key.removeprefix(prefix).partition("/")[0]
            for row in _matching(lake, item.key, wanted):
                yield run_id, row


def _matching(lake: Lake, key: str, wanted: frozenset[str]) -> Iterator[dict[str, Any]]:
    needles = [json.dumps(i, ensure_ascii=False).encode() for i in sorted(wanted)]
    rest = b""
    try:
        for piece in lake.stream(key):
            *lines, rest = (rest + piece).split(b"\n")
            yield from (json.loads(x) for x in lines if any(n in x for n in needles))
        if any(n in rest for n in needles):
            yield json.loads(rest)
    except AlchemyError as error:
        if error.code is not ErrorCode.NOT_FOUND:  # deleted by `gc` meanwhile, or never written
            raise
