"""Stage `base`: the model that adapters extend, and how everyone gets at it.

The embedded base is trained once per `small_llama` settings and kept in the lake:
`models/base/<key>/<version>/` holds the files, `models/base/<key>/pointer/1.json` names the version
that counts. The pointer is create-only, so of two runs that build at once both use one model.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from alchemy.config import CausalModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.models.registry import base_model_key
from alchemy.models.weights import model_directory, weights_digest
from alchemy.protocols import Lake
from alchemy.stage import Progress, StageContext, no_progress, read_jsonl
from alchemy.stores.versions import (
    Manifest,
    advance_pointer,
    directory_digests,
    fetch_directory,
    file_digest,
    live_pointer,
    publish_directory,
    read_manifest,
)
from alchemy.types import Document, Receipt, digest_of, text_digest

_ROOT = "models/base"
CORPUS = "cleaned_corpus.jsonl"

log = get_logger()


def fetch_base(lake: Lake, settings: CausalModelSettings, cache_dir: Path) -> tuple[Path, str]:
    """Local directory of the base model and the digest of its weights.

    Args:
        cache_dir: verified copies are kept here between calls (embedded only).

    Raises:
        AlchemyError: NOT_READY before the first base was built; MODEL_UNAVAILABLE.
    """
    if settings.provider == "huggingface":
        directory = model_directory(settings, "model_c")
        return directory, weights_digest(directory)
    root = published_base(lake, settings)
    if root is None:
        raise AlchemyError(
            ErrorCode.NOT_READY,
            f"the lake {lake.uri} has no base model {base_model_key(settings)!r} yet",
            "Run the pipeline's stage 'base', or scripts/build_base_model.py.",
        )
    directory, _ = fetch_directory(lake, root, cache_dir)
    return directory, weights_digest(directory)


def published_base(lake: Lake, settings: CausalModelSettings) -> str | None:
    """Lake prefix of the embedded base for these settings, or None before it was built."""
    prefix = f"{_ROOT}/{base_model_key(settings)}"
    pointer = live_pointer(lake, f"{prefix}/pointer")
    return f"{prefix}/{pointer[1]['version']}" if pointer else None


def build_base(
    lake: Lake,
    settings: CausalModelSettings,
    corpus: Path,
    scratch: Path,
    progress: Progress = no_progress,
) -> tuple[str, Manifest]:
    """Train the embedded base on a `cleaned_corpus.jsonl` and publish it: (lake prefix, manifest).

    Deterministic for one corpus, settings and number of cores.
    """
    # training needs torch; finding and fetching a base does not
    from alchemy.models.devices import use_cores
    from alchemy.training.pretrain import pretrain

    documents = read_corpus(corpus)
    output = scratch / "base-model"
    use_cores()
    result = pretrain(
        [learned_text(document) for document in documents],
        settings.small_llama,
        output,
        device=settings.device,
        dtype=settings.dtype,
        progress=progress,
    )
    lineage = {document.id: document.content_hash for document in documents}
    (output / "lineage.json").write_text(json.dumps({"documents": lineage}), encoding="utf-8")
    key = base_model_key(settings)
    version = f"v-{digest_of(directory_digests(output))[:12]}"
    meta = {
        **asdict(result),
        "corpus_sha256": file_digest(corpus),
        "documents": len(documents),
        "settings": settings.small_llama.model_dump(),
        "weights": weights_digest(output),
    }
    publish_directory(lake, f"{_ROOT}/{key}", version, output, meta)
    try:
        advance_pointer(lake, f"{_ROOT}/{key}/pointer", {"version": version}, after=0)
    except AlchemyError as error:
        if error.code is not ErrorCode.CONFLICT:
            raise
        log.info("base.published_by_another", key=key)
    root = published_base(lake, settings)
    if root is None:
        raise AlchemyError(ErrorCode.CORRUPT, f"the pointer of base model {key!r} vanished")
    return root, read_manifest(lake, root)


def read_corpus(corpus: Path) -> list[Document]:
    """The documents of a `cleaned_corpus.jsonl`; INPUT_INVALID when there are none."""
    documents = list(read_jsonl(corpus, Document))
    if not documents:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{corpus.name} holds no documents to train the base model on",
            "Ingest data first.",
        )
    return documents


def learned_text(document: Document) -> str:
    """What the base sees of a document."""
    return f"{document.title}\n\n{document.text}"


def run(context: StageContext) -> Receipt:
    """Build the embedded base, or reuse it; for `huggingface`, record which model it is."""
    settings = context.settings.model_c
    if settings.provider == "huggingface":
        return _record_external(context, settings)
    root = published_base(context.lake, settings)
    reused = root is not None
    inputs = {"settings": text_digest(settings.small_llama.model_dump_json())}
    if root is None:
        washed = context.receipt_of("wash")
        inputs["wash"] = washed.sha256
        corpus = context.fetch(f"{washed.uri}/{CORPUS}")
        root, manifest = build_base(
            context.lake, settings, corpus, context.scratch, context.progress
        )
    else:
        manifest = read_manifest(context.lake, root)
    context.progress("base.ready", {"uri": root, "reused": reused})
    numbers = ("steps", "parameters", "corpus_tokens", "train_loss", "eval_loss")
    return context.receipt(
        root,
        {f"{root}/{name}": digest for name, digest in manifest.files.items()},
        size=manifest.bytes,
        rows=int(manifest.meta["documents"]),
        schema=sorted(manifest.files),
        inputs=inputs,
        counts={**{k: manifest.meta[k] for k in numbers}, "reused": float(reused)},
    )


def _record_external(context: StageContext, settings: CausalModelSettings) -> Receipt:
    """A large model stays where it is; the run keeps its name and digest."""
    directory = model_directory(settings, "model_c")
    record = {
        "provider": settings.provider,
        "model": settings.model_path or settings.model_id,
        "revision": settings.revision,
        "weights": weights_digest(directory),
    }
    path = context.out("model.json")
    path.write_text(json.dumps(record), encoding="utf-8")
    return context.finish(
        f"runs/{context.run_id}/base",
        {"model.json": path},
        rows=1,
        schema=sorted(record),
        inputs={"model": record["weights"]},
        counts={"reused": 1.0},
    )
