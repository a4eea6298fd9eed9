"""A retrieval adapter is used where it measures better than the base, and released as a part."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from release_world import Words, World, chunks

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release import evaluate, stage
from alchemy.release.model import live_release
from alchemy.release.ranking import ndcg
from alchemy.release.retrieval import RetrievalAdapter, query_encoder
from alchemy.settings import WeightSettings
from alchemy.stage import write_receipt
from alchemy.stores.versions import publish_directory
from alchemy.training.retrieval_pairs import RetrievalPair

THINGS = [chunk.title.removeprefix("The ") for chunk in chunks()]
NICKNAMES = {f"nickname{number}": thing for number, thing in enumerate(THINGS)}


def encoder(names: dict[str, str]) -> Callable[[Sequence[str]], np.ndarray]:
    """Reads each nickname as the thing it is for."""

    def encode(texts: Sequence[str]) -> np.ndarray:
        known = [re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text) for text in texts]
        return Words().encode(known)

    return encode


def held_out(acl: tuple[str, ...] = ("everyone",)) -> list[RetrievalPair]:
    return [
        RetrievalPair(nickname, (f"documents:{thing}",), "link", "default", acl)
        for nickname, thing in NICKNAMES.items()
    ]


def adapter(encode: Callable[[Sequence[str]], np.ndarray]) -> RetrievalAdapter:
    return RetrievalAdapter("rt-test", "d" * 64, encode, held_out())


def released(world: World, tried: RetrievalAdapter | None) -> dict[str, object]:
    candidate = replace(world.candidate(), retrieval=tried)
    write_receipt(world.lake, evaluate.run(world.context("evaluate"), candidate))
    stage.run(world.context("release"))
    release = live_release(world.lake)
    assert release is not None
    return release.to_dict()


def test_a_better_adapter_is_part_of_the_release(world: World) -> None:
    release = released(world, adapter(encoder(NICKNAMES)))
    assert (release["retrieval"], release["retrieval_digest"]) == ("rt-test", "d" * 64)
    judged = release["evaluation"]["retrieval_adapter"]  # pyright: ignore
    assert judged["suites"]["pairs"]["with"]["value"] > 0.9
    assert judged["suites"]["pairs"]["without"]["value"] < 0.5
    # the questions ask for the things by their names: nothing changes for them
    assert judged["suites"]["questions"]["difference"]["value"] == 0.0


def test_an_adapter_that_changes_nothing_is_left_out(world: World) -> None:
    release = released(world, adapter(Words().encode))
    assert release["retrieval"] == ""
    assert release["evaluation"]["retrieval_adapter"]["used"] is False  # pyright: ignore


def test_an_adapter_that_breaks_what_worked_is_left_out(world: World) -> None:
    swapped = dict(zip(THINGS, [*THINGS[1:], THINGS[0]], strict=True))
    # by words alone the questions would still find what they name
    by_vectors = RetrievalSettings(weights=WeightSettings(lexical=0.0))
    world.settings = world.settings.model_copy(update={"retrieval": by_vectors})
    release = released(world, adapter(encoder({**NICKNAMES, **swapped})))
    judged = release["evaluation"]["retrieval_adapter"]  # pyright: ignore
    assert judged["suites"]["pairs"]["difference"]["low"] > 0
    assert judged["suites"]["questions"]["difference"]["high"] < 0
    assert release["retrieval"] == ""


def test_the_same_parts_with_an_adapter_are_another_release(world: World, tmp_path: Path) -> None:
    plain = released(world, None)
    assert plain["retrieval"] == ""
    other = released(World(tmp_path / "other"), adapter(encoder(NICKNAMES)))
    assert other["id"] != plain["id"]


def test_other_weights_than_were_released_are_refused(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "adapter"
    directory.mkdir()
    (directory / "adapter_model.safetensors").write_bytes(b"other weights")
    publish_directory(world.lake, "adapters", "rt-test", directory, {"weights": "e" * 64})
    released(world, adapter(encoder(NICKNAMES)))
    release = live_release(world.lake)
    assert release is not None
    with pytest.raises(AlchemyError) as refused:
        query_encoder(world.lake, release, world.settings.model_b, Words(), tmp_path / "cache")
    assert refused.value.code is ErrorCode.CORRUPT


def test_without_an_adapter_the_embedder_encodes_the_questions(
    world: World, tmp_path: Path
) -> None:
    released(world, None)
    release = live_release(world.lake)
    assert release is not None
    embedder = Words()
    encode = query_encoder(world.lake, release, world.settings.model_b, embedder, tmp_path)
    np.testing.assert_array_equal(encode(["the broker"]), embedder.encode(["the broker"]))


def test_ndcg_of_two_documents_found_first_and_third() -> None:
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert ndcg(["a", "x", "b"], {"a", "b"}) == pytest.approx(expected)
    assert ndcg([*"0123456789", "a"], {"a"}) == 0.0
