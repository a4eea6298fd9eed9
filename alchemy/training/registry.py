"""The adapters in the lake: which there are, how two differ, and copies that other tools load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alchemy.config import CausalModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from alchemy.protocols import Lake
from alchemy.stores.versions import MANIFEST, differing, read_manifest
from alchemy.training.adapters import RETRIEVAL_PREFIX, ROOT, fetch_adapter
from alchemy.training.base import fetch_base
from alchemy.types import JsonRecord

BASE = "base"
"""Folder of an export that holds the base model, where it exists nowhere else."""


@dataclass(frozen=True)
class AdapterVersion(JsonRecord):
    """One published adapter.

    Attributes:
        kind: `generation`, or `retrieval` for the queries of the embedding model.
        meta: of its manifest: base, pairs, documents, acl, hyperparameters, evaluation, weights.
    """

    version: str
    kind: str
    meta: dict[str, Any]


def adapter_versions(lake: Lake) -> Iterator[AdapterVersion]:
    """Every whole adapter version, by name."""
    names = {item.key.split("/")[1] for item in lake.list(f"{ROOT}/") if item.key.count("/") > 1}
    for name in sorted(names):
        if lake.exists(f"{ROOT}/{name}/{MANIFEST}"):  # else being written, or being removed
            yield adapter_version(lake, name)


def adapter_version(lake: Lake, version: str) -> AdapterVersion:
    """One version; NOT_FOUND, CORRUPT."""
    manifest = read_manifest(lake, f"{ROOT}/{version}")
    kind = "retrieval" if version.startswith(RETRIEVAL_PREFIX) else "generation"
    return AdapterVersion(version, kind, dict(manifest.meta))


def difference(lake: Lake, first: str, second: str) -> dict[str, Any]:
    """What distinguishes two adapters.

    Returns:
        `{base, hyperparameters, evaluation, documents, pairs}`: pairs of values where they differ,
        and for documents and pairs the ids only one has learned from (`removed`, `added`).
    """
    before, after = (adapter_version(lake, version).meta for version in (first, second))
    mine, theirs = (_lineage(lake, version) for version in (second, first))
    found: dict[str, Any] = {
        name: differing({name: before.get(name)}, {name: after.get(name)})
        for name in ("base", "hyperparameters", "evaluation", "acl")
    }
    for name in ("documents", "pairs"):
        now, then = set(mine.get(name, ())), set(theirs.get(name, ()))
        found[name] = {"removed": sorted(then - now), "added": sorted(now - then)}
    return found


def export_adapter(
    lake: Lake,
    version: str,
    model: CausalModelSettings,
    cache: Path,
    output: Path,
    *,
    merge: bool = False,
) -> list[Path]:
    """Write an adapter so that transformers and peft load it without this package; the files.

    A plain export is a PEFT directory, with the base model in `base/` where that is our own. With
    `merge` it is one transformers model, base and adapter added up.

    Args:
        model: section `model_c`, which says where the base is.
        output: a new or empty directory.

    Raises:
        AlchemyError: NOT_FOUND, CORRUPT; CONFLICT for an adapter of another base or a directory
            that holds something; INPUT_INVALID for a retrieval adapter.
    """
    if version.startswith(RETRIEVAL_PREFIX):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{version} encodes questions for the embedding model, it writes nothing",
            "Export an adapter of kind generation: alchemy adapters list.",
        )
    if output.exists() and any(output.iterdir()):
        raise AlchemyError(ErrorCode.CONFLICT, f"{output} is not empty", "Give a new directory.")
    base, digest = fetch_base(lake, model, cache / "base")
    adapter, _ = fetch_adapter(lake, version, cache / "adapters", digest)
    output.mkdir(parents=True, exist_ok=True)
    if merge:
        _merge(base, adapter, output)
    else:
        shutil.copyfile(adapter / ADAPTER_WEIGHTS, output / ADAPTER_WEIGHTS)
        config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        own = model.provider != "huggingface"
        config["base_model_name_or_path"] = BASE if own else model.model_id or str(base)
        (output / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
        if own:
            shutil.copytree(base, output / BASE, ignore=shutil.ignore_patterns(MANIFEST))
    return sorted(path for path in output.rglob("*") if path.is_file())


def _merge(base: Path, adapter: Path, output: Path) -> None:
    import torch
    from peft import PeftModel

    from alchemy.models.huggingface import load_causal

    model, tokenizer = load_causal(base, "cpu", torch.float32, "model_c")
    merged: Any = PeftModel.from_pretrained(model, adapter)
    merged.merge_and_unload().save_pretrained(output, safe_serialization=True)
    tokenizer.save_pretrained(output)


def _lineage(lake: Lake, version: str) -> Mapping[str, Any]:
    return json.loads(lake.read(f"{ROOT}/{version}/lineage.json"))
