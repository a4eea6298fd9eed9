"""The embedding model for queries: the base with a retrieval adapter; passages keep the base's vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.embedded import EmbeddedEmbedder, minilm_directory
from alchemy.models.weights import ADAPTER_CONFIG, weights_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from alchemy.config import ModelSettings


def tunable_base(settings: ModelSettings) -> tuple[Path, str]:
    """Directory of the model that a retrieval adapter extends, and the digest of its weights.

    Raises:
        AlchemyError: CONFIG_INVALID for a provider whose weights are not ours to extend.
    """
    if settings.provider != "embedded":
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"retrieval adapters extend the embedded model_b, not provider {settings.provider!r}",
            "Set tuning.enabled: false in models.yaml, or model_b.provider: embedded.",
        )
    directory = minilm_directory()
    return directory, weights_digest(directory)


class AdaptedQueries:
    """Encodes queries with an adapter on top of the base. Thread-safe.

    Args:
        adapter: directory of a published adapter; its configuration names the base it was made for.

    Raises:
        AlchemyError: CONFLICT for an adapter of another base.
    """

    def __init__(self, settings: ModelSettings, adapter: Path) -> None:
        _, base = tunable_base(settings)
        config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        made_for = str(config.get("base_model_name_or_path"))
        if made_for != base:
            raise AlchemyError(
                ErrorCode.CONFLICT,
                f"the retrieval adapter in {adapter.name} was trained on the base "
                f"{made_for[:12]}, model_b is {base[:12]}",
                "Train it again on this model_b: data-alchemy train.",
            )
        self._embedder = EmbeddedEmbedder(settings, adapter)

    @property
    def digest(self) -> str:
        """sha256 that changes with base, number format and adapter."""
        return self._embedder.digest

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dim], L2-normalised; compared with passage vectors of the base."""
        return self._embedder.encode(texts)
