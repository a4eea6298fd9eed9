"""Train the reranker that the package ships: `python scripts/train_reranker.py --out DIR`.

Late interaction on MiniLM (`alchemy.models.interaction`): LoRA on the upper layers and a small head.
Questions are taken out of real documents, wrong passages are what the product's own hybrid search
finds beside the right one (`reranker_data.py`). A held-out project calibrates the log-odds and says
what weight they deserve beside the score of the search; another is then measured with that weight.

Writes the weights and `training.json` with all figures. Seeded; the same machine gives the same.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from eval_retrieval import Evaluation
from reranker_data import DEVELOPMENT, TEST, Item, items, projects
from reranker_states import Upper, passage_states, question_states
from retrieval_metrics import interval
from sklearn.linear_model import LogisticRegression

from alchemy.config import ModelSettings, ReaderSettings, RerankerSettings, Settings
from alchemy.models.embedded import minilm_directory
from alchemy.models.interaction import Encoder
from alchemy.models.reranker import HEAD_FILE, EmbeddedReranker, read_head, write_head
from alchemy.models.weights import weights_digest
from alchemy.training.optimizing import rate_at

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LICENCES = "github.com/awsm-research/gpt2sp (MIT), github.com/ast-fri/EnterpriseBench (MIT)"
DEPTH = 20
"""Passages that are scored again, as `retrieval.rerank_candidates`."""
WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Example:
    """A training question with its right passage and the nearest wrong ones."""

    question: str
    passages: tuple[str, ...]


def examples(found: Sequence[Item], negatives: int, chance: random.Random) -> list[Example]:
    """Questions whose right passage was found, with wrong ones from the top."""
    made: list[Example] = []
    for item in found:
        wrong = [text for place, text in enumerate(item.texts) if place != item.right]
        if item.right < 0 or len(wrong) < negatives:
            continue
        # the nearer the likelier: those are what the search confuses
        near = sorted(range(len(wrong)), key=lambda n: (n + 1) * chance.random())[:negatives]
        made.append(Example(item.question, (item.texts[item.right], *(wrong[n] for n in near))))
    return made


def train(upper: Upper, given: Sequence[Example], options: argparse.Namespace) -> list[float]:
    """Minimise the cross-entropy of the right passage among all of a batch; losses by 20 steps."""
    torch.manual_seed(options.seed)
    chance = random.Random(options.seed)
    distinct = list(dict.fromkeys(text for example in given for text in example.passages))
    started = time.monotonic()
    passages = dict(zip(distinct, passage_states(upper, distinct), strict=True))
    asked = question_states(upper, [example.question for example in given])
    print(f"lower layers of {len(distinct)} passages: {time.monotonic() - started:.0f} s")
    trained = [p for p in upper.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": trained, "lr": options.rate, "weight_decay": 0.01},
            {"params": upper.head.parameters(), "lr": 10 * options.rate, "weight_decay": 0.0},
        ]
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    per_epoch = len(given) // options.batch
    total = math.ceil(options.epochs * per_epoch)
    losses: list[float] = []
    curve: list[float] = []
    order: list[int] = []
    with upper.training():
        for step in range(total):
            if len(order) < options.batch:
                order = list(range(len(given)))
                chance.shuffle(order)
            rows, order = order[: options.batch], order[options.batch :]
            texts = [text for row in rows for text in given[row].passages]
            right = torch.arange(len(rows)) * len(given[rows[0]].passages)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = rate_at(step, total, peak, total // 10)
            logits = upper.logits([asked[row] for row in rows], [passages[t] for t in texts])
            # the same text may be another question's wrong passage
            same = torch.tensor([[t == given[row].passages[0] for t in texts] for row in rows])
            same[torch.arange(len(rows)), right] = False
            logits = logits.masked_fill(same, float("-inf"))
            loss = torch.nn.functional.cross_entropy(logits, right)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            losses.append(loss.item())
            if (step + 1) % 20 == 0 or step + 1 == total:
                curve.append(round(float(np.mean(losses[-20:])), 4))
                spent = time.monotonic() - started
                print(f"step {step + 1}/{total} loss {curve[-1]:.4f} {spent:.0f} s", flush=True)
    return curve


def scores_of(reranker: EmbeddedReranker, found: Sequence[Item]) -> list[np.ndarray]:
    """Log-odds of each item's passages."""
    # at once: a text that several questions found is encoded once
    every = reranker.score([(item.question, text) for item in found for text in item.texts])
    return np.split(every, np.cumsum([len(item.texts) for item in found])[:-1])


def ndcgs(found: Sequence[Item], scores: Sequence[np.ndarray], weight: float) -> np.ndarray:
    """nDCG@10 of each question, ordered as `search` orders it; one right passage each."""
    values = np.zeros(len(found))
    for n, (item, own) in enumerate(zip(found, scores, strict=True)):
        if item.right < 0:
            continue
        combined = np.array(item.fused) + weight / (1.0 + np.exp(-own))
        place = int((combined > combined[item.right]).sum())
        values[n] = 1 / math.log2(place + 2) if place < 10 else 0.0
    return values


def calibrate(
    directory: Path, found: Sequence[Item], scores: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Turn the head's scores into log-odds on the development project (Platt); the log-odds."""
    kept = [(own, item.right) for item, own in zip(found, scores, strict=True) if item.right >= 0]
    values = np.concatenate([own for own, _ in kept])[:, None]
    labels = np.concatenate([np.arange(len(own)) == right for own, right in kept])
    fitted: Any = LogisticRegression(C=1e6).fit(values, labels)
    slope, shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    head = read_head(directory / HEAD_FILE, Encoder(ReaderSettings()).dim)
    with torch.no_grad():
        head.combine.weight *= slope
        head.combine.bias.mul_(slope).add_(shift)
    write_head(head, directory / HEAD_FILE)
    return [slope * own + shift for own in scores]


def measured(
    found: Sequence[Item], scores: Sequence[np.ndarray], weights: Sequence[float], seed: int
) -> dict[str, Any]:
    """nDCG@10 by weight, each with its difference to the search alone."""
    base = ndcgs(found, scores, 0.0)
    lines: dict[str, Any] = {}
    for weight in weights:
        mine = ndcgs(found, scores, weight)
        lines[str(weight)] = {
            "ndcg@10": interval(mine, seed),
            "difference": interval(mine - base, seed),
        }
    return lines


def main() -> None:
    """Train, choose, calibrate, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, required=True, help="directory for the weights")
    parser.add_argument("--cache", type=Path, help="vectors of the corpora, kept between runs")
    parser.add_argument("--documents", type=int, default=600, help="of each training set")
    parser.add_argument("--held-out", type=int, default=800, help="of each held-out project")
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--below", type=int, default=4, help="layers that stay as they are")
    parser.add_argument("--r", type=int, default=16)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument(
        "--measure", action="store_true", help="only measure the weights in --out again"
    )
    options = parser.parse_args()
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(2)
    settings = Settings(model_b=ModelSettings(), reranker=RerankerSettings(provider="none"))
    given: list[Example] = []
    report: dict[str, Any] = {"data": LICENCES}
    with tempfile.TemporaryDirectory(prefix="alchemy-reranker-") as scratch:
        cache = options.cache or Path(scratch) / "cache"
        evaluation = Evaluation(settings, cache, Path(scratch))
        chance = random.Random(options.seed)
        for name in [] if options.measure else projects(options.data):
            found = items(evaluation, options.data, name, options.documents, DEPTH)
            own = examples(found, options.negatives, chance)
            report.setdefault("sets", {})[name] = {"questions": len(found), "used": len(own)}
            print(f"{name}: {len(own)} of {len(found)} questions", flush=True)
            given += own
        held = {
            name: items(evaluation, options.data, name, options.held_out, DEPTH)
            for name in (DEVELOPMENT, TEST)
        }
    path = options.out / "training.json"
    if options.measure:
        report = json.loads(path.read_text("utf-8"))
        scores = scores_of(_loaded(options.out), held[DEVELOPMENT])
        report["trained"] = measured(held[DEVELOPMENT], scores, WEIGHTS, options.seed)
        show(f"{DEVELOPMENT}, trained", report["trained"])
    else:
        report |= {k: v for k, v in vars(options).items() if k not in _PLACES}
        report |= _made(given, held[DEVELOPMENT], options)
    weight = max(WEIGHTS, key=lambda w: report["trained"][str(w)]["ndcg@10"]["value"])
    scores = scores_of(_loaded(options.out), held[TEST])
    report |= {"weight": weight, "test": measured(held[TEST], scores, (0.0, weight), options.seed)}
    show(f"{TEST}, test", report["test"])
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _made(
    given: Sequence[Example], development: Sequence[Item], options: argparse.Namespace
) -> dict[str, Any]:
    """Write the weights; losses, and figures on the development project before and after."""
    encoder = Encoder(ReaderSettings(dtype="float32"))
    base = weights_digest(minilm_directory())
    upper = Upper(encoder, options.below, options.r, 2 * options.r, base)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="alchemy-reranker-") as untrained:
        for step, directory in (("untrained", Path(untrained)), ("trained", options.out)):
            directory.mkdir(parents=True, exist_ok=True)
            if step == "trained":
                report["loss"] = train(upper, given, options)
            upper.save(directory)
            write_head(upper.head, directory / HEAD_FILE)
            scores = scores_of(_loaded(directory), development)
            scores = calibrate(directory, development, scores)
            report[step] = measured(development, scores, WEIGHTS, options.seed)
            show(f"{DEVELOPMENT}, {step}", report[step])
    return report


_PLACES = ("data", "out", "cache", "measure")


def _loaded(directory: Path) -> EmbeddedReranker:
    return EmbeddedReranker(ReaderSettings(), directory)


def show(name: str, lines: dict[str, Any]) -> None:
    """One table."""
    print(f"\n{name}\n{'weight':>8}{'nDCG@10':>10}{'to search alone':>28}")
    for weight, values in lines.items():
        gain = values["difference"]
        text = f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
        print(f"{weight:>8}{values['ndcg@10']['value']:>10.4f}{text:>28}")
    print(flush=True)


if __name__ == "__main__":
    main()
