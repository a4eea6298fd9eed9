"""From settings to models: the only place that knows which provider is which class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.types import text_digest

if TYPE_CHECKING:
    from alchemy.config import CausalModelSettings, ModelSettings
    from alchemy.models.causal import CausalGenerator
    from alchemy.protocols import ChatModel, Embedder


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


def base_model_key(settings: CausalModelSettings) -> str:
    """Name of the embedded base under `models/base/`: changes with anything that shapes it."""
    return f"llama-{text_digest(settings.small_llama.model_dump_json())[:12]}"
