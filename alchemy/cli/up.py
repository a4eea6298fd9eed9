"""`alchemy up | down | status | demo`: the system on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.cluster import APPLICATION, ray_cluster, start_cluster
from alchemy.cli.output import Output
from alchemy.cli.processes import State, require_port
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode

_READY_TIMEOUT_S = 180.0


def register(commands: Any) -> None:
    """Add the commands of this group."""
    add_command(
        commands, "up", up, "start Redis, Ray and the chat service on this machine", "alchemy up"
    )
    add_command(commands, "down", down, "stop what `alchemy up` started", "alchemy down")
    add_command(
        commands, "status", status, "show what runs and which release is live", "alchemy status"
    )
    demo_parser = add_command(
        commands,
        "demo",
        demo,
        "run the whole loop on the sample company and answer sample questions",
        "alchemy demo",
    )
    demo_parser.add_argument(
        "--samples",
        metavar="DIR",
        help="directory with raw/ and questions.jsonl (default: ./samples)",
    )


def up(arguments: argparse.Namespace, out: Output) -> None:
    """Start everything; print where it is."""
    settings = load_settings(arguments.config)
    password = start(settings, arguments.config, out)
    show_places(settings, out, password)


def start(settings: Settings, config: str | None, out: Output) -> str | None:
    """Redis, Ray, the Serve application; the admin's password when it was just created."""
    from alchemy.stores import open_lake

    open_lake(settings.lake).check_writable()
    state = State(settings)
    if not _healthy(settings):
        require_port(
            settings.serving.host, settings.serving.port, "the chat service", "ALCHEMY_PORT"
        )
    completed = start_cluster(settings, state, config)
    out.line("  ✓ Redis and Ray are up")
    password = asyncio.run(_admin(completed))
    with ray_cluster(completed, state):
        deploy(completed)
    _await_ready(settings)
    out.line("  ✓ chat service is up")
    return password


def deploy(settings: Settings) -> None:
    """Deploy (or update) the Serve application on the connected cluster."""
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    from deployments.app import build_app

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its banners are not our output
    serving = settings.serving
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        # no request timeout here: it would cut WebSockets; `serving.request_timeout_s` bounds answers
        http_options=HTTPOptions(host=serving.host, port=serving.port),
    )
    serve.run(build_app(settings), name=APPLICATION, route_prefix="/", blocking=False)


async def _admin(settings: Settings) -> str | None:
    from alchemy.serving.auth import Accounts
    from alchemy.stores.redis import RedisStore

    store = RedisStore(settings.redis.url, settings.redis.timeout_s)
    try:
        serving = settings.serving
        accounts = Accounts(store, serving.jwt_secret.get_secret_value(), serving.token_ttl_s)
        return await accounts.ensure_admin()
    finally:
        await store.close()


def _health(settings: Settings) -> dict[str, Any] | None:
    import httpx

    try:
        reply = httpx.get(f"{_url(settings)}/healthz", timeout=5)
        body = reply.json()
    except (httpx.HTTPError, ValueError):
        return None
    return body if isinstance(body, dict) and "release" in body else None


def _healthy(settings: Settings) -> bool:
    return _health(settings) is not None


def _await_ready(settings: Settings) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not _healthy(settings):
        if time.monotonic() > deadline:
            raise AlchemyError(
                ErrorCode.NOT_READY,
                f"the chat service does not answer at {_url(settings)}",
                "Look at the Ray dashboard's Serve page and Ray's logs (/tmp/ray/session_latest/logs).",
            )
        time.sleep(0.5)


def _url(settings: Settings) -> str:
    host = settings.serving.host
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{settings.serving.port}"


def show_places(settings: Settings, out: Output, password: str | None) -> None:
    """The last lines of `up` and `demo`."""
    dashboard = f"http://{settings.ray.dashboard_host}:{settings.ray.dashboard_port}"
    if settings.ray.address:
        dashboard = f"of the cluster {settings.ray.address}"
    out.line("")
    out.line(f"  chat page        {_url(settings)}")
    out.line(f"  Ray dashboard    {dashboard}")
    if not settings.ray.address:
        out.line("  its token        printed by `ray get-auth-token`")
    if password:
        out.line(
            f"  sign in as       admin / {password}   (shown once; change: alchemy users passwd admin)"
        )
    else:
        out.line(
            "  sign in as       admin (password set earlier; new one: alchemy users passwd admin)"
        )
    if out.json_mode:
        out.line(url=_url(settings), dashboard=dashboard, user="admin", password=password)


def down(arguments: argparse.Namespace, out: Output) -> None:
    """Stop Ray and Redis of this machine, by recorded pid."""
    settings = load_settings(arguments.config)
    state = State(settings)
    if settings.ray.address:
        from ray import serve

        with ray_cluster(settings, state):
            serve.delete(APPLICATION)
        out.line(f"removed the chat service from {settings.ray.address}")
    stopped = [part for part in ("ray", "redis") if state.stop(part)]
    out.result(
        {"stopped": stopped}, f"stopped {', '.join(stopped)}" if stopped else "nothing was running"
    )


def status(arguments: argparse.Namespace, out: Output) -> None:
    """What runs, where, and which release is live."""
    from alchemy.release.model import live_release
    from alchemy.stores import open_lake

    settings = load_settings(arguments.config)
    state = State(settings)
    lake = open_lake(settings.lake)
    release = live_release(lake)
    health = _health(settings)
    facts = {
        "chat": health["status"] if health else "down",
        "url": _url(settings),
        "ray": settings.ray.address or ("up" if state.alive("ray") else "down"),
        "redis": "external" if settings.redis.url else "up" if state.alive("redis") else "down",
        "lake": lake.uri,
        "release": release.id if release else None,
        "index": release.index if release else None,
        "adapter": release.adapter if release else None,
    }
    out.result(facts, "\n".join(f"  {name:<8} {value}" for name, value in facts.items()))
    if health is None:
        raise AlchemyError(ErrorCode.NOT_READY, "the chat service is down", "Run `alchemy up`.")


def find_samples(explicit: str | None) -> Path:
    """The sample company's directory."""
    checkout = Path(__file__).resolve().parents[2] / "samples"
    for path in [Path(explicit)] if explicit else [Path("samples"), checkout]:
        if (path / "raw").is_dir():
            return path
    raise AlchemyError(
        ErrorCode.INPUT_INVALID,
        f"no samples in {explicit or './samples'}",
        "Run from a checkout, or give --samples DIR (it holds raw/ and questions.jsonl).",
    )


def demo(arguments: argparse.Namespace, out: Output) -> None:
    """Samples → lake → every stage → chat service → three questions answered."""
    from alchemy.cli.lake import upload_tree
    from alchemy.cli.runs import run_stages
    from alchemy.stores import open_lake

    settings = load_settings(arguments.config)
    samples = find_samples(arguments.samples)
    began = time.monotonic()
    state = State(settings)
    lake = open_lake(settings.lake)
    lake.check_writable()
    start_cluster(settings, state, arguments.config)
    sent = upload_tree(lake, samples / "raw", "raw")
    out.line(f"sample company: {sent} new or changed files in the lake {lake.uri}")
    run_stages(settings, ("release",), out)
    password = start(settings, arguments.config, out)
    questions = (samples / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    answered = asyncio.run(_ask(settings, [json.loads(line) for line in questions], out))
    show_places(settings, out, password)
    out.line(
        f"\n  {answered['correct']} of {answered['asked']} sample questions answered with a correct citation"
    )
    out.line(f"  done in {time.monotonic() - began:.0f} s; stop with: alchemy down", **answered)
    if answered["correct"] < 3:
        raise AlchemyError(
            ErrorCode.STAGE_FAILED,
            f"only {answered['correct']} of {answered['asked']} sample answers cite the right document",
        )


async def _ask(settings: Settings, questions: list[dict[str, Any]], out: Output) -> dict[str, int]:
    """Ask the sample questions over HTTP as a short-lived local service user."""
    from alchemy.cli.people import local_token
    from alchemy.client import connect_async

    token = await local_token(settings)
    asked = correct = 0
    async with connect_async(_url(settings), token=token) as client:
        for sample in questions:
            answer = await client.chat(sample["question"])
            asked += 1
            cited = [c.document_id for c in answer.citations]
            right = not answer.abstained and not set(cited).isdisjoint(sample["document_ids"])
            correct += right
            out.line(f"\n  Q: {sample['question']}\n  A: {answer.text}")
            for number, citation in enumerate(answer.citations, 1):
                out.line(f"     [{number}] {citation.title} ({citation.document_id})")
            out.line(f"     confidence {answer.confidence:.2f}, release {answer.release}")
            out.line(
                question=sample["question"],
                answer=answer.model_dump(mode="json"),
                cited_correctly=right,
            )
    return {"asked": asked, "correct": correct}
