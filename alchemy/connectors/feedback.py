"""Rated and corrected answers, stored by the gateway as `feedback/<yyyy>/<mm>/<dd>/<id>.json`.

They are no documents: approved corrections become training pairs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import JsonRecord

PREFIX = "feedback/"


@dataclass(frozen=True)
class Feedback(JsonRecord):
    """What training needs of a stored rating; the stored object may say more.

    Attributes:
        rating: `up` or `down`.
        correction: a better answer, if one was given.
        citations: as in `Answer`: each with `chunk_id` and `document_id`.
        status: `pending`, `approved` or `rejected`; only approved feedback trains.
    """

    id: str
    answer_id: str
    question: str
    answer_text: str
    rating: str
    correction: str | None
    user: str
    tenant: str
    acl: tuple[str, ...]
    citations: tuple[dict[str, Any], ...]
    status: str
    created_at: str


_FIELDS = tuple(field.name for field in dataclasses.fields(Feedback))


def read_feedback(lake: Lake) -> Iterator[Feedback]:
    """All feedback in key order.

    Raises:
        AlchemyError: CORRUPT naming the object; this system wrote it, so nothing is skipped.
    """
    for item in lake.list(PREFIX):
        if not item.key.endswith(".json"):
            continue
        try:
            stored = json.loads(lake.read(item.key))
            yield Feedback.from_dict({name: stored[name] for name in _FIELDS})
        except (ValueError, TypeError, KeyError) as error:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"{item.key} in {lake.uri} is not a feedback record",
                "Mend or delete it.",
            ) from error
