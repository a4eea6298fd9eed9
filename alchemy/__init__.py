"""Data Alchemy: an assistant that learns from a company's own data, on one Ray cluster.

`alchemy.connect(url, token=…)` is the client; everything else is the server side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alchemy.client import AsyncClient, Client, connect, connect_async
    from alchemy.errors import AlchemyError, ErrorCode

__version__ = "0.1.0"

_HOME = {
    "connect": "alchemy.client",
    "connect_async": "alchemy.client",
    "Client": "alchemy.client",
    "AsyncClient": "alchemy.client",
    "AlchemyError": "alchemy.errors",
    "ErrorCode": "alchemy.errors",
}

__all__ = ["AlchemyError", "AsyncClient", "Client", "ErrorCode", "connect", "connect_async"]


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import alchemy` stays fast."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
