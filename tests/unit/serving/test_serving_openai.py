"""The official OpenAI client against the running application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import openai
import pytest

from alchemy.errors import AlchemyError, ErrorCode


@pytest.fixture
async def client(site: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    token = await site.token("ann")
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key=token, max_retries=0) as made:
        yield made


MESSAGES: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "An earlier question"},
    {"role": "assistant", "content": "An earlier answer"},
    {"role": "user", "content": [{"type": "text", "text": "What is a tap?"}]},
]


async def test_the_assistant_answers_the_last_user_message_with_citations(
    client: openai.AsyncOpenAI,
) -> None:
    reply = await client.chat.completions.create(model="data-alchemy", messages=MESSAGES)
    assert "A tap listens to a stream" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    extra: Any = (reply.model_extra or {})["data_alchemy"]
    assert extra["question"] == "What is a tap?"
    assert extra["citations"][0]["document_id"] == "documents:Taps"


async def test_the_stream_adds_up_to_the_answer_and_ends_with_usage(
    client: openai.AsyncOpenAI,
) -> None:
    stream = await client.chat.completions.create(
        model="data-alchemy",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert len([t for t in texts if t]) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    extra: Any = next(c.model_extra for c in chunks if c.choices and c.choices[0].finish_reason)
    assert "".join(texts) == extra["data_alchemy"]["text"]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    assert len({c.id for c in chunks}) == 1


@pytest.mark.parametrize("model", ["base", "ad-1"])
async def test_the_plain_model_goes_through_its_prompt_template(
    client: openai.AsyncOpenAI, model: str
) -> None:
    reply = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=50)
    text = reply.choices[0].message.content or ""
    assert "Instruction" in text and "What is a tap?" in text and "earlier" not in text
    assert reply.choices[0].finish_reason == "stop"
    short = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None and short.usage.completion_tokens == 2


async def test_the_plain_model_streams(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="base", messages=MESSAGES, stream=True)
    texts = [c.choices[0].delta.content or "" async for c in stream]
    assert len(texts) > 3 and "tap?" in "".join(texts)


async def test_a_fault_in_a_stream_reaches_the_client_as_an_error(
    site: Any, client: openai.AsyncOpenAI
) -> None:
    site.world.fuse_fault = AlchemyError(ErrorCode.MODEL_UNAVAILABLE, "the finalist is gone")
    stream = await client.chat.completions.create(
        model="data-alchemy", messages=MESSAGES, stream=True
    )
    with pytest.raises(openai.APIError, match="the finalist is gone"):
        async for _ in stream:
            pass


async def test_a_fault_before_the_stream_keeps_its_status(
    site: Any, client: openai.AsyncOpenAI
) -> None:
    site.world.search_fault = AlchemyError(ErrorCode.LAKE_UNAVAILABLE, "the lake is gone")
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="data-alchemy", messages=MESSAGES, stream=True)
    assert caught.value.status_code == 503 and caught.value.code == "lake_unavailable"


async def test_embeddings_are_the_same_as_floats_and_as_base64(client: openai.AsyncOpenAI) -> None:
    texts = ["a tap", "a stream"]
    packed = await client.embeddings.create(model="embedding", input=texts)
    plain = await client.embeddings.create(model="embedding", input=texts, encoding_format="float")
    assert [d.index for d in plain.data] == [0, 1]
    np.testing.assert_allclose(
        [d.embedding for d in packed.data], [d.embedding for d in plain.data], rtol=1e-6
    )
    assert plain.usage.prompt_tokens == 4


async def test_the_models_are_those_of_the_live_release(client: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in await client.models.list()]
    assert models == ["data-alchemy", "embedding", "ad-1", "base"]
    assert (await client.models.retrieve("ad-1")).id == "ad-1"


async def test_faults_are_those_the_client_knows(site: Any, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        await client.chat.completions.create(model="gpt", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="base", messages=[])
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        await client.embeddings.create(model="embedding", input="a", dimensions=7)
    with pytest.raises(openai.BadRequestError, match="input"):
        await client.embeddings.create(model="embedding", input=[])
    stranger = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        await stranger.models.list()
