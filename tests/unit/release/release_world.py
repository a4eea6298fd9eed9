"""A small company in a local lake: index, adapter and held-out pairs of one run, for real stages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alchemy.config import Settings
from alchemy.finalist.terms import STOPWORDS, term_set
from alchemy.knowledge.build import write_index
from alchemy.knowledge.snapshot import FORMAT, Snapshot
from alchemy.protocols import GenerationRequest
from alchemy.release.candidate import Candidate
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import fetch_directory, publish_directory
from alchemy.types import Chunk, Draft, SftPair, text_digest

RUN = "run-test"
ADAPTER = "ad-test"
_THINGS = (
    "gateway broker scheduler exporter importer splitter router filter counter gauge shell "
    "module stream batch cluster registry archive ledger cache proxy"
).split()
_TRAITS = ("port", "timeout", "owner", "format")


class Words:
    """An embedder of hashed words, no model needed."""

    digest = "words-embedder"
    dim = 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for term in term_set(text) - STOPWORDS:
                vectors[row, hashlib.blake2b(term.encode()).digest()[0]] += 1.0
            vectors[row, 0] += 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class Parrot:
    """A generator whose adapter knows the company's phrases and whose base knows nothing."""

    digest = "b" * 64

    def __init__(self, adapter_digest: str) -> None:
        self.adapter_digest = adapter_digest
        self.asked: list[GenerationRequest] = []

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Draft]:
        self.asked += requests
        return [
            Draft("mumble", "base", self.digest, 1, 0.0)
            if request.adapter == "base"
            else Draft(
                "The value is set to something.", request.adapter, self.adapter_digest, 5, 0.0
            )
            for request in requests
        ]

    def stream(self, requests: Sequence[GenerationRequest]) -> Iterator[list[str | None]]:
        raise NotImplementedError


def fact(thing: str, trait: str) -> str:
    number = int(text_digest(thing, trait)[:4], 16)
    return f"The {trait} of the {thing} is set to value {number}."


def chunks() -> list[Chunk]:
    made = []
    for thing in sorted(_THINGS):
        text = " ".join(fact(thing, trait) for trait in _TRAITS)
        made.append(
            Chunk(
                id=f"documents:{thing}#0",
                document_id=f"documents:{thing}",
                source="documents",
                title=f"The {thing}",
                uri=f"{thing}.md",
                tenant="default",
                acl=("everyone",),
                text=text,
                ordinal=0,
                start=0,
                end=len(text),
                content_hash=text_digest(text),
            )
        )
    return made


def pairs() -> list[SftPair]:
    return [
        SftPair(
            id=f"pair-{thing}-{trait}",
            instruction=f"What is the {trait} of the {thing}?",
            response=fact(thing, trait),
            chunk_ids=(f"documents:{thing}#0",),
            document_ids=(f"documents:{thing}",),
            tenant="default",
            acl=("everyone",),
            kind=trait,
        )
        for thing in sorted(_THINGS)
        for trait in _TRAITS
    ]


class World:
    """A lake in which the stages before `evaluate` have run."""

    def __init__(self, directory: Path, questions: int = 60) -> None:
        self.directory = directory
        self.lake = LocalLake(directory / "lake")
        self.settings = Settings.model_validate(
            {"lake": {"root": str(directory / "lake")}, "evaluation": {"questions": questions}}
        )
        self._contexts = 0
        self.publish_pairs(pairs())
        self.publish_index(chunks())
        self.publish_adapter(b"weights")

    def context(self, stage: str) -> StageContext:
        self._contexts += 1
        return StageContext(
            run_id=RUN,
            stage=stage,
            settings=self.settings,
            lake=self.lake,
            scratch=self.directory / f"scratch-{self._contexts}",
        )

    def publish_pairs(self, held_out: list[SftPair]) -> None:
        context = self.context("refine")
        path = context.out("sft_eval.jsonl")
        write_jsonl(path, held_out)
        receipt = context.finish(
            f"sft/{RUN}", {path.name: path}, rows=len(held_out), schema=("id",), inputs={}
        )
        write_receipt(self.lake, receipt)

    def publish_index(self, content: list[Chunk]) -> None:
        context = self.context("index")
        directory = context.out("index")
        vectors = Words().encode([chunk.embedding_text() for chunk in content])
        write_index(directory, content, vectors, [])
        version = f"ix-{text_digest(*(c.to_json() for c in content))[:12]}"
        meta = {"format": FORMAT, "embedder": Words.digest}
        manifest = publish_directory(self.lake, "index", version, directory, meta)
        root = f"index/{version}"
        files = {f"{root}/{name}": digest for name, digest in manifest.files.items()}
        receipt = context.receipt(
            root, files, size=manifest.bytes, rows=len(content), schema=(), inputs={}
        )
        write_receipt(self.lake, receipt)

    def publish_adapter(self, weights: bytes) -> None:
        context = self.context("train")
        path = context.out("adapter_model.safetensors")
        path.write_bytes(weights)
        receipt = context.finish(
            f"adapters/{ADAPTER}",
            {path.name: path},
            rows=1,
            schema=(),
            inputs={},
            counts={"base_eval_loss": 4.0, "eval_loss": 3.0},
        )
        write_receipt(self.lake, receipt)
        self.adapter_digest = receipt.files[f"adapters/{ADAPTER}/{path.name}"]

    def candidate(self) -> Candidate:
        index = self.context("evaluate").receipt_of("index")
        directory, manifest = fetch_directory(self.lake, index.uri, self.directory / "cache")
        return Candidate(
            snapshot=Snapshot.open(directory, manifest),
            embedder=Words(),
            generator=Parrot(self.adapter_digest),
            adapter=ADAPTER,
            adapter_digest=self.adapter_digest,
        )
