"""The dataset card of a run's pairs: what they are, where they come from, what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from alchemy.types import SftPair

CARD = "README.md"


@dataclass
class Side:
    """Counts over the pairs of one file."""

    pairs: int = 0
    documents: set[str] = field(default_factory=set[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    sources: Counter[str] = field(default_factory=Counter[str])
    origins: Counter[str] = field(default_factory=Counter[str])
    rights: Counter[str] = field(default_factory=Counter[str])
    question_chars: int = 0
    answer_chars: int = 0


def counted(pairs: Iterable[SftPair]) -> Side:
    """One pass over the pairs of a file."""
    side = Side()
    for pair in pairs:
        side.pairs += 1
        side.documents.update(pair.document_ids)
        side.kinds[pair.kind] += 1
        side.sources.update({document.partition(":")[0] for document in pair.document_ids})
        side.origins[pair.origin] += 1
        side.rights[f"{pair.tenant}: {', '.join(sorted(pair.acl))}"] += 1
        side.question_chars += len(pair.instruction)
        side.answer_chars += len(pair.response)
    return side


def dataset_card(
    run_id: str, train: Side, held_out: Side, rejected: Mapping[str, int], writer: str
) -> str:
    """Markdown with the header that dataset tools read.

    Args:
        rejected: reason → candidates that became no pair.
        writer: what wrote the candidates (provider and model).
    """
    header = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "sft_train.jsonl"},
                    {"split": "test", "path": "sft_eval.jsonl"},
                ],
            }
        ],
        "task_categories": ["question-answering", "text-generation"],
    }
    lines = [
        "---",
        json.dumps(header),
        "---",
        "",
        f"# Pairs of {run_id}",
        "",
        f"Instruction and response pairs written by {writer} from the cleaned, redacted corpus of this "
        "run and from approved feedback. Every response was verified against its chunk. Whole "
        "documents are held out: none is in both files.",
        "",
        "| | train | held out |",
        "|---|---|---|",
        f"| pairs | {train.pairs:,} | {held_out.pairs:,} |",
        f"| documents | {len(train.documents):,} | {len(held_out.documents):,} |",
        f"| mean characters, question | {_mean(train.question_chars, train.pairs)} | "
        f"{_mean(held_out.question_chars, held_out.pairs)} |",
        f"| mean characters, answer | {_mean(train.answer_chars, train.pairs)} | "
        f"{_mean(held_out.answer_chars, held_out.pairs)} |",
    ]
    for title, name in (
        ("Kinds", "kinds"),
        ("Sources", "sources"),
        ("Origins", "origins"),
        ("Who may read them", "rights"),
    ):
        lines += _table(title, getattr(train, name), getattr(held_out, name))
    lines += ["", "## Left out", ""]
    lines += [f"- {reason}: {count:,}" for reason, count in sorted(rejected.items())] or ["nothing"]
    return "\n".join([*lines, ""])


def _mean(total: int, count: int) -> str:
    return f"{total / count:.0f}" if count else "–"


def _table(title: str, train: Counter[str], held_out: Counter[str]) -> list[str]:
    names = sorted({*train, *held_out}, key=lambda name: (-train[name] - held_out[name], name))
    rows = [f"| {name} | {train[name]:,} | {held_out[name]:,} |" for name in names]
    return ["", f"## {title}", "", "| | train | held out |", "|---|---|---|", *rows]
