"""Planted secrets end with the raw data: nothing that a whole run writes or says holds one."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import leaks
import psutil
import pytest
from planted_company import Company, subject

import alchemy
from alchemy.cli.processes import State, ensure_redis
from alchemy.config import load_settings

_PLANTED = re.compile(
    r"jira:(?:SEC|TALK)-|confluence:(?:page|stored)-|documents:planted-|database:(?:planted|accounts)/"
)
_PLACEHOLDER = re.compile(r"\[[A-Z]+_\d+\]")
_BORDER_CHARS = 60


@pytest.fixture(scope="module")
def company() -> Company:
    return Company()


@pytest.fixture(scope="module")
def finder(company: Company) -> leaks.Finder:
    return leaks.Finder(company.secrets)


@pytest.fixture(scope="module")
def replies(app: Any) -> dict[str, str]:
    """Everything the service says when it is asked about planted records, by endpoint."""
    with alchemy.connect(app.url, user=app.admin_user, password=app.admin_password) as client:
        headers = {"Authorization": f"Bearer {client.token}"}
    said = {"demo": app.output, "metrics": httpx.get(f"{app.url}/metrics", timeout=60).text}
    with httpx.Client(base_url=app.url, headers=headers, timeout=120) as http:

        def post(path: str, body: dict[str, Any]) -> None:
            reply = http.post(path, json=body)
            assert reply.status_code == 200, reply.text
            said[path] = said.get(path, "") + reply.text

        for number in range(0, 50, 5):
            about = subject(number)
            for query in (about, f"password of the {about}", f"token e-mail address {about}"):
                post("/api/search", {"query": query, "top_k": 20})
        for number in range(0, 50, 16):
            question = f"What is the password in the {subject(number)}?"
            post("/api/chat", {"question": question})
            post("/api/chat/stream", {"question": question})
            messages = [{"role": "user", "content": question}]
            for model in ("data-alchemy", "base"):
                body = {"model": model, "messages": messages, "max_tokens": 64}
                post("/v1/chat/completions", body)
    return said


def catalog_of(app: Any) -> Path:
    """The catalog of the index that the demo published."""
    (catalog,) = (app.data / app.receipts(app.first_run)["index"]["uri"]).glob("catalog.sqlite")
    return catalog


def chunks_of(app: Any) -> list[tuple[str, str]]:
    """Document id and text of every indexed chunk."""
    with closing(sqlite3.connect(catalog_of(app))) as connection:
        return connection.execute("SELECT document_id, text FROM chunks").fetchall()


def test_the_search_finds_every_planted_value_in_the_raw_data(
    app: Any, company: Company, finder: leaks.Finder
) -> None:
    found = set[str]().union(*leaks.in_tree(finder, app.data / "raw").values())
    assert not [values for values in company.cases if found.isdisjoint(values)]


def test_planted_records_are_indexed_and_trained_on_with_placeholders(app: Any) -> None:
    planted = [(d, text) for d, text in chunks_of(app) if _PLANTED.match(d)]
    sources = {document.partition(":")[0] for document, _ in planted}
    assert sources == {"jira", "confluence", "documents", "database"}
    assert sum(bool(_PLACEHOLDER.search(text)) for _, text in planted) > 200
    borders = [text[:_BORDER_CHARS] + "\0" + text[-_BORDER_CHARS:] for _, text in planted]
    assert sum(bool(_PLACEHOLDER.search(ends)) for ends in borders) > 40
    pairs = (app.data / "sft" / app.first_run / "sft_train.jsonl").read_text().splitlines()
    taught = [p for p in map(json.loads, pairs) if _PLANTED.match(p["document_ids"][0])]
    assert sum(bool(_PLACEHOLDER.search(p["response"])) for p in taught) > 5


def test_answers_about_planted_records_hold_no_secret(
    replies: dict[str, str], finder: leaks.Finder
) -> None:
    hits = [
        json.loads(line) for line in re.findall(r'"document_id":("[^"]+")', replies["/api/search"])
    ]
    assert len({hit for hit in hits if _PLANTED.match(hit)}) > 20
    assert _PLACEHOLDER.search(replies["/api/chat"])
    assert not {place: found for place, text in replies.items() if (found := finder.in_text(text))}


def test_nothing_written_but_the_raw_data_holds_a_secret(
    app: Any, replies: dict[str, str], company: Company, finder: leaks.Finder
) -> None:
    assert replies  # they are stored by now
    state = State(load_settings(app.env["ALCHEMY_CONFIG"], app.env))
    head = psutil.Process(state.data["ray"]["pid"])
    words = " ".join(w for p in head.children(recursive=True) for w in p.cmdline())
    (session,) = set(re.findall(r"(/\S*/session_[\d_-]+)/", words))
    found = leaks.in_tree(finder, app.data, app.data / "raw")
    found |= leaks.in_tree(finder, app.scratch)
    found |= leaks.in_tree(finder, Path(session))
    # a ledger lists the raw objects, so it holds what somebody wrote into a file's name
    assert not {p: v for p, v in found.items() if p.name != "ledger.jsonl" or v != {company.reader}}
    url = ensure_redis(load_settings(app.env["ALCHEMY_CONFIG"], app.env), state)
    assert not leaks.in_redis(finder, url)


def test_look_alikes_reach_the_index_as_they_are(app: Any, company: Company) -> None:
    indexed = re.sub(r"\s+", " ", "\n".join(text for _, text in chunks_of(app)))
    missing = [t for t in company.look_alikes if re.sub(r"\s+", " ", t.strip()) not in indexed]
    assert not missing
