from __future__ import annotations

import socket

import pytest
from client_gateway import PASSWORD, Gateway

import alchemy
from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode


def test_stream_gives_steps_then_text_then_the_answer(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        events = list(client.stream("What is a tap?"))
    text = "".join(e.text for e in events if isinstance(e, wire.TokenEvent))
    last = events[-1]
    assert isinstance(events[0], wire.StatusEvent)
    assert isinstance(last, wire.AnswerEvent)
    assert text == last.answer.text


def test_an_error_event_is_raised_with_the_servers_code(gateway: Gateway) -> None:
    gateway.stream_end = "error"
    seen = []
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        for event in client.stream("What is a tap?"):
            seen.append(event)
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert len(seen) == 5


def test_a_stream_cut_before_its_answer_is_an_error(gateway: Gateway) -> None:
    gateway.stream_end = "nothing"
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        list(client.stream("What is a tap?"))
    assert caught.value.code is ErrorCode.NOT_READY


def test_a_refused_handshake_is_tried_again(gateway: Gateway) -> None:
    gateway.refusals = 2
    with alchemy.connect(gateway.url, "token-x") as client:
        assert isinstance(list(client.stream("What is a tap?"))[-1], wire.AnswerEvent)


def test_handshake_retries_are_bounded(gateway: Gateway) -> None:
    gateway.refusals = 1000
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        list(client.stream("What is a tap?"))
    assert caught.value.code is ErrorCode.OVERLOADED


def test_a_stream_renews_an_expired_token(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, user="ann", password=PASSWORD) as client:
        gateway.expired_tokens.add("token-1")
        assert isinstance(list(client.stream("What is a tap?"))[-1], wire.AnswerEvent)


def test_a_stream_without_token_is_refused(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url) as client, pytest.raises(AlchemyError) as caught:
        list(client.stream("What is a tap?"))
    assert caught.value.code is ErrorCode.AUTH_FAILED


def test_a_stream_may_be_left_early(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        for event in client.stream("What is a tap?"):
            assert event.type == "status"
            break
        assert client.chat("still there?").id == "a1"


def test_streaming_from_nothing_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        alchemy.connect(f"http://127.0.0.1:{port}", "token-x") as client,
        pytest.raises(AlchemyError) as caught,
    ):
        list(client.stream("anyone?"))
    assert caught.value.code is ErrorCode.NOT_READY


async def test_async_stream_does_the_same(gateway: Gateway) -> None:
    gateway.refusals = 1
    async with alchemy.connect_async(gateway.url, user="ann", password=PASSWORD) as client:
        events = [event async for event in client.stream("What is a tap?")]
        assert isinstance(events[-1], wire.AnswerEvent)
        gateway.stream_end = "error"
        with pytest.raises(AlchemyError) as caught:
            async for _ in client.stream("What is a tap?"):
                pass
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
