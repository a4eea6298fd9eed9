"""Records that arrive over HTTP, written to the raw lake like any other export."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from alchemy.protocols import Lake


def store_records(lake: Lake, source: str, records: Sequence[dict[str, Any]]) -> str:
    """Write the records as one JSON Lines file; its key, `raw/<source>/api/<stamp>-<id>.jsonl`.

    Create-only: nothing that arrived before is touched.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    key = f"raw/{source}/api/{stamp}-{secrets.token_hex(4)}.jsonl"
    # escaped, so that a lone surrogate in one record cannot make the whole file unreadable
    lines = (json.dumps(record, separators=(",", ":")) for record in records)
    lake.create(key, "".join(f"{line}\n" for line in lines).encode("ascii"))
    return key
