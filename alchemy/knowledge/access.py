"""Who may see which chunk, and which chunks a question is limited to: masks over rows.

A scope is one (tenant, groups) combination. There are few, so a principal's rights are a set of
scopes, and what may be found is one comparison per row, done once per principal and filter.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.tensors import map_tensors, write_tensors
from alchemy.types import Filters, Principal

_MASKS_KEPT = 64
NO_DATE = np.iinfo(np.int64).min
"""In `Rows.updated`: the source gives none. A filter by date leaves such chunks out."""


@dataclass(frozen=True)
class Rows:
    """One value per chunk.

    Attributes:
        scope, source, project: int32[n], numbers of the catalog's tables.
        document: int32[n], number of its document in order of appearance.
        updated: int64[n], seconds since 1970, or `NO_DATE`.
    """

    scope: np.ndarray
    source: np.ndarray
    project: np.ndarray
    document: np.ndarray
    updated: np.ndarray

    def write(self, path: Path) -> None:
        """Store as one safetensors file."""
        write_tensors(path, vars(self))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a written file; CORRUPT when it is damaged."""
        tensors = map_tensors(path)
        try:
            return cls(**{field.name: tensors[field.name] for field in fields(cls)})
        except KeyError as error:
            raise AlchemyError(
                ErrorCode.CORRUPT, f"{path} has no column {error}", "Build the index again."
            ) from error


class Access:
    """The rows one principal may see under one filter.

    Attributes:
        mask: bool[n].
        count: how many that are.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))


class Gate:
    """Makes and keeps the masks; safe to use from several threads.

    Args:
        scopes: (tenant, group) → numbers of the scopes it may read.
        sources, projects: name → number; projects in lower case.
    """

    def __init__(
        self,
        rows: Rows,
        scopes: Mapping[tuple[str, str], Collection[int]],
        sources: Mapping[str, int],
        projects: Mapping[str, int],
    ) -> None:
        self._rows = rows
        self._scopes = scopes
        self._sources = sources
        self._projects = projects
        self._hidden = np.zeros(0, dtype=np.int64)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, frozenset[str], Filters], Access] = OrderedDict()

    def hide(self, rows: np.ndarray) -> None:
        """Let nobody see these rows from now on, and those hidden before again."""
        with self._lock:
            self._hidden = rows
            self._kept.clear()

    def access(self, principal: Principal, filters: Filters) -> Access:
        """What this principal may see.

        Raises:
            AlchemyError: INPUT_INVALID for a date that is none.
        """
        key = (principal.tenant, frozenset(principal.groups), filters)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
            hidden = self._hidden
        made = Access(self._mask(*key, hidden))
        with self._lock:
            if self._hidden is hidden:  # else something was hidden meanwhile
                self._kept[key] = made
                if len(self._kept) > _MASKS_KEPT:
                    self._kept.popitem(last=False)
                return made
        return self.access(principal, filters)

    def _mask(
        self, tenant: str, groups: frozenset[str], filters: Filters, hidden: np.ndarray
    ) -> np.ndarray:
        rows = self._rows
        scopes = set[int]().union(*(self._scopes.get((tenant, group), ()) for group in groups))
        mask = _among(rows.scope, scopes)
        if filters.sources:
            mask &= _among(
                rows.source, {self._sources[n] for n in filters.sources if n in self._sources}
            )
        if filters.projects:
            names = (name.lower() for name in filters.projects)
            mask &= _among(rows.project, {self._projects[n] for n in names if n in self._projects})
        if filters.since or filters.until:
            mask &= rows.updated != NO_DATE
        if filters.since:
            mask &= rows.updated >= _asked_time(filters.since)
        if filters.until:
            mask &= rows.updated < _asked_time(filters.until)
        mask[hidden] = False
        return mask


def seconds(timestamp: str | None) -> int:
    """Seconds since 1970 of an ISO 8601 time (UTC where it names no zone), else `NO_DATE`."""
    if not timestamp:
        return NO_DATE
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return NO_DATE
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _asked_time(text: str) -> int:
    found = seconds(text)
    if found == NO_DATE:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{text!r} is no date",
            "Write dates as 2024-05-31 or 2024-05-31T12:00:00Z.",
        )
    return found


def _among(values: np.ndarray, wanted: Collection[int]) -> np.ndarray:
    """Whether each value is one of the wanted ones: bool[n], a table look-up per row."""
    if not wanted:
        return np.zeros(len(values), dtype=bool)
    table = np.zeros(max(int(values.max(initial=0)), *wanted) + 1, dtype=bool)
    table[list(wanted)] = True
    return table[values]
