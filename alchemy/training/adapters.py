"""Adapter versions in the lake: `adapters/ad-<sha12 of the weights>/`, `rt-…` for retrieval."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alchemy.config import LoraSettings, TrainingSettings, TuningSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import PROMPT_VERSION
from alchemy.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from alchemy.protocols import Lake
from alchemy.stores.versions import (
    Manifest,
    fetch_directory,
    file_digest,
    publish_directory,
)
from alchemy.training.dataset import pairs_digest
from alchemy.training.retrieval_pairs import RetrievalPair
from alchemy.types import SftPair, text_digest

if TYPE_CHECKING:
    from alchemy.training.lora import Outcome
    from alchemy.training.retrieval import Tuned

ROOT = "adapters"
RETRIEVAL_PREFIX = "rt-"


def publish_adapter(
    lake: Lake,
    checkpoint: Path,
    scratch: Path,
    *,
    base_digest: str,
    pairs: Sequence[SftPair],
    lora: LoraSettings,
    training: TrainingSettings,
    outcome: Outcome,
) -> Manifest:
    """Publish the adapter of a final checkpoint; its manifest.

    Args:
        pairs: what it was trained on; gives lineage and ACL scope.
    """
    weights = file_digest(checkpoint / ADAPTER_WEIGHTS)
    version = f"ad-{weights[:12]}"
    output = scratch / version
    output.mkdir(parents=True)
    shutil.copyfile(checkpoint / ADAPTER_WEIGHTS, output / ADAPTER_WEIGHTS)
    config = json.loads((checkpoint / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    # the path on the machine that trained means nothing elsewhere
    config["base_model_name_or_path"] = base_digest
    _write_json(output / ADAPTER_CONFIG, config)
    documents = sorted({i for pair in pairs for i in pair.document_ids})
    chunks = sorted({i for pair in pairs for i in pair.chunk_ids})
    _write_json(
        output / "lineage.json",
        {"documents": documents, "chunks": chunks, "pairs": sorted(pair.id for pair in pairs)},
    )
    meta = {
        "base": base_digest,
        "dataset": pairs_digest(pairs),
        "prompt": PROMPT_VERSION,
        "pairs": len(pairs),
        "documents": len(documents),
        "tenants": sorted({pair.tenant for pair in pairs}),
        # drafts may carry any of these sources: who reads them must be in a group of each
        "acl": [list(acl) for acl in sorted({tuple(sorted(pair.acl)) for pair in pairs})],
        "hyperparameters": {
            "lora": lora.model_dump(mode="json"),
            "training": training.model_dump(mode="json"),
        },
        "evaluation": asdict(outcome),
        "weights": weights,
    }
    return publish_directory(lake, ROOT, version, output, meta)


def fetch_adapter(
    lake: Lake, version: str, cache: Path, base_digest: str | None = None
) -> tuple[Path, Manifest]:
    """Verified local copy of an adapter version; its digest is `manifest.meta["weights"]`.

    Args:
        base_digest: digest of the base it will be loaded on (`fetch_base`); None skips the check.

    Raises:
        AlchemyError: NOT_FOUND, CORRUPT, or CONFLICT for an adapter of another base.
    """
    directory, manifest = fetch_directory(lake, f"{ROOT}/{version}", cache)
    if base_digest is not None and manifest.meta["base"] != base_digest:
        raise AlchemyError(
            ErrorCode.CONFLICT,
            f"adapter {version!r} was trained on another base model",
            "Train it again on this base, or restore the base of its release.",
        )
    return directory, manifest


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True), encoding="utf-8")


def publish_retrieval_adapter(
    lake: Lake,
    trained: Path,
    *,
    base_digest: str,
    pairs: Sequence[RetrievalPair],
    tuning: TuningSettings,
    tuned: Tuned,
) -> Manifest:
    """Publish an adapter of the embedding model as `adapters/rt-<sha12>/`; its manifest.

    Args:
        trained: directory that `training.retrieval.tune` wrote; lineage is added to it.
        pairs: what it was trained on; gives lineage and ACL scope.
    """
    weights = file_digest(trained / ADAPTER_WEIGHTS)
    config = json.loads((trained / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    version = f"{RETRIEVAL_PREFIX}{text_digest(weights, base_digest)[:12]}"
    documents = sorted({i for pair in pairs for i in pair.documents})
    with tempfile.TemporaryDirectory(prefix="alchemy-adapter-") as scratch:
        output = Path(scratch)
        shutil.copyfile(trained / ADAPTER_WEIGHTS, output / ADAPTER_WEIGHTS)
        _write_json(output / ADAPTER_CONFIG, {**config, "base_model_name_or_path": base_digest})
        _write_json(
            output / "lineage.json",
            {"documents": documents, "pairs": sorted(pair.id for pair in pairs)},
        )
        meta = {
            "base": base_digest,
            "pairs": len(pairs),
            "kinds": dict(sorted(Counter(pair.kind for pair in pairs).items())),
            "documents": len(documents),
            "tenants": sorted({pair.tenant for pair in pairs}),
            "acl": [list(acl) for acl in sorted({tuple(sorted(pair.acl)) for pair in pairs})],
            "hyperparameters": tuning.model_dump(mode="json"),
            "evaluation": asdict(tuned),
            "weights": weights,
        }
        return publish_directory(lake, ROOT, version, output, meta)
