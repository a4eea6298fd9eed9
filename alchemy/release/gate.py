"""The gate: a candidate is promoted only when nothing measured is worse than the live release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alchemy.types import JsonRecord

_COMPARED: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "recall@10": lambda evaluation: evaluation["retrieval"]["recall@10"],
    "answer F1": lambda evaluation: evaluation["modes"]["rag+lora"],
}


@dataclass(frozen=True)
class Verdict(JsonRecord):
    """Whether the candidate may go live, and why; each reason is one sentence."""

    passed: bool
    reasons: tuple[str, ...]


def judge(
    candidate: Mapping[str, Any], live: Mapping[str, Any] | None, live_id: str | None = None
) -> Verdict:
    """Compare two evaluations.

    A measure fails when the candidate's value lies below the live one's 95 % interval. Inexact
    quotes fail always: they are a defect, not a matter of degree.

    Args:
        candidate: content of the candidate's `evaluation.json`.
        live: `Release.evaluation` of the live release; None for the first release.
    """
    against: list[str] = []
    notes: list[str] = []
    exact = candidate["answers"]["quotes_exact"]
    if exact is not None and exact < 1.0:
        against.append(f"{1 - exact:.1%} of the quotes are not in their source")
    if live is None:
        notes.append("first release: nothing to compare with")
    else:
        for name, read in _COMPARED.items():
            mine, theirs = read(candidate), read(live)
            line = f"{name} {_number(mine['value'])}, {live_id} has {_interval(theirs)}"
            if theirs["low"] is None:
                notes.append(f"{line}: not compared")
            elif mine["value"] is None or mine["value"] < theirs["low"]:
                against.append(f"{line}: worse")
            else:
                notes.append(f"{line}: not worse")
    return Verdict(passed=not against, reasons=tuple(against or notes))


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _interval(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "no value"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"
