"""Moving the pointer by hand: promote a stored release, roll back, and keep what was rolled back away."""

from __future__ import annotations

import json
from typing import Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.release.model import POINTER, live_release, load_release, released
from alchemy.stores.versions import advance_pointer, differing, live_pointer, read_manifest
from alchemy.types import Release

_WITHDRAWN = "releases/withdrawn/"
_LOOK_BACK = 10_000
"""Pointers in which a release to go back to is looked for."""


def promote_release(lake: Lake, release_id: str, by: str, reason: str = "") -> int:
    """Make a stored release live, whatever the gate once said; the pointer's number.

    It is no longer withdrawn. Promoting the live release changes nothing.

    Raises:
        AlchemyError: NOT_FOUND for an unknown release, or one whose index or adapter was removed;
            CONFLICT when another writer moved the pointer meanwhile.
    """
    release = load_release(lake, release_id)
    _require_parts(lake, release)
    lake.delete(f"{_WITHDRAWN}{release_id}.json")
    return _point(lake, release, f"promoted by {by}{f': {reason}' if reason else ''}")


def roll_back(lake: Lake, by: str, reason: str) -> Release:
    """Make the release live that was live before this one, and withdraw this one.

    A withdrawn release is not released again by a run that comes to the same one, only by
    `promote_release`.

    Raises:
        AlchemyError: NOT_FOUND where there is none to go back to; as `promote_release`.
    """
    live = live_release(lake)
    if live is None:
        raise AlchemyError(
            ErrorCode.NOT_FOUND, "there is no live release", "Run `data-alchemy full-cycle`."
        )
    for earlier in released(lake, _LOOK_BACK):
        if earlier.id == live.id or withdrawal(lake, earlier.id) is not None:
            continue
        try:
            _require_parts(lake, earlier)
        except AlchemyError as error:
            get_logger().warning("release.not_whole", release=earlier.id, error=str(error))
            continue
        # withdrawn first: a run that ends in between must not publish it again
        note = {"release": live.id, "by": by, "reason": reason}
        lake.write(f"{_WITHDRAWN}{live.id}.json", json.dumps(note).encode())
        try:
            _point(lake, earlier, f"rolled back from {live.id} by {by}: {reason}")
        except AlchemyError:  # another writer was faster: nothing was rolled back
            lake.delete(f"{_WITHDRAWN}{live.id}.json")
            raise
        return earlier
    raise AlchemyError(
        ErrorCode.NOT_FOUND,
        f"no other release that was live is still whole, {live.id} stays",
        "Pin releases you may want back: alchemy releases pin.",
    )


def withdrawal(lake: Lake, release_id: str) -> dict[str, Any] | None:
    """Who rolled a release back and why; None for one that may be released."""
    key = f"{_WITHDRAWN}{release_id}.json"
    return json.loads(lake.read(key)) if lake.exists(key) else None


def differences(first: Release, second: Release) -> dict[str, list[Any]]:
    """Dotted field → [first, second], where two releases differ in what answers depend on."""
    names = (
        "index",
        "adapter",
        "adapter_digest",
        "retrieval",
        "thresholds",
        "models",
        "prompts",
        "evaluation",
    )
    before, after = ({name: getattr(r, name) for name in names} for r in (first, second))
    return differing(before, after)


def _require_parts(lake: Lake, release: Release) -> None:
    for root in (f"index/{release.index}", f"adapters/{release.adapter}"):
        read_manifest(lake, root)


def _point(lake: Lake, release: Release, reason: str) -> int:
    pointer = live_pointer(lake, POINTER)
    if pointer and pointer[1]["release"] == release.id:
        return pointer[0]
    payload = {"release": release.id, "reason": reason}
    number = advance_pointer(lake, POINTER, payload, after=pointer[0] if pointer else 0)
    get_logger().info("release.moved", release=release.id, pointer=number, reason=reason)
    return number
