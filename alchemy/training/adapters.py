"""Adapter versions in the lake: `adapters/ad-<sha12 of the weights>/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alchemy.config import LoraSettings, TrainingSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import PROMPT_VERSION
from alchemy.models.weights import ADAPTER_WEIGHTS
from alchemy.protocols import Lake
from alchemy.stores.versions import (
    Manifest,
    fetch_directory,
    file_digest,
    publish_directory,
)
from alchemy.training.dataset import pairs_digest
from alchemy.types import SftPair

if TYPE_CHECKING:
    from alchemy.training.lora import Outcome

ROOT = "adapters"
_CONFIG = "adapter_config.json"


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
    config = json.loads((checkpoint / _CONFIG).read_text(encoding="utf-8"))
    # the path on the machine that trained means nothing elsewhere
    config["base_model_name_or_path"] = base_digest
    _write_json(output / _CONFIG, config)
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
