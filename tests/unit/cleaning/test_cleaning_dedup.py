from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from alchemy.cleaning import dedup
from alchemy.types import Document

patient = settings(deadline=None)  # a busy machine is no failure

SAMPLES = Path(__file__).parents[3] / "samples" / "raw"
VOCABULARY = [f"word{n}" for n in range(40)]


def document(identifier: str, text: str, **changes: object) -> Document:
    fields: dict[str, object] = {
        "source": "jira",
        "title": "",
        "uri": "",
        "tenant": "default",
        "acl": ("everyone",),
    }
    return Document(id=identifier, text=text, **{**fields, **changes})  # type: ignore[arg-type]


def candidates(signatures: list[dedup.Signature]) -> set[tuple[int, int]]:
    return {
        (a, b)
        for a, b in itertools.combinations(range(len(signatures)), 2)
        if np.intersect1d(signatures[a].bands, signatures[b].bands).size
    }


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([0.5, 0.7, 0.85, 0.95]))
def test_bands_find_every_pair_that_brute_force_finds(
    data: st.DataObject, threshold: float
) -> None:
    base = data.draw(st.lists(st.sampled_from(VOCABULARY), min_size=30, max_size=120))
    texts = []
    for _ in range(6):
        words = list(base)
        for place in data.draw(st.lists(st.integers(0, len(words) - 1), max_size=6)):
            words[place] = data.draw(st.sampled_from(VOCABULARY))
        texts.append(words)
    documents = [document(str(n), " ".join(words)) for n, words in enumerate(texts)]
    signatures = [dedup.sign(one, threshold) for one in documents]
    shingles = [dedup.shingles_of(one) for one in documents]
    exact = {
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if brute_force(texts[a], texts[b]) >= threshold
    }
    assert exact <= candidates(signatures)
    for a, b in itertools.combinations(range(len(texts)), 2):
        found = dedup.jaccard(shingles[a], shingles[b])
        assert found == pytest.approx(brute_force(texts[a], texts[b]))


def brute_force(left: list[str], right: list[str]) -> float:
    a, b = ({tuple(words[n : n + 3]) for n in range(len(words) - 2)} for words in (left, right))
    return len(a & b) / len(a | b)


def test_real_issues_lose_no_near_duplicate_that_brute_force_finds() -> None:
    """5,000 documents: real issues and copies of them with a few words changed."""
    chance = random.Random(4)
    lines = (SAMPLES / "jira" / "issues.jsonl").read_text(encoding="utf-8").splitlines()
    issues = [json.loads(line) for line in lines]
    texts = [t for i in issues if len((t := f"{i['summary']} {i['description']}").split()) > 20]
    while len(texts) < 5000:
        words = chance.choice(texts).split()
        for _ in range(chance.randrange(1, 2 + len(words) // 12)):
            words[chance.randrange(len(words))] = chance.choice(VOCABULARY)
        texts.append(" ".join(words))
    documents = [document(str(n), text) for n, text in enumerate(texts)]
    shingles = [dedup.shingles_of(one) for one in documents]
    _, columns = np.unique(np.concatenate(shingles), return_inverse=True)
    sizes = np.array([len(one) for one in shingles])
    starts = np.concatenate(([0], np.cumsum(sizes)))
    matrix = sparse.csr_matrix((np.ones(len(columns), np.int32), columns, starts))
    shared = sparse.triu(matrix @ matrix.T, k=1).tocoo()
    jaccard = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    near = jaccard >= 0.8
    truth = set(zip(shared.row[near].tolist(), shared.col[near].tolist(), strict=True))

    members: dict[int, list[int]] = {}
    for number, one in enumerate(documents):
        for band in dedup.sign(one, 0.8).bands.tolist():
            members.setdefault(band, []).append(number)
    found = {
        pair
        for bucket in members.values()
        for pair in bucket_pairs(bucket)
        if dedup.jaccard(shingles[pair[0]], shingles[pair[1]]) >= 0.8
    }
    assert len(truth) > 500
    assert found <= truth
    assert len(found) >= 0.98 * len(truth)


def test_unlike_texts_are_rarely_candidates() -> None:
    numbers = np.random.default_rng(7)
    texts = [" ".join(numbers.choice(VOCABULARY, 60)) for _ in range(60)]
    assert len(candidates([dedup.sign(document("x", text), 0.85) for text in texts])) == 0


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95, 1.0])
def test_longest_bands_that_still_find_the_threshold(threshold: float) -> None:
    bands, rows = dedup.band_shape(threshold)
    assert bands * rows <= dedup.PERMUTATIONS
    assert (1 - threshold**rows) ** bands < 1e-6


def test_minhash_estimates_the_similarity() -> None:
    words = [f"w{n}" for n in range(3000)]
    left, right = dedup.shingle(words[:2000]), dedup.shingle(words[500:2500])
    same = np.mean(dedup.minhash(left) == dedup.minhash(right))
    assert same == pytest.approx(dedup.jaccard(left, right), abs=0.12)


LONG = (
    "the deployment of a stream fails when the container has no connection to the broker and " * 2
)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (document("a", "Fix the  build\n"), document("b", "fix the build"), True),
        (document("a", "retries < 3"), document("b", "retries > 3"), False),
        (document("a", "C++"), document("b", "C"), False),
        (document("a", LONG), document("b", LONG, acl=("ops",)), False),
        (document("a", LONG), document("b", LONG, tenant="acme"), False),
        (document("a", LONG), document("b", LONG, source="git_pr"), True),
        (document("a", "Fix the build"), document("b", "Fix the build", source="git_pr"), False),
        (document("a", "x y", acl=("ops", "dev")), document("b", "x y", acl=("dev", "ops")), True),
        (document("a", "Fix it", title="Fix it"), document("b", "Fix it"), True),
    ],
)
def test_exact_copies_are_equal_up_to_case_and_spaces_inside_a_scope(left, right, equal) -> None:
    signatures = dedup.sign(left, 0.85), dedup.sign(right, 0.85)
    assert (signatures[0].exact == signatures[1].exact) is equal


def test_near_duplicates_need_one_scope() -> None:
    here, there = (dedup.sign(document("a", LONG, acl=acl), 0.85) for acl in (("a",), ("b",)))
    assert candidates([here, there]) == set()


def test_database_rows_are_never_near_duplicates() -> None:
    assert len(dedup.sign(document("a", LONG, source="database"), 0.85).bands) == 0


def test_empty_text_has_no_signature() -> None:
    empty = document("a", "")
    assert len(dedup.sign(empty, 0.85).bands) == len(dedup.shingles_of(empty)) == 0


def removed_of(*edges: tuple[int, int, float]) -> list[tuple[int, int, float]]:
    pairs = np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2)
    rows = dedup.near_duplicates(pairs, np.array([edge[2] for edge in edges], np.float64))
    return [(edges[row][1], edges[row][0], edges[row][2]) for row in rows]


def test_the_first_record_survives_and_a_chain_keeps_its_far_end() -> None:
    assert removed_of((1, 2, 0.9), (0, 1, 0.88)) == [(1, 0, 0.88)]


def test_the_most_similar_survivor_is_named() -> None:
    assert removed_of((0, 2, 0.86), (1, 2, 0.97)) == [(2, 1, 0.97)]


def test_of_equally_similar_survivors_the_earliest_is_named() -> None:
    assert removed_of((1, 2, 0.9), (0, 2, 0.9)) == [(2, 0, 0.9)]


def test_a_pair_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="record order"):
        removed_of((2, 1, 0.9))


@patient
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.floats(0.85, 1)).filter(
            lambda x: x[0] < x[1]
        ),
        unique_by=lambda x: x[:2],
    ),
    st.randoms(),
)
def test_every_removed_record_is_similar_to_a_record_that_stays(edges, shuffler) -> None:
    removed = removed_of(*edges)
    gone = {record for record, _, _ in removed}
    known = {edge[:2] for edge in edges}
    assert all((survivor, r) in known and survivor not in gone for r, survivor, _ in removed)
    stays = set(range(13)) - gone
    assert not any(a in stays and b in stays for a, b in known)
    shuffler.shuffle(edges)
    assert removed_of(*edges) == removed


def test_boilerplate_costs_linear_time_and_keeps_the_first() -> None:
    members = list(range(5000))
    pairs = bucket_pairs(members)
    assert len(pairs) < 5000 * 2 * dedup.BUCKET_PAIRS
    assert {right for left, right in pairs if left == 0} == set(members[1:])
    assert len(pairs) == len(set(pairs))
    assert all(earlier < later for earlier, later in pairs)
    assert len(bucket_pairs(list(range(40)))) == 40 * 39 // 2


def test_sketches_pass_every_near_pair_and_few_others() -> None:
    """Sets of a known Jaccard similarity, 2,000 pairs of each."""
    random_numbers = np.random.default_rng(5)

    def passed(similarity: float) -> float:
        count = 0
        for _ in range(2_000):
            shared = round(2 * 300 * similarity / (1 + similarity))
            numbers = random_numbers.integers(0, 1 << 63, 600 - shared).astype(np.uint64)
            sides = numbers[:300], np.concatenate([numbers[:shared], numbers[300:]])
            left, right = (
                np.frombuffer(dedup.sketch(dedup.minhash(np.unique(side))), np.uint64)[None]
                for side in sides
            )
            count += dedup.sketch_matches(left, right)[0] >= dedup.least_matches(0.85)
        return count / 2_000

    assert passed(0.85) == 1.0
    assert passed(0.5) < 0.01


def bucket_pairs(members: list[int]) -> list[tuple[int, int]]:
    earlier, later = dedup.bucket_pairs(len(members))
    return [(members[a], members[b]) for a, b in zip(earlier, later, strict=True)]
