"""`data-alchemy chat`: ask from the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode


def register(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "chat",
        chat,
        "ask questions in the terminal",
        'data-alchemy chat "What is a tap?"',
    )
    parser.add_argument("question", nargs="?", help="one question; without it, a conversation")
    parser.add_argument("--url", help="service to ask (default: the one on this machine)")
    parser.add_argument(
        "--token", default=os.environ.get("ALCHEMY_TOKEN"), help="bearer token (or ALCHEMY_TOKEN)"
    )


def chat(arguments: argparse.Namespace, out: Output) -> None:
    """One question, or lines from standard input until it ends."""
    settings = load_settings(arguments.config)
    url = arguments.url or f"http://{settings.serving.host}:{settings.serving.port}"
    token = arguments.token
    if token is None:
        if arguments.url:
            raise AlchemyError(
                ErrorCode.AUTH_FAILED, f"no token for {url}", "Give --token or set ALCHEMY_TOKEN."
            )
        from alchemy.cli.people import local_token

        token = asyncio.run(local_token(settings))
    from alchemy.client import connect

    with connect(url, token=token) as client:
        session = secrets.token_urlsafe(12)
        if arguments.question:
            _ask(client, arguments.question, session, out)
            return
        while True:
            if sys.stdin.isatty():
                sys.stdout.write("? ")
                sys.stdout.flush()
            line = sys.stdin.readline()
            if not line:
                return
            if line.strip():
                _ask(client, line.strip(), session, out)


def _ask(client: Any, question: str, session: str, out: Output) -> None:
    for event in client.stream(question, session=session):
        if event.type == "token" and not out.json_mode:
            sys.stdout.write(event.text)
            sys.stdout.flush()
        elif event.type == "answer":
            answer = event.answer
            out.line("", **answer.model_dump(mode="json"))
            for number, citation in enumerate(answer.citations, 1):
                place = f" — {citation.section}" if citation.section else ""
                out.line(f"  [{number}] {citation.title}{place} ({citation.document_id})")
            out.line(f"  confidence {answer.confidence:.2f}, release {answer.release}")
