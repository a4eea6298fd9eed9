"""Forgetting a document everywhere: in answers at once, in files with the next wash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.release.lineage import Lineage, left_out, lineage_of
from alchemy.serving.feedback import FeedbackDesk
from alchemy.serving.sessions import Sessions
from alchemy.stores.tombstones import FORGET, LIFT, read_forgotten, write_tombstones
from alchemy.types import JsonRecord

Owners = Callable[[Sequence[str]], Awaitable[dict[str, str]]]
"""Document ids → the tenant of each that the live index holds."""


@dataclass(frozen=True)
class Order:
    """What to forget, or with `undo` what to bring back.

    Attributes:
        unknown: also forget what neither index nor last wash knows, before it arrives.
    """

    documents: tuple[str, ...]
    tenant: str
    by: str
    reason: str = ""
    undo: bool = False
    unknown: bool = False


@dataclass(frozen=True)
class Erasure(JsonRecord):
    """What was done, and what is left to do.

    Attributes:
        turns, answers, ratings: of conversations and feedback that quoted it, removed or blanked.
        unknown: documents that nothing knows yet; they are left out when they arrive.
    """

    documents: tuple[str, ...]
    tenant: str
    forgotten: bool
    turns: int
    answers: int
    ratings: int
    unknown: tuple[str, ...]
    lineage: Lineage
    remedy: str


async def forget(
    lake: Lake, sessions: Sessions, feedback: FeedbackDesk, owners: Owners, order: Order
) -> Erasure:
    """Write the tombstones, then remove what quoted the documents, then say who has seen them.

    Saying it again is safe, and repeats the removal. Undoing brings back the document, not what
    quoted it.

    Raises:
        AlchemyError: NOT_FOUND for a document that nobody knows, or of another tenant; then
            nothing is forgotten.
    """
    unknown = await _unknown(lake, owners, order)
    keys = [(order.tenant, document_id) for document_id in order.documents]
    action = LIFT if order.undo else FORGET
    await asyncio.to_thread(write_tombstones, lake, keys, action, order.by, order.reason)
    turns = answers = ratings = 0
    if not order.undo:
        turns, answers = await sessions.erase(keys)
        ratings = await feedback.erase(keys, order.by)
    get_logger().info(
        "document.forgotten" if action == FORGET else "document.restored",
        documents=len(keys),
        tenant=order.tenant,
        by=order.by,
        turns=turns,
        ratings=ratings,
    )
    lineage = await asyncio.to_thread(lineage_of, lake, order.tenant, order.documents)
    return Erasure(
        order.documents,
        order.tenant,
        not order.undo,
        turns,
        answers,
        ratings,
        unknown,
        lineage,
        "The next wash takes it up again." if order.undo else lineage.remedy,
    )


async def _unknown(lake: Lake, owners: Owners, order: Order) -> tuple[str, ...]:
    """Documents that no index, wash or tombstone knows; NOT_FOUND unless that is meant.

    A document of another tenant is as unknown as any: whether it exists is not said.
    """
    tenants = await owners(order.documents)
    forgotten = await asyncio.to_thread(read_forgotten, lake)
    open_ids = {
        document_id
        for document_id in order.documents
        if document_id not in tenants and (order.tenant, document_id) not in forgotten.documents
    }
    if open_ids:
        open_ids -= await asyncio.to_thread(left_out, lake, frozenset(open_ids))
    foreign = {i for i, tenant in tenants.items() if tenant != order.tenant}
    refused = foreign if order.unknown else foreign | open_ids
    if refused:
        raise AlchemyError(
            ErrorCode.NOT_FOUND,
            f"no document {', '.join(repr(i) for i in sorted(refused))} of tenant {order.tenant!r} "
            "is in the live index or the last wash; nothing was changed",
            "Check the id: a search result shows it. Option `unknown` forgets it before it arrives.",
        )
    return tuple(sorted(open_ids))
