"""From a tombstone to the last byte: sync, release, gc. Last of all, since it adds a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import alchemy


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sync_leaves_it_out_and_gc_removes_what_still_has_it(app: Any) -> None:
    status = json.loads(app.command("alchemy", "status", "--json").stdout)
    old_index = status["index"]
    [sample, *_] = lines(app.samples / "questions.jsonl")
    document = sample["document_ids"][0]
    with alchemy.connect(app.url, user=app.admin_user, password=app.admin_password) as client:
        client.forget(document, reason="for good")
        app.command("alchemy", "sync")
        status = json.loads(app.command("alchemy", "status", "--json").stdout)
        assert status["index"] != old_index
        ledger = max((app.data / "ledger").iterdir(), key=lambda path: int(path.stem))
        run = app.data / "processed" / json.loads(ledger.read_text())["run_id"]
        for name in ("cleaned_corpus.jsonl", "rag_chunks.jsonl"):
            key = "id" if name.startswith("cleaned") else "document_id"
            assert document not in {row[key] for row in lines(run / name)}
        reasons = {row["id"]: row["reason"] for row in lines(run / "removed.jsonl")}
        assert reasons[document] == "forgotten"

        deadline = time.monotonic() + 10
        while client.chat(sample["question"]).release != status["release"]:
            assert time.monotonic() < deadline, "the new release does not answer"
            time.sleep(0.2)
        app.command("alchemy", "gc", "--keep", "1", "--min-age", "0s")
        assert not (app.data / "index" / old_index / "manifest.json").exists()
        assert not list((app.data / "index" / old_index).glob("*"))
        for path in (app.data / "processed").rglob("rag_chunks.jsonl"):
            assert document not in {row["document_id"] for row in lines(path)}

        passages = client.search(sample["question"], top_k=20).passages
        assert passages and document not in {passage.document_id for passage in passages}
        again = app.command("alchemy", "sync", "--json").stdout.splitlines()
        assert json.loads(again[-1])["status"] == "succeeded", "the next run finds all it needs"
        assert client.chat(sample["question"]).release == status["release"]
