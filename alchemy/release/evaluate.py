"""Stage "evaluate": calibrate and measure a candidate (index + adapter) as it would serve.

Everything that runs here is what serves: the snapshot's search, the finalist's fusion, the
generator's drafts. One half of the questions fits the numbers, the other half is reported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from alchemy.config import Settings
from alchemy.finalist.abstention import PRIOR
from alchemy.finalist.evidence import Evidence, candidates, choose
from alchemy.finalist.fusion import Fusion
from alchemy.finalist.prompts import FUSION
from alchemy.finalist.terms import identifiers, term_set
from alchemy.knowledge.search import Query, search
from alchemy.models.prompts import instruction_prompt
from alchemy.protocols import (
    GenerationRequest,
    Generator,
)
from alchemy.release import quant_weight, reading, report, reranking
from alchemy.release.calibration import (
    Example,
    fit_confidence,
    pick_threshold,
    pick_weight,
)
from alchemy.release.candidate import (
    Candidate,
    KnownVectors,
    quant_weighed,
    query_encoder_of,
    reranked,
)
from alchemy.release.metrics import estimate, overlap, token_f1
from alchemy.release.report import RECALL_DEPTH, SAME_FACT_RECALL, Asked, is_correct
from alchemy.release.retrieval import EncodeQueries
from alchemy.release.suites import Case, build_cases
from alchemy.stage import StageContext, read_jsonl
from alchemy.types import Answer, Draft, Passage, Receipt, Release, SftPair

EVALUATION_FILE = "evaluation.json"
PROMPTS = {"finalist": FUSION, "instruction": instruction_prompt("{instruction}")}
"""What a release records: the finalist reads its own from there."""
DRAFT_WEIGHTS = (0.0, 0.05, 0.1, 0.2)


def run(context: StageContext, candidate: Candidate) -> Receipt:
    """Evaluate and write `runs/<run_id>/evaluate/evaluation.json`.

    Raises:
        AlchemyError: STAGE_FAILED without held-out pairs, else what an engine raised.
    """
    settings = context.settings
    refine, index, train = (context.receipt_of(s) for s in ("refine", "index", "train"))
    pairs = read_jsonl(context.fetch(f"{refine.uri}/sft_eval.jsonl"), SftPair)
    cases = build_cases(pairs, settings.evaluation.questions, settings.evaluation.seed)
    context.progress("evaluate.cases", {"cases": len(cases)})

    vectors = KnownVectors(candidate.embedder)
    judged, encode = query_encoder_of(cases, candidate, vectors, settings)
    weighed, settings = quant_weighed(cases, candidate, encode, settings)
    context.progress("evaluate.quant_weight", weighed)
    judged_reranker, candidate = reranked(cases, candidate, encode, settings)
    found = _retrieve(cases, candidate, encode, settings)
    drafts = _drafts(candidate.generator, [c for c, _ in found], candidate.adapter, settings)
    asked = [
        Asked(case, ranked, ranked[: settings.retrieval.passages], draft)
        for (case, ranked), draft in zip(found, drafts, strict=True)
    ]
    context.progress("evaluate.retrieved", {"cases": len(asked)})
    for item in asked:
        _, sentences = candidates(item.case.question, item.passages)
        vectors.learn([item.draft.text, *(s.unit.text for s in sentences)])
    context.progress("evaluate.embedded", {})

    measured = asyncio.run(_evaluate(asked, candidate, vectors, settings))
    measured["thresholds"][quant_weight.WEIGHT] = weighed["weight"]
    evaluation = {
        "run_id": context.run_id,
        "index": index.uri.rpartition("/")[2],
        "adapter": candidate.adapter,
        "seed": settings.evaluation.seed,
        "models": _models(candidate, measured),
        "prompts": dict(PROMPTS),
        **measured,
        "quant_weight": weighed,
        "loss": held_out_loss(train.counts),
    }
    if judged is not None:
        evaluation["retrieval_adapter"] = judged
        context.progress("evaluate.retrieval_adapter", judged)
    if judged_reranker is not None:
        evaluation["reranker"] = judged_reranker
        context.progress("evaluate.reranker", judged_reranker)
    path = context.out(EVALUATION_FILE)
    path.write_text(json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = headline(evaluation)
    context.progress("evaluate.done", counts)
    return context.finish(
        f"runs/{context.run_id}/evaluate",
        {EVALUATION_FILE: path},
        rows=len(asked),
        schema=tuple(evaluation),
        inputs={"refine": refine.sha256, "index": index.sha256, "train": train.sha256},
        counts=counts,
    )


def _models(candidate: Candidate, measured: Mapping[str, Any]) -> dict[str, str]:
    model_d = candidate.chat_model.digest if candidate.chat_model else "extractive"
    models = {
        "model_b": candidate.embedder.digest,
        "model_c": candidate.generator.digest,
        "model_d": model_d,
    }
    if candidate.reranker is not None:
        models[reranking.ROLE] = candidate.reranker.digest
    if measured.get("reader", {}).get("used"):
        models[reading.ROLE] = measured["reader"]["digest"]
    return models


def headline(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers of a receipt, from an evaluation; a measure without cases is left out."""
    suites = {
        "recall@10": evaluation["retrieval"]["recall@10"]["value"],
        "mrr@10": evaluation["retrieval"]["mrr@10"]["value"],
        "answer_f1": evaluation["modes"]["rag+lora"]["value"],
        "citation_precision": evaluation["answers"]["citation_precision"]["value"],
        "quotes_exact": evaluation["answers"]["quotes_exact"],
        "answered_precision": evaluation["answers"]["precision"]["value"],
        "abstention_precision": evaluation["abstention"]["precision"],
        "abstention_recall": evaluation["abstention"]["recall"],
        "loss_base": evaluation["loss"]["base"],
        "loss_adapter": evaluation["loss"]["adapter"],
        "questions": evaluation["questions"]["total"],
    }
    return {name: float(value) for name, value in suites.items() if value is not None}


def held_out_loss(counts: Mapping[str, float]) -> dict[str, float | None]:
    """Held-out language model loss before and after the adapter, from the train receipt."""
    base, adapter = counts.get("base_eval_loss"), counts.get("eval_loss")
    better = None
    if base and adapter is not None:
        better = round(1.0 - adapter / base, 4)
    return {"base": base, "adapter": adapter, "improvement": better}


def _retrieve(
    cases: Sequence[Case], candidate: Candidate, encode: EncodeQueries, settings: Settings
) -> list[tuple[Case, list[Passage]]]:
    """Passages of each case, the gold taken out of `excluded` ones.

    An excluded case whose remaining passages may still answer is no unanswerable question: it is
    dropped.
    """
    questions = encode([case.question for case in cases])
    depth = max(RECALL_DEPTH, settings.retrieval.passages)
    found: list[tuple[Case, list[Passage]]] = []
    for kind in ("answerable", "excluded", "foreign"):
        rows = [i for i, case in enumerate(cases) if case.kind == kind]
        # a document's own chunks could fill the whole list: look deeper where they are taken out
        top_k = depth if kind != "excluded" else settings.retrieval.candidates
        queries = [Query(cases[i].question, questions[i], cases[i].principal, top_k) for i in rows]
        results = search(candidate.snapshot, queries, settings.retrieval, candidate.reranker)
        for i, passages in zip(rows, results, strict=True):
            case = cases[i]
            left = [p for p in passages if not case.excludes(p.chunk.document_id)][:depth]
            if kind == "excluded" and _still_answered(case, left):
                continue
            found.append((case, left))
    return found


def _still_answered(case: Case, passages: Sequence[Passage]) -> bool:
    assert case.gold is not None
    response, named = case.gold.response, identifiers(case.question)
    for passage in passages:
        text = f"{passage.chunk.title} \n {passage.chunk.text}"
        if overlap(text, response)[1] >= SAME_FACT_RECALL:
            return True
        if named and named <= term_set(text):  # the commit that closed the issue, and such
            return True
    return False


def _drafts(
    generator: Generator, cases: Sequence[Case], adapter: str, settings: Settings
) -> list[Draft]:
    requests = [
        GenerationRequest(
            prompt=instruction_prompt(case.question),
            max_new_tokens=settings.serving.draft_tokens,
            adapter=adapter,
        )
        for case in cases
    ]
    # like lengths together: a batch runs as long as its longest prompt and answer
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt))
    size = max(settings.serving.batch_size, 32)
    drafts: dict[int, Draft] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        drafts.update(zip(batch, generator.generate([requests[i] for i in batch]), strict=True))
    return [drafts[i] for i in range(len(requests))]


async def _evaluate(
    asked: Sequence[Asked], candidate: Candidate, vectors: KnownVectors, settings: Settings
) -> dict[str, Any]:
    seed = settings.evaluation.seed
    fusion = Fusion(vectors, candidate.chat_model)
    calibration = [a for a in asked if a.case.half == "calibration"]
    test = [a for a in asked if a.case.half == "test"]

    thresholds = dict(PRIOR)
    judged: dict[str, Any] = {}
    if candidate.reader is not None:
        using = Fusion(vectors, candidate.chat_model, reading.KnownReadings(candidate.reader))
        numbers, judged["reader"] = await reading.judge(calibration, using, candidate.reader.digest)
        thresholds |= numbers
        fusion = using if judged["reader"]["used"] else fusion
    weight, weights = await _draft_weight(calibration, fusion, thresholds)
    thresholds["draft_weight"] = weight
    examples = await _examples(calibration, fusion, thresholds)
    thresholds |= fit_confidence(examples)
    limit = pick_threshold(examples, thresholds, settings.evaluation.target_precision)
    thresholds["abstain"] = limit.value

    release = _provisional(candidate, thresholds)
    answers = [await _answer(fusion, a, a.draft, release) for a in test]
    forced = replace(release, thresholds={**thresholds, "abstain": 0.0})
    answerable = [a for a in test if a.case.answerable]
    with_draft = [await _answer(fusion, a, a.draft, forced) for a in answerable]
    without = [await _answer(fusion, a, None, forced) for a in answerable]
    base = _drafts(candidate.generator, [a.case for a in answerable], "base", settings)
    texts = {
        "base": [draft.text for draft in base],
        "rag": [answer.text for answer in without],
        "lora": [a.draft.text for a in answerable],
        "rag+lora": [answer.text for answer in with_draft],
    }
    golds = [a.gold.response for a in answerable]
    f1 = {
        mode: [token_f1(text, gold) for text, gold in zip(said, golds, strict=True)]
        for mode, said in texts.items()
    }
    return {
        **judged,
        "questions": report.questions(asked),
        "retrieval": report.retrieval([a for a in asked if a.case.answerable], seed),
        "answers": report.answers(test, answers, seed),
        "abstention": report.abstention(test, answers),
        "modes": {mode: estimate(values, seed) for mode, values in f1.items()},
        "sources": report.by_source(asked, answerable, with_draft, f1["rag+lora"], seed),
        "thresholds": {name: round(value, 6) for name, value in sorted(thresholds.items())},
        "calibration": report.calibration(
            limit, weights, examples, settings.evaluation.target_precision
        ),
    }


async def _draft_weight(
    calibration: Sequence[Asked], fusion: Fusion, thresholds: Mapping[str, float]
) -> tuple[float, list[dict[str, Any]]]:
    scores: dict[float, list[float]] = {weight: [] for weight in DRAFT_WEIGHTS}
    for item in calibration:
        evidence = await _evidence(fusion, item) if item.case.answerable else None
        for weight in DRAFT_WEIGHTS if evidence else ():
            text = _chosen_text(evidence, {**thresholds, "draft_weight": weight})
            scores[weight].append(token_f1(text, item.gold.response))
    return pick_weight(scores)


async def _examples(
    calibration: Sequence[Asked], fusion: Fusion, thresholds: Mapping[str, float]
) -> list[Example]:
    """Features of each calibration case, and whether the chosen sentences answer it."""
    examples: list[Example] = []
    for item in calibration:
        evidence = await _evidence(fusion, item)
        if evidence is None:
            continue  # nothing found is refused before any threshold
        choice = choose(evidence, thresholds, "calibration")
        cited = [evidence.passages[c.place].chunk for c in choice.picked]
        text = " ".join(c.unit.text for c in choice.picked)
        examples.append(Example(choice.features, is_correct(item.case, text, cited)))
    return examples


async def _evidence(fusion: Fusion, item: Asked) -> Evidence | None:
    return await fusion.evidence(item.case.question, item.passages, item.draft)


def _chosen_text(evidence: Evidence | None, thresholds: Mapping[str, float]) -> str:
    if evidence is None:
        return ""
    return " ".join(c.unit.text for c in choose(evidence, thresholds, "calibration").picked)


async def _answer(fusion: Fusion, item: Asked, draft: Draft | None, release: Release) -> Answer:
    async for part in fusion.answer(item.case.question, item.passages, draft, release):
        if isinstance(part, Answer):
            return part
    raise AssertionError("Fusion.answer ends with an Answer")


def _provisional(candidate: Candidate, thresholds: dict[str, float]) -> Release:
    """A release that is not published, for the finalist to answer under."""
    return Release(
        id="calibration",
        created_at="",
        run_id="",
        index=candidate.snapshot.version,
        index_sha256=candidate.snapshot.sha256,
        adapter=candidate.adapter,
        adapter_digest=candidate.adapter_digest,
        thresholds=thresholds,
        models={},
        prompts=dict(PROMPTS),
        evaluation={},
    )
