"""The Evaluator's two stages on real engines, and the finalist that serves their release."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve

from actors import evaluator
from actors.base import NAMESPACE
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge import stage as index_stage
from alchemy.models.registry import load_embedder
from alchemy.models.weights import ADAPTER_WEIGHTS
from alchemy.release.model import live_release
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import file_digest, publish_directory
from alchemy.training.base import build_base, fetch_base
from alchemy.types import (
    NO_LIMITS,
    PUBLIC_GROUP,
    Answer,
    Chunk,
    Document,
    Insight,
    Principal,
    Receipt,
    SftPair,
    text_digest,
)
from deployments.finalist import Finalist
from deployments.knowledge import Knowledge

RUN = "run-evaluated"
READER = Principal("u", "default", (PUBLIC_GROUP,))
PARTS = (
    "gateway broker scheduler exporter importer splitter router filter counter gauge shell module"
).split()
TRAITS = ("port", "timeout", "owner")


def fact(part: str, trait: str) -> str:
    return f"The {trait} of the {part} is {int(text_digest(part, trait)[:3], 16)}."


def document(part: str) -> Document:
    text = " ".join(fact(part, trait) for trait in TRAITS)
    return Document(
        id=f"documents:{part}",
        source="documents",
        title=f"The {part}",
        text=text,
        uri=f"{part}.md",
        tenant="default",
        acl=(PUBLIC_GROUP,),
        content_hash=text_digest(text),
    )


def chunk_of(doc: Document) -> Chunk:
    return Chunk(
        id=f"{doc.id}#0",
        document_id=doc.id,
        source=doc.source,
        title=doc.title,
        uri=doc.uri,
        tenant=doc.tenant,
        acl=doc.acl,
        text=doc.text,
        ordinal=0,
        start=0,
        end=len(doc.text),
        content_hash=text_digest(doc.title, doc.text),
    )


def pair(part: str, trait: str) -> SftPair:
    return SftPair(
        id=f"{part}-{trait}",
        instruction=f"What is the {trait} of the {part}?",
        response=fact(part, trait),
        chunk_ids=(f"documents:{part}#0",),
        document_ids=(f"documents:{part}",),
        tenant="default",
        acl=(PUBLIC_GROUP,),
        kind=trait,
    )


class Company:
    """A lake in which everything before `evaluate` has run, with a tiny base and a real adapter."""

    def __init__(self, root: Path) -> None:
        small = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "layers": 1}
        small |= {"heads": 2, "context": 128, "steps": 4, "batch_size": 2, "sequence": 32}
        self.root = root
        self.settings = Settings.model_validate(
            {
                "lake": {"root": str(root / "lake")},
                "model_c": {"small_llama": small},
                "evaluation": {"questions": 24},
                "serving": {"draft_tokens": 8},
            }
        )
        self.lake = LocalLake(root / "lake")
        documents = [document(part) for part in sorted(PARTS)]
        chunks = [chunk_of(doc) for doc in documents]
        pairs = [pair(part, trait) for part in sorted(PARTS) for trait in TRAITS]
        insights = [Insight(doc.id, "It is ordinary.") for doc in documents]
        self.write("wash", "processed", "rag_chunks.jsonl", chunks)
        self.write("quant", "quant", "insights.jsonl", insights)
        self.write("refine", "sft", "sft_eval.jsonl", pairs)
        embedder = load_embedder(self.settings.model_b)
        write_receipt(self.lake, index_stage.run(self.context("index"), embedder))
        untuned = self.context("tune").receipt("tune", {}, size=0, rows=0, schema=(), inputs={})
        write_receipt(self.lake, untuned)
        self.train(documents)

    def context(self, stage: str) -> StageContext:
        return StageContext(RUN, stage, self.settings, self.lake, self.root / "scratch" / stage)

    def write(self, stage: str, prefix: str, name: str, records: list[Any]) -> None:
        context = self.context(stage)
        path = context.out(name)
        write_jsonl(path, records)
        receipt = context.finish(
            f"{prefix}/{RUN}", {name: path}, rows=len(records), schema=(), inputs={}
        )
        write_receipt(self.lake, receipt)

    def train(self, documents: list[Document]) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        context = self.context("train")
        corpus = context.out("corpus.jsonl")
        write_jsonl(corpus, documents * 20)
        build_base(self.lake, self.settings.model_c, corpus, context.out("base"))
        base_dir, base_digest = fetch_base(
            self.lake, self.settings.model_c, self.root / "lake" / "cache" / "base"
        )
        base: Any = AutoModelForCausalLM.from_pretrained(base_dir)
        lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
        directory = context.out("adapter")
        get_peft_model(base, lora).save_pretrained(directory)
        (directory / "README.md").unlink(missing_ok=True)
        self.digest = file_digest(directory / ADAPTER_WEIGHTS)
        version = f"ad-{self.digest[:12]}"
        meta = {"base": base_digest, "weights": self.digest}
        manifest = publish_directory(self.lake, "adapters", version, directory, meta)
        root = f"adapters/{version}"
        self.trained = context.receipt(
            root,
            {f"{root}/{name}": digest for name, digest in manifest.files.items()},
            size=manifest.bytes,
            rows=1,
            schema=(),
            inputs={},
            counts={"base_eval_loss": 4.0, "eval_loss": 3.0},
        )
        write_receipt(self.lake, self.trained)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def evaluated(ray_cluster: None, company: Company) -> Receipt:
    receipt = evaluator.start_evaluate(company.settings, RUN, None)
    write_receipt(company.lake, receipt)
    return receipt


@pytest.fixture(scope="module")
def released(evaluated: Receipt, company: Company) -> Receipt:
    return evaluator.start_release(company.settings, RUN, None)


def test_the_candidate_is_measured_on_its_own_engines(company: Company, evaluated: Receipt) -> None:
    report = json.loads(company.lake.read(f"{evaluated.uri}/evaluation.json"))
    assert report["retrieval"]["recall@10"]["value"] == 1.0
    assert report["answers"]["quotes_exact"] == 1.0
    assert report["modes"]["rag"]["value"] > report["modes"]["base"]["value"]
    assert report["models"]["model_b"] == load_embedder(company.settings.model_b).digest
    assert evaluated.counts["loss_base"] == 4.0


def test_the_release_serves_the_adapter_that_was_trained(
    company: Company, released: Receipt
) -> None:
    release = live_release(company.lake)
    assert release is not None
    assert released.uri == f"releases/{release.id}.json"
    assert release.adapter_digest == company.digest
    assert release.adapter == f"ad-{company.digest[:12]}"


def test_no_actor_is_left_behind(released: Receipt) -> None:
    for name in (f"evaluator-{RUN}", f"releaser-{RUN}"):
        with pytest.raises(ValueError, match=name):
            ray.get_actor(name, namespace=NAMESPACE)


def test_an_adapter_that_is_not_the_trained_one_stops_the_stage(
    company: Company, evaluated: Receipt
) -> None:
    weights = f"{company.trained.uri}/{ADAPTER_WEIGHTS}"
    files = {**company.trained.files, weights: "0" * 64}
    write_receipt(company.lake, dataclasses.replace(company.trained, files=files))
    try:
        with pytest.raises(AlchemyError) as caught:
            evaluator.start_evaluate(company.settings, RUN, None)
    finally:
        write_receipt(company.lake, company.trained)
    assert caught.value.code is ErrorCode.CORRUPT


@pytest.fixture(scope="module")
def finalist(released: Receipt, company: Company) -> Iterator[Any]:
    serve.start(http_options={"location": "NoServer"})
    light = {"ray_actor_options": {"num_cpus": 0.1}}
    knowledge = Knowledge.options(**light).bind(company.settings)
    bound = Finalist.options(**light).bind(company.settings, knowledge)
    yield serve.run(bound, name="finalist-test", route_prefix=None).options(stream=True)
    serve.shutdown()


async def test_the_finalist_streams_a_cited_answer_of_the_release(
    finalist: Any, company: Company
) -> None:
    release = live_release(company.lake)
    assert release is not None
    knowledge = serve.get_deployment_handle("Knowledge", "finalist-test")
    question = "What is the port of the broker?"
    passages = await knowledge.search.remote(question, READER, release.id, 8, NO_LIMITS, "hybrid")
    parts = [part async for part in finalist.answer.remote(question, passages, None, release.id)]
    answer = parts.pop()
    assert isinstance(answer, Answer)
    assert len(parts) > 1
    assert "".join(parts) == answer.text
    assert fact("broker", "port") in answer.text
    assert answer.citations[0].document_id == "documents:broker"
    assert (answer.release, answer.adapter_digest) == (release.id, company.digest)


async def test_an_unknown_release_is_a_typed_error(finalist: Any) -> None:
    with pytest.raises(Exception, match="rl-nowhere") as raised:
        async for _ in finalist.answer.remote("x", [], None, "rl-nowhere"):
            pass
    typed = AlchemyError.unwrap(raised.value)
    assert typed is not None
    assert typed.code is ErrorCode.NOT_FOUND
