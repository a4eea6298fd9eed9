"""Ask a release aggregate questions with known answers, and text questions that it should leave alone.

    python scripts/eval_computing.py --questions questions.jsonl [--data data] [--texts squad.json ...]

`questions.jsonl` has one `{"question", "answer"}` a line: `answer` lists the values that a right
answer contains (numbers or texts), or is null where the records cannot say. The records are those of
the live release below `--data` (after `make demo`). `--texts` are SQuAD files or JSON Lines with
`question`: none of them should be taken for a computation.

Prints a table and, with `--out`, writes JSON: right, refused, wrong with and without a warning (a
note on what was left out or read differently).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alchemy.config import load_settings
from alchemy.errors import AlchemyError
from alchemy.knowledge.snapshot import Snapshot
from alchemy.release.computing import Computer
from alchemy.release.model import live_release
from alchemy.stores import open_lake
from alchemy.types import NO_LIMITS, Answer, Principal

_WHO = Principal("eval", "default", ("everyone",))
_NOTE = re.compile(
    r"left out|could not be read|as whole words only|not counted|inside longer words|is read as|compares the|of the cleaned text"
)


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--data", default="data")
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", action="store_true", help="print what was not right")
    arguments = parser.parse_args()
    settings = load_settings(None, {"ALCHEMY_DATA": arguments.data})
    lake = open_lake(settings.lake)
    release = live_release(lake)
    if release is None:
        print(f"{lake.uri} has no live release; run `make demo` first", file=sys.stderr)
        return 1
    cache = settings.state_dir / "cache" / "index"
    snapshot = Snapshot.fetch(lake, release.index, release.index_sha256, cache)
    computer = Computer(release.id, snapshot)
    report: dict[str, Any] = {"release": release.id, "answerable": {}, "unanswerable": {}}
    for known, name in ((True, "answerable"), (False, "unanswerable")):
        counts: Counter[str] = Counter()
        for case in _lines(arguments.questions):
            if (case["answer"] is not None) is known:
                verdict, text = _judged(computer, case)
                counts[verdict] += 1
                if arguments.show and verdict not in ("right", "refused" if not known else ""):
                    print(f"{verdict}: {case['question']}\n    wanted {case['answer']}: {text}")
        report[name] = dict(counts)
        print(f"{name:14} {sum(counts.values()):5}  {dict(counts)}")
    taken = [q for path in arguments.texts for q in _texts(path) if _ask(computer, q) is not None]
    asked = sum(1 for path in arguments.texts for _ in _texts(path))
    report["texts"] = {"asked": asked, "taken": taken}
    print(f"{'texts':14} {asked:5}  {len(taken)} taken for computations")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _judged(computer: Computer, case: dict[str, Any]) -> tuple[str, str]:
    answer = _ask(computer, case["question"])
    if answer is None:
        return "left to texts", ""
    if answer.abstained:
        return "refused", answer.text
    if case["answer"] is not None and all(holds(answer.text, v) for v in case["answer"]):
        return "right", answer.text
    return "wrong, warned" if _NOTE.search(answer.text) else "wrong", answer.text


def _ask(computer: Computer, question: str) -> Answer | None:
    made = computer.answer(question, _WHO, NO_LIMITS, datetime.now(UTC).date())
    return made[0] if made else None


def holds(text: str, value: float | str) -> bool:
    """Whether a text has a number (which may be rounded, as far as it shows) or a phrase."""
    if isinstance(value, str):
        return value.lower() in text.lower()
    for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text):
        decimals = len(number.partition(".")[2])
        rounding = 0.5 * 10**-decimals if decimals else 0.0
        if abs(float(number.replace(",", "")) - value) <= rounding + 1e-9:
            return True
    return False


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".jsonl":
        yield from (line["question"] for line in _lines(path))
        return
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield from (found["question"] for found in paragraph["qas"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AlchemyError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
