"""Planted secrets on the way through connectors, whose markup readers change the text around them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pii_corpus import planted

from alchemy.cleaning.reading import clean
from alchemy.config import Settings
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Document

IN_TEXT = [case for case in planted(2024) if case.syntax not in ("title", "extra")]


@pytest.mark.parametrize("source", ["jira", "confluence", "md", "txt"])
def test_no_secret_survives_a_connector_and_cleaning(source: str, tmp_path: Path) -> None:
    lake = LocalLake(tmp_path)
    if source == "jira":
        rows = [
            {"key": f"SEC-{n}", "summary": c.title, "description": c.text}
            for n, c in enumerate(IN_TEXT)
        ]
        lake.write("raw/jira/a.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())
    elif source == "confluence":
        rows = [{"id": n, "title": c.title, "body": c.text} for n, c in enumerate(IN_TEXT)]
        lake.write("raw/confluence/a.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())
    else:
        for number, case in enumerate(IN_TEXT):
            lake.write(f"raw/documents/{number}.{source}", case.text.encode())
    settings, seen = Settings(), 0
    for unit in plan_units(lake, settings):
        for outcome in read_unit(lake, unit, settings):
            assert isinstance(outcome, Document), outcome
            number = re.search(r"(\d+)(?:\.\w+)?$", outcome.id)
            assert number is not None
            case = IN_TEXT[int(number[1])]
            shown = json.dumps(clean(outcome)[0].to_dict(), ensure_ascii=False)
            assert not [h for h in case.hidden if h and h in shown], (case.syntax, case.text)
            seen += 1
    assert seen == len(IN_TEXT)
