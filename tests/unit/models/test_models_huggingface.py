"""Models from local directories in the Hugging Face format."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from alchemy.config import CausalModelSettings, ModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.embedded import minilm_directory
from alchemy.models.huggingface import HuggingFaceChatModel
from alchemy.models.registry import load_chat_model, load_embedder
from alchemy.protocols import Message

TALK = [Message("system", "be brief"), Message("user", "the stream of")]


def local(path: Path, **options: object) -> ModelSettings:
    return ModelSettings(
        provider="huggingface", model_path=str(path), device="cpu", dtype="float32", **options
    )  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def chat(tiny_base: Path) -> HuggingFaceChatModel:
    model = load_chat_model(local(tiny_base))
    assert isinstance(model, HuggingFaceChatModel)
    return model


def test_sentence_transformers_give_the_same_vectors_as_the_embedded_model() -> None:
    texts = ["The sink writes files.", "A job reads a table and then writes it somewhere else."]
    ours = load_embedder(ModelSettings(device="cpu", dtype="float32"))
    theirs = load_embedder(local(minilm_directory()))
    np.testing.assert_allclose(theirs.encode(texts), ours.encode(texts), atol=1e-5)
    assert theirs.count_tokens(texts) == ours.count_tokens(texts)
    assert theirs.dim == ours.dim


async def test_streamed_pieces_are_the_complete_reply(chat: HuggingFaceChatModel) -> None:
    pieces = [piece async for piece in chat.stream(TALK, 12)]
    assert "".join(pieces) == await asyncio.to_thread(chat.complete, TALK, 12)
    assert "".join(pieces)


async def test_the_event_loop_runs_while_the_model_works(chat: HuggingFaceChatModel) -> None:
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.001)

    task = asyncio.create_task(heart())
    pieces = [piece async for piece in chat.stream(TALK, 60)]
    task.cancel()
    assert beats > len(pieces)


async def test_a_reader_that_leaves_stops_the_model(chat: HuggingFaceChatModel) -> None:
    stream = chat.stream(TALK, 60)
    assert await anext(stream)
    await asyncio.wait_for(stream.aclose(), 5)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_chat_template_of_the_tokenizer_is_used(tiny_base: Path, tmp_path: Path) -> None:
    templated = tmp_path / "templated"
    shutil.copytree(tiny_base, templated)
    (templated / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }} {% endfor %}the job reads every"
    )
    plain, shaped = (load_chat_model(local(path)) for path in (tiny_base, templated))
    assert plain is not None and shaped is not None
    assert plain.complete(TALK, 12) != shaped.complete(TALK, 12)


async def test_a_talk_beyond_the_context_is_refused_not_cut(chat: HuggingFaceChatModel) -> None:
    with pytest.raises(AlchemyError) as caught:
        _ = [piece async for piece in chat.stream([Message("user", "the job " * 200)], 12)]
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_a_missing_directory_is_named_with_its_key_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(AlchemyError) as caught:
        load_embedder(local(tmp_path / "absent"), "model_b")
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert "model_b.model_path" in caught.value.message
    assert caught.value.remedy


def test_pickled_weights_are_not_loaded(tiny_base: Path, tmp_path: Path) -> None:
    import torch

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_base / name, tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(AlchemyError) as caught:
        load_chat_model(local(tmp_path))
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE


def test_a_base_without_end_of_sequence_is_a_configuration_error(
    tiny_base: Path, tmp_path: Path
) -> None:
    import json

    from alchemy.models.registry import load_generator

    endless = tmp_path / "endless"
    shutil.copytree(tiny_base, endless)
    config = json.loads((endless / "tokenizer_config.json").read_text())
    (endless / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": None}))
    with pytest.raises(AlchemyError, match="end-of-sequence") as caught:
        load_generator(CausalModelSettings(device="cpu"), endless)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
