"""Duplicates: exact by normalised text, near by MinHash bands and verified Jaccard similarity.

The rules, in this order, for what is not forgotten:

1. Of several records with one id the one updated last wins (of equals: the one that comes last in
   the raw data). The others are `superseded`, or `exact_duplicate` when they say the same.
2. Records with the same text, ignoring case and runs of spaces, are `exact_duplicate` of the first.
3. Two records are near duplicates when the Jaccard similarity of their sets of three-word shingles
   reaches `cleaning.near_duplicate_jaccard`. Going through the records in order, one is removed as
   `near_duplicate` when it is one of a record that stays; so a survivor is always that similar to
   what it stands for, and a chain of small changes does not swallow its far end.

"First" and "in order" mean by (`created_at` or "", id). Records are compared only inside one scope:
same tenant and same groups, since a copy must not vanish for those who cannot read the original.
Records of fewer than `SHORT_WORDS` words are compared only inside one source: an issue and the
commit that closed it may share a title. A database row is never a near duplicate: rows of one table
share most of their words, and the few that differ are the record.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alchemy.types import Document, text_digest

PERMUTATIONS = 128
SKETCH_BYTES = PERMUTATIONS // 2
SHINGLE_WORDS = 3
SHORT_WORDS = 20
EXACT_ONLY_SOURCES = frozenset({"database"})
BUCKET_PAIRS = 32
"""In a bucket of more than twice as many records each is paired with this many of the first and as
many before it, so that one boilerplate text costs linear, not quadratic time."""

SUPERSEDED = "superseded"
EXACT = "exact_duplicate"
NEAR = "near_duplicate"
FORGOTTEN = "forgotten"
"""A tombstone names it: it stands before all rules, and is no copy's original."""
FILTERED = "quality:"
"""Begins the reason of a record that a quality filter removed."""

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[^\w\s]"
)
_MISS = 1e-6  # how often a pair at the threshold may be overlooked
_CACHED_WORDS = 1 << 19
_DECIDED = 1 << 18


class Signature(NamedTuple):
    """What duplicates are found by.

    Attributes:
        exact: hex digest of scope and normalised text.
        bands: int64[b]; two records that share a value are a candidate pair.
        sketch: four bits of each MinHash value: what candidates are told apart by before their
            texts are read again.
    """

    exact: str
    bands: np.ndarray
    sketch: bytes


def sign(document: Document, threshold: float) -> Signature:
    """The signature of a cleaned document; no bands for one that is only compared exactly."""
    whole = _whole(document)
    words = _WORD.findall(whole)
    scope = [document.tenant, *sorted(document.acl)]
    if len(words) < SHORT_WORDS:
        scope.append(document.source)
    exact = text_digest(*scope, " ".join(whole.split()))[:32]
    if document.source in EXACT_ONLY_SOURCES or not words:
        return Signature(exact, np.empty(0, np.int64), bytes(SKETCH_BYTES))
    least = minhash(shingle(words))
    bands = band_keys(least, threshold, int(text_digest(*scope)[:16], 16))
    return Signature(exact, bands, sketch(least))


def shingles_of(document: Document) -> np.ndarray:
    """The set that near duplicates are compared by: uint64[n], sorted, unique."""
    return shingle(_WORD.findall(_whole(document)))


def _whole(document: Document) -> str:
    # a record that has only a title carries it as its text, too
    return "\n".join(dict.fromkeys((document.title, document.text))).casefold()


def shingle(words: Sequence[str]) -> np.ndarray:
    """Hashes of all runs of three words, sorted and unique; of all words when there are fewer."""
    hashes = np.fromiter(map(_word_hash, words), np.uint64, len(words))
    if len(hashes) == 0:
        return hashes
    width = min(SHINGLE_WORDS, len(hashes))
    runs = np.lib.stride_tricks.sliding_window_view(hashes, width)
    return np.unique((runs * _functions()[0][:width]).sum(axis=1, dtype=np.uint64))


def minhash(shingles: np.ndarray) -> np.ndarray:
    """uint64[PERMUTATIONS]: the least value of the set under each hash function."""
    factors, offsets = _functions()
    least = np.full(PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), 4096):  # bounds the temporary to 4 MiB
        block = shingles[start : start + 4096]
        np.minimum(least, (block[:, None] * factors + offsets).min(axis=0), out=least)
    return least


@lru_cache(maxsize=16)
def band_shape(threshold: float) -> tuple[int, int]:
    """Bands and rows per band: the longest bands that still find a pair at the threshold."""
    for rows in range(16, 1, -1):
        bands = PERMUTATIONS // rows
        if threshold >= 1 or bands * math.log1p(-(threshold**rows)) < math.log(_MISS):
            return bands, rows
    return PERMUTATIONS, 1


def band_keys(least: np.ndarray, threshold: float, scope: int) -> np.ndarray:
    """int64[bands]: one key per band, different between scopes and between bands."""
    bands, rows = band_shape(threshold)
    matrix = least[: bands * rows].reshape(bands, rows)
    seeds = np.uint64(scope & 0xFFFFFFFFFFFFFFFF) + np.arange(bands, dtype=np.uint64)
    keys = _mix(seeds + (_mix(matrix) * _functions()[0][:rows]).sum(axis=1, dtype=np.uint64))
    return keys.view(np.int64)


def sketch(least: np.ndarray) -> bytes:
    """Four bits of each value of `minhash` (b-bit minwise hashing, Li and König 2010)."""
    bits = (_mix(least) >> np.uint64(60)).astype(np.uint8)
    return (bits[0::2] << np.uint8(4) | bits[1::2]).tobytes()


def sketch_matches(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many of the values of two sketches are equal, row by row.

    Args:
        left, right: uint64[n, SKETCH_BYTES / 8].

    Returns:
        int64[n], of `PERMUTATIONS`.
    """
    different = left ^ right
    different |= different >> np.uint64(1)
    different |= different >> np.uint64(2)
    different &= np.uint64(0x1111111111111111)
    return PERMUTATIONS - np.bitwise_count(different).sum(axis=1, dtype=np.int64)


@lru_cache(maxsize=16)
def least_matches(threshold: float) -> int:
    """Matches that the sketches of a pair at the threshold reach, but for `_MISS` of such pairs."""
    chance = (1 + 15 * threshold) / 16  # unequal values agree in four bits once in 16
    below = 0.0
    for matches in range(PERMUTATIONS + 1):
        ways = math.comb(PERMUTATIONS, matches)
        below += ways * chance**matches * (1 - chance) ** (PERMUTATIONS - matches)
        if below > _MISS:
            return matches
    return PERMUTATIONS


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Shared part of two sorted sets of unique values."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0


def bucket_pairs(size: int, start: int = 1, stop: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Candidate pairs of a bucket of so many records, in record order.

    Args:
        start, stop: only pairs whose later position is in this range; 0 for the end.

    Returns:
        Positions of the earlier and of the later record: int64[n] each.
    """
    limit = BUCKET_PAIRS if size > 2 * BUCKET_PAIRS else size
    later = np.arange(start, stop or size)
    head = np.minimum(limit, later)
    near = later - np.maximum(later - limit, head)
    counts = head + near
    each = np.repeat(later, counts)
    place = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)
    heads, nears = np.repeat(head, counts), np.repeat(near, counts)
    earlier = np.where(place < heads, place, each - nears + place - heads)
    return earlier, each


def near_duplicates(pairs: np.ndarray, similar: np.ndarray) -> np.ndarray:
    """Who goes, by rule 3, and for whom: the most similar one of those that stay.

    Args:
        pairs: int64[n, 2], verified; the earlier and the later record by their places in the order.
        similar: float64[n]; their similarity.

    Returns:
        int64[m]: rows of `pairs` whose later record goes for the earlier one, in record order.
    """
    if not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError("a pair is not in record order")
    # of each record the most similar earlier one first, of equals the earliest
    order = np.lexsort((pairs[:, 0], -similar, pairs[:, 1]))
    gone = bytearray(int(pairs.max(initial=-1)) + 1)
    deciding: list[np.ndarray] = []
    for start in range(0, len(order), _DECIDED):
        rows = order[start : start + _DECIDED]
        decides = np.zeros(len(rows), bool)
        for n, (first, second) in enumerate(pairs[rows].tolist()):
            if not gone[second] and not gone[first]:
                gone[second] = 1
                decides[n] = True
        deciding.append(rows[decides])
    return np.concatenate([np.empty(0, np.int64), *deciding])


@lru_cache(maxsize=_CACHED_WORDS)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64: every input bit reaches every output bit."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1)
def _functions() -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and offsets, from a fixed sequence and not a library's random generator."""
    sequence = _mix(np.arange(2 * PERMUTATIONS, dtype=np.uint64))
    return sequence[:PERMUTATIONS] | np.uint64(1), sequence[PERMUTATIONS:]
