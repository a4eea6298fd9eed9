"""Model directories: finding them, and naming their content by digest."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores.versions import file_digest
from alchemy.types import digest_of

if TYPE_CHECKING:
    from alchemy.config import ModelSettings, RerankerSettings

ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""Peft's file name; the file's sha256 is an adapter's digest."""

ADAPTER_CONFIG = "adapter_config.json"

# what decides a model's output; readme files and caches beside it do not
_DEFINING = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "vocab.*",
    "merges.txt",
)


def weights_digest(directory: Path) -> str:
    """One sha256 over the weights, configuration and tokenizer files of a model directory.

    Raises:
        AlchemyError: MODEL_UNAVAILABLE when it holds no safetensors weights.
    """
    files = {
        path.relative_to(directory).as_posix(): file_digest(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in _DEFINING)
    }
    if not any(name.endswith(".safetensors") for name in files):
        raise AlchemyError(
            ErrorCode.MODEL_UNAVAILABLE,
            f"{directory} holds no *.safetensors weights",
            "Give a model directory in safetensors format (pickled weights are not loaded).",
        )
    return digest_of(files)


def model_directory(settings: ModelSettings | RerankerSettings, role: str) -> Path:
    """Local directory of a `huggingface` model: `model_path`, or the hub's cached snapshot.

    Args:
        role: section of models.yaml, for the error text.

    Raises:
        AlchemyError: MODEL_UNAVAILABLE with the remedy.
    """
    if settings.model_path:
        directory = Path(settings.model_path).expanduser()
        if not directory.is_dir():
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"{role}.model_path {settings.model_path!r} is not a directory on this machine",
                "Put the model there, or correct model_path in models.yaml.",
            )
        return directory
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                settings.model_id,
                revision=settings.revision or None,
                allow_patterns=[*_DEFINING, "*.json", "*.txt", "*.jinja"],
            )
        )
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        HFValidationError,
        httpx.HTTPError,
        OSError,
    ) as error:
        raise AlchemyError(
            ErrorCode.MODEL_UNAVAILABLE,
            f"{role}.model_id {settings.model_id!r} cannot be fetched from the hub: "
            f"{str(error).splitlines()[0]}",
            "Check the name and the network, or download it and set model_path.",
        ) from error
