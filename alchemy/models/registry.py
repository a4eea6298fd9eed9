"""From settings to models: the only place that knows which provider is which class."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.types import text_digest

if TYPE_CHECKING:
    from alchemy.config import (
        CausalModelSettings,
        ModelSettings,
        ReaderSettings,
        RerankerSettings,
    )
    from alchemy.model_settings import Dtype
    from alchemy.models.causal import CausalGenerator
    from alchemy.models.reranker import EmbeddedReranker
    from alchemy.protocols import ChatModel, Embedder, Reader, Reranker


def load_embedder(settings: ModelSettings, role: str = "model_b") -> Embedder:
    """The embedding model.

    Args:
        role: section of models.yaml, named in errors.

    Raises:
        AlchemyError: MODEL_UNAVAILABLE, REMOTE_FORBIDDEN or CONFIG_INVALID with the remedy.
    """
    if settings.provider == "openai":
        from alchemy.models.openai import OpenAIEmbedder

        return OpenAIEmbedder(settings, role)
    if settings.provider == "huggingface":
        from alchemy.models.huggingface import HuggingFaceEmbedder

        return HuggingFaceEmbedder(settings, role)
    from alchemy.models.embedded import EmbeddedEmbedder

    return EmbeddedEmbedder(settings)


def load_generator(settings: CausalModelSettings, base_dir: Path) -> CausalGenerator:
    """`model_c` from its local directory (`training.base.fetch_base`), without adapters yet."""
    from alchemy.models.causal import CausalGenerator

    return CausalGenerator(settings, base_dir)


def load_chat_model(settings: ModelSettings, role: str = "model_d") -> ChatModel | None:
    """A model that follows instructions; None for `embedded`, whose finalist is extractive."""
    if settings.provider == "openai":
        from alchemy.models.openai import OpenAIChatModel

        return OpenAIChatModel(settings, role)
    if settings.provider == "huggingface":
        from alchemy.models.huggingface import HuggingFaceChatModel

        return HuggingFaceChatModel(settings, role)
    return None


def load_reranker(settings: RerankerSettings) -> Reranker | None:
    """The model that scores passages again; None where none is configured.

    Raises:
        AlchemyError: MODEL_UNAVAILABLE, CONFIG_INVALID or CORRUPT with the remedy.
    """
    if settings.provider == "none":
        return None
    if settings.provider == "embedded":
        return _interaction(settings.device, settings.dtype, settings.batch_size)
    from alchemy.models.reranker import CrossEncoderReranker

    return CrossEncoderReranker(settings)


def load_reader(settings: ReaderSettings) -> Reader | None:
    """The model that reads sentences in their passages; None where none is configured.

    Raises:
        AlchemyError: CONFIG_INVALID or CORRUPT with the remedy.
    """
    if settings.provider == "none":
        return None
    return _interaction(settings.device, settings.dtype, settings.batch_size)


@lru_cache(maxsize=1)  # reranker and reader are one model, and a process needs it once
def _interaction(device: str, dtype: Dtype, batch_size: int) -> EmbeddedReranker:
    from alchemy.config import ScorerSettings
    from alchemy.models.reranker import EmbeddedReranker

    return EmbeddedReranker(ScorerSettings(device=device, dtype=dtype, batch_size=batch_size))


def base_model_key(settings: CausalModelSettings) -> str:
    """Name of the embedded base under `models/base/`: changes with anything that shapes it."""
    return f"llama-{text_digest(settings.small_llama.model_dump_json())[:12]}"
