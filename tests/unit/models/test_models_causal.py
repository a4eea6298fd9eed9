"""The generator: limits per request, shared batches, several adapters, streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alchemy.config import CausalModelSettings, SmallLlamaSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.causal import CausalGenerator
from alchemy.protocols import GenerationRequest
from alchemy.stores.versions import file_digest

PROMPTS = ("the stream", "a job reads every file and", "one", "the sink of the module writes a")


def request(prompt: str = PROMPTS[0], tokens: int = 12, **options: object) -> GenerationRequest:
    return GenerationRequest(prompt, tokens, **options)  # pyright: ignore[reportArgumentType]


def streamed(generator: CausalGenerator, requests: list[GenerationRequest]) -> list[str]:
    texts = [""] * len(requests)
    for step in generator.stream(requests):
        for row, piece in enumerate(step):
            texts[row] += piece or ""
    return texts


def test_each_request_of_a_batch_has_its_own_token_limit(generator: CausalGenerator) -> None:
    limits = (3, 11, 1, 7)
    batch = [request(p, n) for p, n in zip(PROMPTS, limits, strict=True)]
    assert [draft.tokens for draft in generator.generate(batch)] == list(limits)


def test_a_batch_gives_each_request_what_it_gets_alone(generator: CausalGenerator) -> None:
    batch = [request(p, n) for p, n in zip(PROMPTS, (12, 4, 20, 9), strict=True)]
    alone = [generator.generate([r])[0].text for r in batch]
    assert len(set(alone)) == len(PROMPTS)
    assert [draft.text for draft in generator.generate(batch)] == alone


def test_adapters_mixed_in_one_batch_do_not_touch_each_other(generator: CausalGenerator) -> None:
    names = ("ad-one", "base", "ad-two", "ad-one")
    batch = [request(p, adapter=a) for p, a in zip(PROMPTS, names, strict=True)]
    together = generator.generate(batch)
    assert [d.text for d in together] == [generator.generate([r])[0].text for r in batch]
    assert [d.adapter for d in together] == list(names)


def test_an_adapter_changes_what_the_base_says(generator: CausalGenerator) -> None:
    names = ("base", "ad-one", "ad-two")
    texts = {d.text for d in generator.generate([request(tokens=20, adapter=a) for a in names])}
    assert len(texts) == 3


def test_the_base_is_unchanged_by_adapters_loaded_beside_it(
    generator: CausalGenerator, tiny_base: Path
) -> None:
    bare = CausalGenerator(CausalModelSettings(device="cpu", dtype="float32"), tiny_base)
    batch = [request(p, adapter="base") for p in PROMPTS]
    assert [d.text for d in generator.generate(batch)] == [d.text for d in bare.generate(batch)]


def test_a_draft_names_the_weights_it_came_from(
    generator: CausalGenerator, adapters: dict[str, Path]
) -> None:
    drafts = generator.generate([request(adapter="ad-one"), request(adapter="base"), request()])
    weights = file_digest(adapters["ad-one"] / "adapter_model.safetensors")
    assert [d.digest for d in drafts] == [weights, generator.digest, generator.digest]
    assert drafts[2].adapter == "base"


def test_seeded_sampling_is_the_same_alone_and_in_a_batch(generator: CausalGenerator) -> None:
    drawn = request(tokens=16, temperature=1.2, top_p=0.9, seed=5)
    alone = generator.generate([drawn])[0].text
    others = [request(p, temperature=0.8, seed=9) for p in PROMPTS[1:]]
    assert generator.generate([*others, drawn])[-1].text == alone


def test_different_seeds_draw_different_texts(generator: CausalGenerator) -> None:
    batch = [request(tokens=16, temperature=1.5, seed=seed) for seed in range(4)]
    assert len({d.text for d in generator.generate(batch)}) > 1


def test_stream_concatenates_to_the_generated_text(generator: CausalGenerator) -> None:
    batch = [
        request(PROMPTS[0], 14, adapter="ad-one"),
        request(PROMPTS[1], 5),
        request(PROMPTS[2], 9, temperature=1.5, seed=3),
    ]
    assert streamed(generator, batch) == [d.text for d in generator.generate(batch)]


def test_a_finished_request_is_told_one_step_later_while_others_run(
    generator: CausalGenerator,
) -> None:
    steps = list(generator.stream([request(tokens=2), request(PROMPTS[1], 6)]))
    assert [step[0] is None for step in steps] == [False, False, True, True, True, True, True]
    assert [step[1] is None for step in steps] == [False] * 6 + [True]


def test_text_ends_before_a_stop_string_and_never_shows_part_of_it(
    generator: CausalGenerator,
) -> None:
    whole = generator.generate([request(tokens=30)])[0].text
    stop = whole[8:12]
    expected = whole[: whole.index(stop)]
    stopped = request(tokens=30, stop=(stop, "never said"))
    assert generator.generate([stopped])[0].text == expected
    assert streamed(generator, [stopped, request(PROMPTS[1])])[0] == expected


def test_two_streams_at_once_do_not_mix(generator: CausalGenerator) -> None:
    first, second = request(tokens=10, adapter="ad-one"), request(PROMPTS[1], 10, adapter="ad-two")
    streams = [generator.stream([first]), generator.stream([second])]
    texts = ["", ""]
    for steps in zip(*streams, strict=True):
        for row, step in enumerate(steps):
            texts[row] += step[0] or ""
    assert texts == [generator.generate([r])[0].text for r in (first, second)]


def test_an_adapter_unloaded_during_a_stream_serves_it_to_the_end(
    generator: CausalGenerator,
) -> None:
    asked = request(tokens=10, adapter="ad-one")
    expected = generator.generate([asked])[0].text
    steps = generator.stream([asked])
    text = next(steps)[0] or ""
    generator.unload_adapter("ad-one")
    assert "ad-one" not in generator.adapters
    text += "".join(step[0] or "" for step in steps)
    assert text == expected
    with pytest.raises(AlchemyError) as caught:
        generator.generate([asked])
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_the_base_still_answers_after_its_last_adapter_is_gone(generator: CausalGenerator) -> None:
    before = generator.generate([request()])[0].text
    generator.unload_adapter("ad-one")
    generator.unload_adapter("ad-two")
    assert generator.generate([request()])[0].text == before


def test_an_abandoned_stream_lets_its_adapter_go(
    generator: CausalGenerator, make_adapter: Callable[[int], Path]
) -> None:
    steps = generator.stream([request(adapter="ad-one")])
    next(steps)
    generator.unload_adapter("ad-one")
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]
    # the name is free again: another adapter may take it
    generator.load_adapter("ad-one", make_adapter(3))
    assert "ad-one" in generator.adapters


def test_another_adapter_under_a_loaded_name_is_refused(
    generator: CausalGenerator, adapters: dict[str, Path]
) -> None:
    with pytest.raises(AlchemyError, match="another adapter is loaded"):
        generator.load_adapter("ad-one", adapters["ad-two"])


def test_an_adapter_of_another_base_is_refused_and_the_rest_goes_on(
    generator: CausalGenerator, adapters: dict[str, Path], tmp_path: Path
) -> None:
    before = generator.generate([request(adapter="ad-one")])[0].text
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / name).write_bytes((adapters["ad-one"] / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(AlchemyError, match="does not fit") as caught:
        generator.load_adapter("ad-bad", tmp_path)
    assert caught.value.code is ErrorCode.CONFLICT
    assert generator.generate([request(adapter="ad-one")])[0].text == before


def test_an_adapter_directory_without_weights_is_not_found(
    generator: CausalGenerator, tmp_path: Path
) -> None:
    with pytest.raises(AlchemyError) as caught:
        generator.load_adapter("ad-empty", tmp_path)
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_prompt_longer_than_the_context_keeps_its_end(generator: CausalGenerator) -> None:
    long = " ".join([PROMPTS[1]] * 100)
    draft = generator.generate([request(long, 8), request("one " * 300 + long, 8)])
    assert draft[0].tokens > 0
    assert draft[0].text == draft[1].text


@pytest.mark.parametrize(
    "wrong",
    [
        request(""),
        request(tokens=0),
        request(temperature=-1.0),
        request(temperature=float("nan")),
        request(top_p=0.0),
        request(top_p=1.5),
        request(stop=("",)),
    ],
)
def test_senseless_limits_are_refused_before_any_work(
    generator: CausalGenerator, wrong: GenerationRequest
) -> None:
    with pytest.raises(AlchemyError) as caught:
        generator.stream([request(), wrong])
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_the_digest_follows_the_weights(generator: CausalGenerator, tmp_path: Path) -> None:
    from alchemy.training.pretrain import pretrain

    tiny = SmallLlamaSettings(
        vocab_size=512, hidden_size=32, intermediate_size=32, layers=1, heads=1, steps=1,
        batch_size=1, sequence=16,
    )  # fmt: skip
    pretrain(["some other words to learn from, and more of them"] * 20, tiny, tmp_path)
    other = CausalGenerator(CausalModelSettings(device="cpu"), tmp_path)
    assert other.digest != generator.digest
