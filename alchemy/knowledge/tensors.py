"""Arrays in one safetensors file, mapped into memory instead of read.

The library's own `load_file` copies everything; an index of a million chunks must open at once, and
share its pages between the replicas of a machine.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from alchemy.errors import AlchemyError, ErrorCode

_DTYPES = {
    "U8": np.uint8,
    "U16": np.uint16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
}


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays; same arrays, same bytes."""
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read-only views of the arrays of a file; their pages are loaded when they are used.

    Raises:
        AlchemyError: CORRUPT for anything but a safetensors file, whole.
    """
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        (length,) = struct.unpack("<Q", raw[:8].tobytes())
        header = json.loads(raw[8 : 8 + length].tobytes())
        found: dict[str, np.ndarray] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            view = raw[start:end].view(_DTYPES[entry["dtype"]])
            # as plain arrays: each slice of a memmap object costs microseconds more
            found[name] = np.asarray(view).reshape(entry["shape"])
        return found
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{path} is not a whole safetensors file: {error}",
            "Build the index again.",
        ) from error
