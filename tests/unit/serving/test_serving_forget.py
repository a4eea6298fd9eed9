"""Forgetting a document as its readers, its raters and an administrator meet it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from serving_world import CORPUS, RELEASE, World, make_asker, passage

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release.model import publish_release
from alchemy.serving.admission import Admission
from alchemy.serving.ask import final_answer
from alchemy.serving.sessions import Sessions
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.redis import RedisStore
from alchemy.stores.tombstones import TombstoneLog, read_forgotten, write_tombstones
from alchemy.types import Answer, Citation, Passage, Principal, SftPair
from deployments.forgetting import TombstoneFollower

ANN = Principal("ann", "default", ("core", "everyone"))
TAPS = "documents:Taps"
QUOTE = CORPUS[0].chunk.text
QUESTION = {"question": "What is a tap?", "session": "s1"}


def stored(redis_url: str) -> str:
    """Everything in Redis but accounts, as text."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = [key for key in client.scan_iter() if not key.startswith("user")]
        found = []
        for key in sorted(keys):
            kind = client.type(key)
            value = client.get(key) if kind == "string" else client.lrange(key, 0, -1)
            found.append(f"{key} {value}")
        return "\n".join(found)


def other_answer() -> tuple[Answer, list[Passage]]:
    """An answer of another document."""
    one = passage(0, "Sinks write to files.")
    chunk = type(one.chunk)(**{**one.chunk.__dict__, "id": "jira:S#0", "document_id": "jira:S"})
    cited = Citation("jira:S", "jira:S#0", "Sinks", "", chunk.text)
    answer = Answer(
        "an-sinks", "Sinks?", f"{chunk.text} [1]", (cited,), 0.9, False, "rl-1", "a", ""
    )
    return answer, [Passage(chunk, 1.0, 0.9)]


async def test_conversations_and_answers_that_quoted_it_are_gone(
    site: Any, kv: RedisStore, redis_url: str
) -> None:
    async with await site.as_user("ann") as ann, await site.as_user("root") as root:
        first = (await ann.post("/api/chat", json=QUESTION)).json()
        await Sessions(kv, 60, 3).remember(ANN, "s2", *other_answer())
        assert QUOTE in stored(redis_url)
        done = await root.post("/api/forget", json={"documents": [TAPS], "reason": "asked"})
        assert done.status_code == 200
        assert (done.json()["turns"], done.json()["answers"]) == (1, 1)

        assert [s["id"] for s in (await ann.get("/api/sessions")).json()] == ["s2"]
        assert (await ann.get("/api/sessions/s1")).status_code == 404
        rating = {"answer_id": first["id"], "rating": "up"}
        assert (await ann.post("/api/feedback", json=rating)).status_code == 404
    left = stored(redis_url)
    assert TAPS not in left and "What is a tap?" not in left
    assert "Sinks write to files." in left


async def test_one_turn_of_a_conversation_goes_and_the_others_stay(
    site: Any, kv: RedisStore
) -> None:
    async with await site.as_user("ann") as ann, await site.as_user("root") as root:
        await ann.post("/api/chat", json=QUESTION)
        await Sessions(kv, 60, 3).remember(ANN, "s1", *other_answer())
        await root.post("/api/forget", json={"documents": [TAPS]})
        session = (await ann.get("/api/sessions/s1")).json()
    assert [turn["answer"]["id"] for turn in session["turns"]] == ["an-sinks"]


async def test_a_rating_that_quotes_it_is_blanked_for_everyone(site: Any) -> None:
    async with await site.as_user("ann") as ann, await site.as_user("root") as root:
        answer = (await ann.post("/api/chat", json=QUESTION)).json()
        rating = {"answer_id": answer["id"], "rating": "down", "correction": f"No: {QUOTE}"}
        identifier = (await ann.post("/api/feedback", json=rating)).json()["id"]
        await root.post(f"/api/feedback/{identifier}/approve")
        done = (await root.post("/api/forget", json={"documents": [TAPS]})).json()
        assert done["ratings"] == 1
        again = (await root.post("/api/forget", json={"documents": [TAPS]})).json()
        assert again["ratings"] == 0
        for client, path in ((ann, "/api/feedback"), (root, "/api/feedback?scope=all")):
            [shown] = (await client.get(path)).json()
            assert (shown["rating"], shown["status"]) == ("down", "rejected")
            assert (shown["question"], shown["answer_text"], shown["correction"]) == ("", "", None)
    [file] = site.root.glob("feedback/*/*/*/*.json")
    assert QUOTE not in file.read_text()


async def test_a_tombstone_alone_hides_history_and_ratings_before_any_sweep(
    site: Any, redis_url: str
) -> None:
    async with await site.as_user("ann") as ann:
        answer = (await ann.post("/api/chat", json=QUESTION)).json()
        await ann.post("/api/feedback", json={"answer_id": answer["id"], "rating": "up"})
        write_tombstones(LocalLake(site.root), [("default", TAPS)], "forget", "elsewhere")
        assert QUOTE in stored(redis_url)
        assert (await ann.get("/api/sessions")).json() == []
        assert (await ann.get("/api/sessions/s1")).status_code == 404
        [shown] = (await ann.get("/api/feedback")).json()
        assert shown["answer_text"] == ""
        write_tombstones(LocalLake(site.root), [("default", TAPS)], "lift", "elsewhere")
        assert len((await ann.get("/api/sessions/s1")).json()["turns"]) == 1


async def test_turns_that_an_earlier_version_stored_are_shown_and_forgotten(
    kv: RedisStore, tmp_path: Path
) -> None:
    answer, _ = other_answer()
    row = {"answer": answer.to_dict(), "at": "2024-01-01T00:00:00Z"}
    await kv.append("session:ann:old", row, keep=5)
    sessions = Sessions(kv, 60, 3)
    assert [turn.answer.id for turn in await sessions.turns("ann", "old")] == ["an-sinks"]
    assert await sessions.erase([("default", "jira:S")]) == (1, 0)
    assert await sessions.turns("ann", "old") == []


async def test_an_answer_under_way_is_neither_given_nor_kept(
    world: World, kv: RedisStore, redis_url: str, tmp_path: Path
) -> None:
    lake = LocalLake(tmp_path)
    log = TombstoneLog(lake)
    sessions = Sessions(kv, 60, 3, log.refresh)
    asker = make_asker(world, sessions, Admission(4, 4))
    world.pause_s = 0.01
    request = wire.ChatRequest(question="What is a tap?", session="s1", top_k=None)
    asked = asyncio.create_task(final_answer(asker.ask(ANN, request, "rl-1")))
    await asyncio.sleep(0.1)
    write_tombstones(lake, [("default", TAPS)], "forget", "root")
    with pytest.raises(AlchemyError) as caught:
        await asked
    assert caught.value.code is ErrorCode.CONFLICT
    assert QUOTE not in stored(redis_url)


async def test_what_was_written_while_a_sweep_passed_is_taken_back(
    kv: RedisStore, redis_url: str, tmp_path: Path
) -> None:
    lake = LocalLake(tmp_path)
    looks = 0

    def forgotten_after_the_first_look() -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:
            write_tombstones(lake, [("default", "jira:S")], "forget", "root")
        return read_forgotten(lake)

    sessions = Sessions(kv, 60, 3, forgotten_after_the_first_look)
    with pytest.raises(AlchemyError, match="withdrawn"):
        await sessions.remember(ANN, "s9", *other_answer())
    assert "Sinks write" not in stored(redis_url) and "s9" not in stored(redis_url)


async def test_only_admins_forget_and_only_what_is_known_in_their_tenant(
    site: Any, accounts: Any
) -> None:
    await accounts.create_user("eve", "correct horse", roles=("admin",), tenant="other")
    async with await site.as_user("rev") as rev:
        assert (await rev.post("/api/forget", json={"documents": [TAPS]})).status_code == 403
    async with await site.as_user("eve") as eve:
        refused = await eve.post("/api/forget", json={"documents": [TAPS]})
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    async with await site.as_user("root") as root:
        refused = await root.post("/api/forget", json={"documents": [TAPS, "jira:NO-1"]})
        assert refused.status_code == 404 and "jira:NO-1" in refused.json()["message"]
        assert read_forgotten(LocalLake(site.root)).documents == frozenset(), "nothing is half done"
        early = {"documents": ["jira:NO-1"], "unknown": True}
        assert (await root.post("/api/forget", json=early)).json()["unknown"] == ["jira:NO-1"]


async def test_what_has_seen_it_is_listed(site: Any) -> None:
    lake = LocalLake(site.root)

    def pair(name: str, document: str) -> str:
        made = SftPair(name, "q", "a", (f"{document}#0",), (document,), "default", ("x",), "k")
        return made.to_json() + "\n"

    lake.write("sft/run-1/sft_train.jsonl", (pair("p1", TAPS) + pair("p2", "jira:S")).encode())
    lake.write("sft/run-2/sft_eval.jsonl", pair("p3", TAPS).encode())
    lake.write("adapters/ad-1/lineage.json", json.dumps({"documents": [TAPS, "jira:S"]}).encode())
    lake.write("adapters/ad-2/lineage.json", json.dumps({"documents": ["jira:S"]}).encode())
    publish_release(lake, RELEASE)
    copy = {"id": "jira:C", "reason": "exact_duplicate", "survivor": TAPS, "similarity": 1.0}
    lake.write("processed/run-9/removed.jsonl", json.dumps(copy).encode() + b"\n")
    lake.write("ledger/1.json", b'{"run_id": "run-9"}')
    async with await site.as_user("root") as root:
        done = (await root.post("/api/forget", json={"documents": [TAPS]})).json()
    assert done["lineage"] == {
        "copies": ["jira:C"],
        "originals": [],
        "pairs": {"run-1": ["p1"], "run-2": ["p3"]},
        "adapters": ["ad-1"],
        "releases": ["rl-1"],
        "live": "rl-1",
    }
    assert "full-cycle" in done["remedy"]


async def test_a_replica_notices_a_tombstone_of_elsewhere_and_sweeps_once(tmp_path: Path) -> None:
    lake = LocalLake(tmp_path)
    write_tombstones(lake, [("default", "jira:OLD")], "forget", "root")
    swept: list[frozenset[tuple[str, str]]] = []

    async def sweep(documents: frozenset[tuple[str, str]]) -> None:
        swept.append(documents)

    follower = TombstoneFollower(lake, sweep, poll_s=0.02)
    with pytest.raises(AlchemyError) as caught:
        follower.now()
    assert caught.value.code is ErrorCode.NOT_READY
    await follower.start()
    try:
        assert follower.now().any("default", ["jira:OLD"]) and swept == []
        write_tombstones(lake, [("default", "jira:NEW")], "forget", "root")
        async with asyncio.timeout(2):
            while not swept:  # noqa: ASYNC110 - polls what another task does
                await asyncio.sleep(0.01)
        assert follower.now().any("default", ["jira:NEW"])
        await asyncio.sleep(0.1)
        assert swept == [frozenset({("default", "jira:NEW")})]
    finally:
        await follower.stop()
