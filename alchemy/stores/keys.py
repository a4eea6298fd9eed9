"""The rule for lake keys, shared by both lakes."""

from __future__ import annotations

from alchemy.errors import AlchemyError, ErrorCode


def checked_key(key: str) -> str:
    """The key itself, or INPUT_INVALID for one that could leave the lake's root."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(p in ("", ".", "..") for p in parts):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"invalid lake key {key!r}",
            "Keys are relative, use '/', and have no empty, '.' or '..' parts.",
        )
    return key


def missing(uri: str, key: str) -> AlchemyError:
    """The NOT_FOUND error for a key of the lake at `uri`."""
    return AlchemyError(ErrorCode.NOT_FOUND, f"{key!r} is not in the lake {uri}")
