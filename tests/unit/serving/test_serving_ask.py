"""The flow of one question, over small real engines and a real Redis."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from serving_world import CORPUS, World, make_asker, passage

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Admission
from alchemy.serving.ask import Asker, final_answer, with_errors
from alchemy.serving.sessions import Sessions, readers
from alchemy.stores.redis import RedisStore
from alchemy.types import Principal

ANN = Principal("ann", "default", ("core", "everyone"))
BOB = Principal("bob", "default", ("everyone",))
REQUEST = wire.ChatRequest(question="What is a tap?", session=None, top_k=None)


@pytest.fixture
def sessions(kv: RedisStore) -> Sessions:
    return Sessions(kv, ttl_s=60, keep_turns=3)


@pytest.fixture
def asker(world: World, sessions: Sessions) -> Asker:
    return make_asker(world, sessions, Admission(4, 4), deadline_s=1.0)


async def collect(stream: object) -> list[wire.StatusEvent | wire.TokenEvent | wire.AnswerEvent]:
    return [event async for event in stream]  # type: ignore[attr-defined]


async def test_steps_then_tokens_then_the_answer_they_add_up_to(asker: Asker) -> None:
    events = await collect(asker.ask(ANN, REQUEST, "rl-1"))
    steps = [e.step for e in events if isinstance(e, wire.StatusEvent)]
    assert steps == ["retrieving", "consulting", "fusing"]
    tokens = [e.text for e in events if isinstance(e, wire.TokenEvent)]
    assert len(tokens) > 5
    last = events[-1]
    assert isinstance(last, wire.AnswerEvent)
    assert "".join(tokens) == last.answer.text
    assert last.answer.release == "rl-1" and last.answer.adapter == "ad-1"
    assert {"retrieve", "draft", "fuse", "first_token", "total"} <= last.answer.timings.keys()


async def test_a_question_that_counts_is_computed_without_search_or_draft(
    world: World, asker: Asker, sessions: Sessions
) -> None:
    request = wire.ChatRequest(question="How many passages are there?", session=None, top_k=None)
    events = await collect(asker.ask(ANN, request, "rl-1"))
    assert [e.step for e in events if isinstance(e, wire.StatusEvent)] == ["retrieving", "fusing"]
    last = events[-1]
    assert isinstance(last, wire.AnswerEvent) and last.answer.text == "There are 2. [1]"
    tokens = [e.text for e in events if isinstance(e, wire.TokenEvent)]
    assert "".join(tokens) == last.answer.text
    assert world.asked == [] and {"compute", "total"} <= last.answer.timings.keys()
    kept = await sessions.answer(ANN, last.answer.id)
    assert kept.acl == readers("ann", [replace(CORPUS[0].chunk, acl=())]) != ("everyone",)


async def test_search_and_draft_run_side_by_side(world: World, asker: Asker) -> None:
    world.pause_s, world.draft_s = 0.02, 0.3
    answer = await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert answer.timings["draft"] >= 0.3
    assert answer.timings["retrieve"] < 0.2


async def test_the_asker_finds_only_what_the_principal_may_read(asker: Asker) -> None:
    answer = await final_answer(asker.ask(BOB, REQUEST, "rl-1"))
    assert [c.chunk_id for c in answer.citations] == [CORPUS[0].chunk.id]
    assert (answer.adapter, answer.adapter_digest) == ("none", ""), "the model knows more"


@pytest.mark.parametrize(
    "fault",
    [
        AlchemyError(ErrorCode.MODEL_UNAVAILABLE, "no weights"),
        AlchemyError(ErrorCode.OVERLOADED, "queue full"),
    ],
)
async def test_without_a_generator_the_answer_comes_from_evidence_alone(
    world: World, asker: Asker, fault: AlchemyError
) -> None:
    world.draft_fault = fault
    answer = await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert answer.adapter == "none" and answer.citations
    assert "draft" not in answer.timings


async def test_a_slow_draft_is_left_behind_in_time_for_the_answer(
    world: World, asker: Asker
) -> None:
    world.draft_s = 30
    started = time.monotonic()
    answer = await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert answer.adapter == "none"
    assert time.monotonic() - started < 1.0
    assert world.cancelled == ["draft"]


async def test_a_failed_search_fails_the_question_and_stops_the_draft(
    world: World, asker: Asker
) -> None:
    world.search_fault, world.draft_s = AlchemyError(ErrorCode.LAKE_UNAVAILABLE, "gone"), 30
    with pytest.raises(AlchemyError) as caught:
        await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert caught.value.code is ErrorCode.LAKE_UNAVAILABLE
    assert world.cancelled == ["draft"]


async def test_a_question_that_takes_too_long_ends_with_deadline(
    world: World, asker: Asker
) -> None:
    world.pause_s = 0.4
    started = time.monotonic()
    events = await collect(with_errors(asker.ask(ANN, REQUEST, "rl-1")))
    assert isinstance(events[-1], wire.ErrorEvent)
    assert (events[-1].error.code, events[-1].error.retryable) == ("deadline", True)
    assert time.monotonic() - started < 1.5
    assert "finalize" in world.cancelled


async def test_a_fault_in_the_middle_is_the_last_event(world: World, asker: Asker) -> None:
    world.fuse_fault = AlchemyError(ErrorCode.MODEL_UNAVAILABLE, "gone", "Wait.")
    events = await collect(with_errors(asker.ask(ANN, REQUEST, "rl-1")))
    assert [e.type for e in events] == ["status", "status", "status", "token", "token", "error"]
    assert isinstance(events[-1], wire.ErrorEvent)
    assert events[-1].error.message == "gone" and events[-1].error.remedy == "Wait."


async def test_an_untyped_fault_tells_nothing_about_the_inside(world: World, asker: Asker) -> None:
    world.fuse_fault = ValueError("/secret/path")
    events = await collect(with_errors(asker.ask(ANN, REQUEST, "rl-1")))
    assert isinstance(events[-1], wire.ErrorEvent)
    assert events[-1].error.code == "internal" and "secret" not in str(events[-1])


async def test_a_dead_redis_is_a_typed_error_not_a_hang(world: World) -> None:
    dead = Sessions(RedisStore("redis://127.0.0.1:1/0", timeout_s=0.5), 60, 3)
    asker = make_asker(world, dead, Admission(1, 1))
    with pytest.raises(AlchemyError) as caught:
        await asyncio.wait_for(final_answer(asker.ask(ANN, REQUEST, "rl-1")), 5)
    assert caught.value.code is ErrorCode.REDIS_UNAVAILABLE


async def test_past_the_limit_a_question_is_refused_at_once(
    world: World, sessions: Sessions
) -> None:
    world.pause_s = 0.01
    admission = Admission(1, 1)
    asker = make_asker(world, sessions, admission)
    results = await asyncio.gather(
        *(final_answer(asker.ask(ANN, REQUEST, "rl-1")) for _ in range(4)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, AlchemyError)]
    assert [r.code for r in refused] == [ErrorCode.OVERLOADED] * 2
    assert admission.present == 0
    await final_answer(asker.ask(ANN, REQUEST, "rl-1"))


async def test_a_client_that_leaves_frees_its_place(world: World, sessions: Sessions) -> None:
    world.pause_s = 0.01
    admission = Admission(1, 0)
    stream = make_asker(world, sessions, admission).ask(ANN, REQUEST, "rl-1")
    async for event in stream:
        if isinstance(event, wire.TokenEvent):
            break
    assert admission.present == 1
    await stream.aclose()
    assert admission.present == 0 and "finalize" in world.cancelled


async def test_an_answer_of_another_release_is_refused(world: World, asker: Asker) -> None:
    world.fuse_release = "rl-0"
    with pytest.raises(AlchemyError) as caught:
        await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert caught.value.code is ErrorCode.INTERNAL


async def test_a_conversation_keeps_its_newest_turns(asker: Asker, sessions: Sessions) -> None:
    for number in range(5):
        request = wire.ChatRequest(question=f"Question {number}?", session="s1", top_k=None)
        await final_answer(asker.ask(ANN, request, "rl-1"))
    turns = await sessions.turns("ann", "s1")
    assert [t.answer.question for t in turns] == ["Question 2?", "Question 3?", "Question 4?"]
    (summary,) = await sessions.list("ann")
    assert (summary.id, summary.title, summary.turns) == ("s1", "Question 0?", 3)


async def test_conversations_are_private(asker: Asker, sessions: Sessions) -> None:
    request = wire.ChatRequest(question="Mine?", session="same", top_k=None)
    answer = await final_answer(asker.ask(ANN, request, "rl-1"))
    assert await sessions.turns("bob", "same") == []
    assert await sessions.list("bob") == []
    with pytest.raises(AlchemyError) as caught:
        await sessions.answer(BOB, answer.id)
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_stored_answer_carries_the_access_rules_of_its_sources(
    asker: Asker, sessions: Sessions
) -> None:
    answer = await final_answer(asker.ask(ANN, REQUEST, "rl-1"))
    assert len(answer.citations) == 2
    assert (await sessions.answer(ANN, answer.id)).acl == ("core", "docs")


@pytest.mark.parametrize(
    ("acls", "expected"),
    [
        ([], ("everyone",)),
        ([("everyone",), ("everyone", "core")], ("everyone",)),
        ([("everyone",), ("core",)], ("core",)),
        ([("core", "docs"), ("docs", "board")], ("docs",)),
        ([("core",), ("board",)], ("user:ann",)),
    ],
)
def test_who_may_read_an_answer_may_read_every_source(
    acls: list[tuple[str, ...]], expected: tuple[str, ...]
) -> None:
    chunks = [passage(n, "x", acl).chunk for n, acl in enumerate(acls)]
    assert readers("ann", chunks) == expected
    for group in expected:
        person = Principal("p", "default", ("everyone", group))
        assert group.startswith("user:") or all(person.may_read("default", acl) for acl in acls)
