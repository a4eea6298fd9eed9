"""The running application over REST, server-sent events and WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import httpx
import jwt
import pytest
from serving_world import SECRET
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import alchemy
from alchemy.errors import AlchemyError, ErrorCode

PASSWORD = "correct horse battery"
QUESTION = {"question": "What is a tap?"}


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def socket_url(site: Any) -> str:
    return f"{site.url.replace('http', 'ws', 1)}/api/ws"


async def until(end: str, socket: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != end:
        events.append(json.loads(await asyncio.wait_for(socket.recv(), 5)))
    return events


# ------------------------------------------------------------------ signing in


async def test_login_gives_a_token_that_the_rest_accepts(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        login = await client.post("/api/login", json={"user": "ann", "password": PASSWORD})
        token = login.json()["token"]
        me = await client.get("/api/me", headers={"Authorization": f"Bearer {token}"})
    assert login.json()["expires_in"] == 3600
    assert me.json() == {
        "user": "ann",
        "tenant": "default",
        "roles": ["user"],
        "groups": ["core", "everyone"],
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/me"),
        ("POST", "/api/chat"),
        ("POST", "/api/chat/stream"),
        ("POST", "/api/search"),
        ("POST", "/api/ingest"),
        ("GET", "/api/jobs/x"),
        ("POST", "/api/feedback"),
        ("GET", "/api/feedback"),
        ("POST", "/api/feedback/x/approve"),
        ("POST", "/api/forget"),
        ("GET", "/api/sessions"),
        ("GET", "/api/sessions/x"),
        ("GET", "/api/releases"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
    ],
)
async def test_nothing_is_served_without_a_token(site: Any, method: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        reply = await client.request(method, path, json={} if method == "POST" else None)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("user", "method", "path", "body"),
    [
        ("ann", "POST", "/api/ingest", {"source": "jira", "records": [{"key": "A-1"}]}),
        ("ann", "GET", "/api/jobs/x", None),
        ("bot", "GET", "/api/releases", None),
        ("ann", "GET", "/api/feedback?scope=all", None),
        ("bot", "POST", "/api/feedback/x/approve", None),
    ],
)
async def test_a_missing_role_is_forbidden(
    site: Any, user: str, method: str, path: str, body: Any
) -> None:
    async with await site.as_user(user) as client:
        reply = await client.request(method, path, json=body)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


async def test_an_expired_token_says_so(site: Any) -> None:
    claims = jwt.decode(await site.token("ann"), options={"verify_signature": False})
    expired = jwt.encode({**claims, "exp": int(time.time()) - 60}, SECRET, "HS256")
    async with httpx.AsyncClient(base_url=site.url) as client:
        reply = await client.get("/api/me", headers={"Authorization": f"Bearer {expired}"})
    assert (reply.status_code, reply.json()["code"]) == (401, "token_expired")


async def test_guessing_passwords_ends_in_429_with_the_wait(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        for _ in range(8):
            await client.post("/api/login", json={"user": "ann", "password": "guess"})
        reply = await client.post("/api/login", json={"user": "ann", "password": PASSWORD})
    assert (reply.status_code, reply.json()["code"]) == (429, "overloaded")
    assert 200 < int(reply.headers["retry-after"]) <= 300


# ------------------------------------------------------------------ asking


async def test_rest_sse_and_websocket_tell_the_same(site: Any) -> None:
    async with await site.as_user("ann") as client:
        whole = (await client.post("/api/chat", json=QUESTION)).json()
        stream = await client.post("/api/chat/stream", json=QUESTION)
        bearer = {"Authorization": client.headers["Authorization"]}
        async with connect(socket_url(site), additional_headers=bearer) as socket:
            await socket.send(json.dumps(QUESTION))
            spoken = await until("answer", socket)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    lines = events_of(stream.text)
    own = ("id", "session", "timings")
    shown = {k: v for k, v in whole.items() if k not in own}
    for events in (lines, spoken):
        assert [e["type"] for e in events if e["type"] != "token"] == ["status"] * 3 + ["answer"]
        answer = events[-1]["answer"]
        assert {k: v for k, v in answer.items() if k not in own} == shown
        assert "".join(e["text"] for e in events if e["type"] == "token") == answer["text"]


async def test_tokens_leave_as_they_come(site: Any) -> None:
    site.world.pause_s = 0.05
    arrived: list[float] = []
    async with (
        await site.as_user("ann") as client,
        client.stream("POST", "/api/chat/stream", json=QUESTION) as reply,
    ):
        async for line in reply.aiter_lines():
            if line.startswith("event: token"):
                arrived.append(time.monotonic())
    assert arrived[-1] - arrived[0] > 0.3


async def test_the_python_client_talks_to_it(site: Any) -> None:
    async with alchemy.connect_async(site.url, user="ann", password=PASSWORD) as client:
        answer = await client.chat("What is a tap?", session="s-1")
        receipt = await client.feedback(answer.id, "up")
        found = await client.search("tap", top_k=1)
        kinds = [event.type async for event in client.stream("What is a tap?", session="s-1")]
    assert answer.session == "s-1" and receipt.status == "pending"
    assert [p.document_id for p in found.passages] == ["documents:Taps"]
    assert found.passages[0].section == "Taps > Introduction" and found.release == "rl-1"
    assert kinds[-1] == "answer"


async def test_a_search_is_explained_on_request(site: Any) -> None:
    async with await site.as_user("ann") as client:
        plain = (await client.post("/api/search", json={"query": "tap"})).json()
        told = (await client.post("/api/search", json={"query": "tap", "explain": True})).json()
    assert all(passage["signals"] == {} for passage in plain["passages"])
    assert all(passage["signals"] for passage in told["passages"])


async def test_a_follow_up_is_answered_as_what_it_stands_for(site: Any) -> None:
    async with await site.as_user("ann") as client:
        first = (await client.post("/api/chat", json=QUESTION)).json()
        follow = {"question": "And why?", "session": first["session"]}
        answer = (await client.post("/api/chat", json=follow)).json()
    assert answer["question"] == "And why?"
    assert site.world.asked[-1].startswith("And why? (")
    assert "tap" in site.world.asked[-1]


async def test_sources_and_top_k_narrow_the_evidence(site: Any) -> None:
    async with await site.as_user("ann") as client:
        one = await client.post("/api/chat", json={**QUESTION, "top_k": 1})
        none = await client.post("/api/chat", json={**QUESTION, "sources": ["jira"]})
    assert len(one.json()["citations"]) == 1
    assert none.json()["abstained"] and none.json()["citations"] == []


async def test_conversations_are_listed_and_read_again(site: Any) -> None:
    async with await site.as_user("ann") as client:
        first = (await client.post("/api/chat", json=QUESTION)).json()
        session = first["session"]
        await client.post("/api/chat", json={"question": "And then?", "session": session})
        (entry,) = (await client.get("/api/sessions")).json()
        detail = (await client.get(f"/api/sessions/{session}")).json()
    assert (entry["id"], entry["title"], entry["turns"]) == (session, "What is a tap?", 2)
    assert [t["answer"]["question"] for t in detail["turns"]] == ["What is a tap?", "And then?"]
    assert detail["turns"][0]["answer"] == first
    async with await site.as_user("bob") as client:
        assert (await client.get(f"/api/sessions/{session}")).status_code == 404


async def test_without_a_release_the_answer_is_not_ready(site: Any) -> None:
    site.world.release = None
    async with await site.as_user("ann") as client:
        for path in ("/api/chat", "/api/chat/stream"):
            reply = await client.post(path, json=QUESTION)
            assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
            assert "full-cycle" in reply.json()["remedy"]


async def test_past_the_limit_is_429_at_once(site: Any) -> None:
    site.world.pause_s = 0.02
    async with await site.as_user("ann") as client:
        replies = await asyncio.gather(
            *(client.post("/api/chat/stream", json=QUESTION) for _ in range(20))
        )
    refused = [r for r in replies if r.status_code == 429]
    assert len(refused) == 4
    assert all(r.headers["retry-after"] == "1" for r in refused)
    assert all(r.json()["retryable"] for r in refused)


async def test_an_untyped_fault_is_500_without_details(site: Any) -> None:
    site.world.search_fault = RuntimeError("/secret/path")
    async with await site.as_user("ann") as client:
        reply = await client.post("/api/search", json={"query": "x"})
    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "secret" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


# ------------------------------------------------------------------ the socket


async def test_a_browser_signs_in_with_its_first_message_and_asks_several(site: Any) -> None:
    async with connect(socket_url(site)) as socket:
        await socket.send(json.dumps({"type": "auth", "token": await site.token("ann")}))
        for number in range(3):
            await socket.send(json.dumps({"question": f"Tap {number}?", "session": "s"}))
        answers = [(await until("answer", socket))[-1]["answer"]["question"] for _ in range(3)]
    assert answers == ["Tap 0?", "Tap 1?", "Tap 2?"]


@pytest.mark.parametrize(
    "first",
    [
        '{"type": "auth", "token": "wrong"}',
        '{"question": "Without signing in?"}',
        '{"type": "auth", "token": 7}',
        "[]",
        "not json",
    ],
)
async def test_a_socket_that_does_not_sign_in_is_told_and_closed(site: Any, first: str) -> None:
    async with connect(socket_url(site)) as socket:
        await socket.send(first)
        (event,) = await until("error", socket)
        assert event["error"]["code"] == "auth_failed"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert socket.close_code == 1008


async def test_a_bad_question_does_not_end_the_socket(site: Any) -> None:
    headers = {"Authorization": f"Bearer {await site.token('ann')}"}
    async with connect(socket_url(site), additional_headers=headers) as socket:
        for bad in ("{", '{"question": ""}', '{"question": "x", "oops": 1}', b"\xff"):
            await socket.send(bad)
            (event,) = await until("error", socket)
            assert event["error"]["code"] == "input_invalid"
        await socket.send(json.dumps(QUESTION))
        assert (await until("answer", socket))[-1]["answer"]["citations"]


async def test_a_locked_account_ends_an_open_socket(site: Any) -> None:
    headers = {"Authorization": f"Bearer {await site.token('ann')}"}
    async with connect(socket_url(site), additional_headers=headers) as socket:
        await socket.send(json.dumps(QUESTION))
        await until("answer", socket)
        await site.accounts.disable("ann")
        await socket.send(json.dumps(QUESTION))
        assert (await until("error", socket))[-1]["error"]["code"] == "auth_failed"


async def test_leaving_a_socket_ends_the_work_for_it(site: Any) -> None:
    site.world.pause_s = 0.2
    headers = {"Authorization": f"Bearer {await site.token('ann')}"}
    async with connect(socket_url(site), additional_headers=headers) as socket:
        await socket.send(json.dumps(QUESTION))
        while json.loads(await socket.recv())["type"] != "token":
            pass
    for _ in range(100):
        if "finalize" in site.world.cancelled:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the answer went on for nobody")


async def test_a_flood_of_questions_on_one_socket_is_refused(site: Any) -> None:
    site.world.pause_s = 0.1
    headers = {"Authorization": f"Bearer {await site.token('ann')}"}
    async with connect(socket_url(site), additional_headers=headers) as socket:
        for _ in range(40):
            await socket.send(json.dumps(QUESTION))
        assert (await until("error", socket))[-1]["error"]["code"] == "overloaded"


# ------------------------------------------------------------------ feedback


async def rated_answer(site: Any, user: str = "ann", **body: Any) -> tuple[str, str]:
    async with await site.as_user(user) as client:
        answer = (await client.post("/api/chat", json=QUESTION)).json()["id"]
        reply = await client.post("/api/feedback", json={"answer_id": answer, **body})
    assert reply.json()["status"] == "pending"
    return answer, reply.json()["id"]


async def test_feedback_lies_in_the_lake_with_its_lineage(site: Any) -> None:
    answer, receipt = await rated_answer(site, rating="down", correction=" A tap copies. ")
    (path,) = (site.root / "feedback").rglob("*.json")
    assert path.stem == receipt
    assert re.fullmatch(r"feedback/\d{4}/\d\d/\d\d", str(path.parent.relative_to(site.root)))
    stored = json.loads(path.read_text())
    assert stored["answer_id"] == answer and stored["correction"] == "A tap copies."
    assert stored["acl"] == ["core", "docs"] and stored["tenant"] == "default"
    assert stored["citations"][0]["chunk_id"] == "documents:Taps#0"
    assert stored["release"] == "rl-1" and stored["status"] == "pending"


async def test_only_who_was_given_an_answer_may_rate_it(site: Any) -> None:
    answer, _ = await rated_answer(site, rating="up")
    async with await site.as_user("bob") as client:
        reply = await client.post("/api/feedback", json={"answer_id": answer, "rating": "down"})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_rating_again_replaces_and_waits_again(site: Any) -> None:
    answer, first = await rated_answer(site, rating="up")
    async with await site.as_user("rev") as reviewer:
        approved = await reviewer.post(f"/api/feedback/{first}/approve")
    async with await site.as_user("ann") as client:
        same = await client.post("/api/feedback", json={"answer_id": answer, "rating": "up"})
        other = await client.post("/api/feedback", json={"answer_id": answer, "rating": "down"})
        (entry,) = (await client.get("/api/feedback")).json()
    assert approved.json() == {"id": first, "status": "approved"}
    assert same.json() == {"id": first, "status": "approved"}
    assert other.json() == {"id": first, "status": "pending"}
    assert (entry["rating"], entry["status"], entry["reviewed_by"]) == ("down", "pending", None)


async def test_a_reviewer_decides_on_what_they_may_read(site: Any) -> None:
    _, core = await rated_answer(site, rating="down", comment="wrong")
    _, public = await rated_answer(site, user="bob", rating="up")
    async with await site.as_user("rev") as reviewer:
        waiting = (await reviewer.get("/api/feedback?scope=all&status=pending")).json()
        assert {entry["id"] for entry in waiting} == {core, public}
        assert (await reviewer.post(f"/api/feedback/{core}/reject")).json()["status"] == "rejected"
        rejected = (await reviewer.get("/api/feedback?scope=all&status=rejected")).json()
        assert [(e["id"], e["reviewed_by"]) for e in rejected] == [(core, "rev")]
        assert (await reviewer.post("/api/feedback/nope/approve")).status_code == 404
    await site.accounts.create_user("far", PASSWORD, roles=("reviewer",))
    async with await site.as_user("far") as outsider:
        seen = (await outsider.get("/api/feedback?scope=all")).json()
        assert [entry["id"] for entry in seen] == [public]
        assert (await outsider.post(f"/api/feedback/{core}/approve")).status_code == 404


async def test_nobody_approves_their_own_rating(site: Any) -> None:
    _, receipt = await rated_answer(site, user="rev", rating="up")
    async with await site.as_user("rev") as client:
        reply = await client.post(f"/api/feedback/{receipt}/approve")
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


async def test_a_damaged_feedback_file_hides_nothing_else(site: Any) -> None:
    _, receipt = await rated_answer(site, rating="up")
    (site.root / "feedback" / "2015" / "01" / "01").mkdir(parents=True)
    (site.root / "feedback" / "2015" / "01" / "01" / "x.json").write_text("{")
    async with await site.as_user("root") as client:
        found = (await client.get("/api/feedback?scope=all")).json()
    assert [entry["id"] for entry in found] == [receipt]


# ------------------------------------------------------------------ ingesting


async def test_ingested_records_are_stored_and_a_run_starts(site: Any) -> None:
    records = [{"key": "A-1", "summary": "Grüße 你好"}, {"key": "A-2", "bad": "\ud800"}]
    async with await site.as_user("bot") as client:
        body = json.dumps({"source": "jira", "records": records})
        reply = await client.post(
            "/api/ingest", content=body, headers={"Content-Type": "application/json"}
        )
    receipt = reply.json()
    assert receipt["records"] == 2 and receipt["job_id"] == "raysubmit_0"
    assert receipt["key"].startswith("raw/jira/api/")
    lines = (site.root / receipt["key"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    async with await site.as_user("root") as client:
        job = (await client.get("/api/jobs/raysubmit_0")).json()
        assert job == {"job_id": "raysubmit_0", "status": "RUNNING", "message": ""}
        assert (await client.get("/api/jobs/other")).status_code == 404


async def test_records_can_wait_for_a_later_run(site: Any) -> None:
    body = {"source": "jira", "records": [{"key": "A-1"}], "run": False}
    async with await site.as_user("root") as client:
        first, second = [(await client.post("/api/ingest", json=body)).json() for _ in range(2)]
    assert first["job_id"] is None and not site.world.jobs
    assert first["key"] != second["key"]


async def test_records_stored_without_a_run_say_where_they_are(site: Any) -> None:
    site.world.job_fault = AlchemyError(ErrorCode.NOT_READY, "no dashboard", "Start it.")
    async with await site.as_user("bot") as client:
        reply = await client.post(
            "/api/ingest", json={"source": "jira", "records": [{"key": "A-1"}]}
        )
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
    assert "raw/jira/api/" in reply.json()["message"] and "no dashboard" in reply.json()["message"]


# ------------------------------------------------------------------ faults and the front


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", b"{", 400, "body"),
        ("/api/chat", b'{"question": ""}', 400, "question"),
        ("/api/chat", b'{"question": "x", "extra": 1}', 400, "extra"),
        ("/api/chat", b'{"question": "x", "session": "../x"}', 400, "session"),
        ("/api/ingest", b'{"source": "oops", "records": [{}]}', 400, "source"),
        ("/nowhere", b"{}", 404, "/nowhere"),
        ("/api/me", b"{}", 405, "/api/me"),
    ],
)
async def test_a_bad_request_names_the_place(
    site: Any, path: str, body: bytes, status: int, words: str
) -> None:
    async with await site.as_user("root") as client:
        reply = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status
    fault = reply.json()
    assert set(fault) == {"code", "message", "remedy", "retryable"}
    assert words in fault["message"]


async def test_a_body_over_the_limit_is_refused_announced_or_not(site: Any) -> None:
    async def endless() -> Any:
        for _ in range(70):
            yield b" " * 2**20

    token = await site.token("bot")
    async with await site.as_user("bot") as client:
        streamed = await client.post("/api/ingest", content=endless(), timeout=30)
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
    reader, writer = await asyncio.open_connection(*site.url.removeprefix("http://").split(":"))
    head = f"POST /api/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}Content-Length: {2**40}\r\n\r\n".encode())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


async def test_every_response_has_its_id_and_the_security_headers(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        replies = [await client.get(path) for path in ("/healthz", "/", "/nowhere")]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3
    for reply in replies:
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_health_names_what_is_wrong(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        well = (await client.get("/healthz")).json()
        site.world.release = None
        ill = await client.get("/healthz")
    assert well == {"status": "ok", "release": "rl-1", "parts": {"redis": "ok"}}
    assert ill.status_code == 200 and ill.json()["status"] == "degraded"


async def test_requests_are_counted_by_route_not_by_address(site: Any) -> None:
    async with await site.as_user("ann") as client:
        await client.get("/api/sessions/some-id")
        await client.get("/nowhere/else")
        text = (await client.get("/metrics")).text
    assert ("GET", "/api/sessions/{session}", 404) in site.world.observed
    assert ("GET", "other", 404) in site.world.observed
    assert 'alchemy_http_requests_total{NodeAddress="n"} 2.0' in text


async def test_the_page_and_its_parts_come_from_here_alone(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url) as client:
        page = await client.get("/")
        parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert "/static/app.js" in parts and "/static/style.css" in parts
        for part in parts:
            assert part.startswith("/static/") or part == "data:,"
            if part.startswith("/"):
                assert (await client.get(part)).status_code == 200
        script = (await client.get("/static/app.js")).text
        assert (await client.get("/static/../app.py")).status_code == 404
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


async def test_releases_are_listed_with_the_live_one_marked(site: Any) -> None:
    (site.root / "releases" / "pointer").mkdir(parents=True)
    for name, at in (("rl-1", "2015-02-01"), ("rl-0", "2015-01-01")):
        record = {**json.loads(serving_release()), "id": name, "created_at": f"{at}T00:00:00Z"}
        (site.root / "releases" / f"{name}.json").write_text(json.dumps(record))
    (site.root / "releases" / "pointer" / "1.json").write_text('{"release": "rl-1"}')
    async with await site.as_user("root") as client:
        found = (await client.get("/api/releases")).json()
    assert [(r["id"], r["live"]) for r in found] == [("rl-0", False), ("rl-1", True)]


def serving_release() -> str:
    from serving_world import RELEASE

    return RELEASE.to_json()
