"""Reading and publishing releases: `releases/<id>.json` and the pointer that makes one live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake, Reader, Reranker
from alchemy.stores.versions import advance_pointer, live_pointer
from alchemy.types import Release

POINTER = "releases/pointer"
Scorer = TypeVar("Scorer", Reranker, Reader)
_PINNED = "releases/pinned/"


def load_release(lake: Lake, release_id: str) -> Release:
    """The stored release; NOT_FOUND or CORRUPT."""
    key = f"releases/{release_id}.json"
    try:
        return Release.from_dict(json.loads(lake.read(key)))
    except (ValueError, TypeError) as error:
        raise AlchemyError(ErrorCode.CORRUPT, f"{key} in {lake.uri} is damaged") from error


def live_release(lake: Lake) -> Release | None:
    """The release the newest pointer names, or None before the first."""
    pointer = live_pointer(lake, POINTER)
    return load_release(lake, pointer[1]["release"]) if pointer else None


def used_model(release: Release, role: str, load: Callable[[], Scorer | None]) -> Scorer | None:
    """The model of a role (`reranker`, `reader`) that a release was made with; None for none.

    Args:
        role: key of `Release.models` and section of `models.yaml`.
        load: gives the configured model; called only where the release uses one.

    Raises:
        AlchemyError: CONFLICT where another one is configured: scores of two models do not compare.
    """
    wanted = release.models.get(role)
    if wanted is None:
        return None
    model = load()
    if model is None or model.digest != wanted:
        mine = model.digest[:12] if model else "not configured"
        raise AlchemyError(
            ErrorCode.CONFLICT,
            f"release {release.id} uses the {role} {wanted[:12]}, here it is {mine}",
            f"Set the section {role} back (its dtype counts: auto differs between machines), or run "
            "`data-alchemy full-cycle` for a new release.",
        )
    return model


def released(lake: Lake, limit: int) -> Iterator[Release]:
    """Releases that are or were live, the newest pointer's first; damaged ones are left out.

    Args:
        limit: pointers looked at, one by one as they are asked for.
    """
    pointer = live_pointer(lake, POINTER)
    found: set[str] = set()
    for number in range(pointer[0] if pointer else 0, 0, -1)[:limit]:
        try:
            release_id = json.loads(lake.read(f"{POINTER}/{number}.json"))["release"]
            if release_id in found:
                continue
            release = load_release(lake, release_id)
        except (AlchemyError, ValueError, KeyError) as error:
            get_logger().warning("release.pointer_damaged", number=number, error=str(error))
            continue
        found.add(release_id)
        yield release


def all_releases(lake: Lake) -> list[Release]:
    """Every stored release, oldest first."""
    keys = (item.key for item in lake.list("releases/") if item.key.count("/") == 1)
    found = [
        load_release(lake, key.removeprefix("releases/").removesuffix(".json")) for key in keys
    ]
    return sorted(found, key=lambda release: release.created_at)


def publish_release(lake: Lake, release: Release) -> int:
    """Store the release and move the pointer to it; the new pointer's number.

    Publishing the live release again changes nothing.

    Raises:
        AlchemyError: CONFLICT when another writer moved the pointer meanwhile.
    """
    pointer = live_pointer(lake, POINTER)
    if pointer and pointer[1]["release"] == release.id:
        return pointer[0]
    lake.write(f"releases/{release.id}.json", release.to_json().encode())
    payload = {"release": release.id, "reason": release.reason}
    return advance_pointer(lake, POINTER, payload, after=pointer[0] if pointer else 0)


def pin_release(lake: Lake, release_id: str, reason: str = "") -> None:
    """Keep everything this release needs, whatever `alchemy gc` keeps else; NOT_FOUND."""
    load_release(lake, release_id)
    record = {"release": release_id, "reason": reason}
    lake.write(f"{_PINNED}{release_id}.json", json.dumps(record).encode())


def unpin_release(lake: Lake, release_id: str) -> None:
    """Let `alchemy gc` remove it when its time comes; no error when it was not pinned."""
    lake.delete(f"{_PINNED}{release_id}.json")


def pinned_releases(lake: Lake) -> set[str]:
    """Ids of the pinned releases."""
    return {item.key.removeprefix(_PINNED).removesuffix(".json") for item in lake.list(_PINNED)}
