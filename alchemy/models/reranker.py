"""Rerankers: the one shipped with the package, and cross-encoders of the Hugging Face format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.devices import pick_device, pick_dtype
from alchemy.models.embedded import minilm_directory
from alchemy.models.interaction import (
    PASSAGE_TOKENS,
    QUESTION_TOKENS,
    READ_TOKENS,
    Encoder,
    Head,
    logit,
    matched,
)
from alchemy.models.weights import model_directory, weights_digest
from alchemy.types import text_digest

if TYPE_CHECKING:
    from alchemy.config import RerankerSettings, ScorerSettings

SHIPPED = Path(__file__).parent / "reranker_weights"
"""Adapter and head in the wheel; made by `scripts/train_reranker.py`."""
HEAD_FILE = "head.safetensors"
_BLOCK = 256
"""Passages whose states are in memory at once: up to 0.5 MB each."""


class EmbeddedReranker:
    """See `protocols.Reranker` and `protocols.Reader`: late interaction on MiniLM. Thread-safe.

    Args:
        directory: a PEFT adapter with a head beside it.

    Raises:
        AlchemyError: CORRUPT for damaged weights, CONFIG_INVALID for a device that is not there.
    """

    def __init__(self, settings: ScorerSettings, directory: Path = SHIPPED) -> None:
        self._encoder = Encoder(settings, directory)
        self._head = read_head(directory / HEAD_FILE, self._encoder.dim)
        base = weights_digest(minilm_directory())
        self._digest = text_digest(base, weights_digest(directory), self._encoder.dtype)

    @property
    def digest(self) -> str:
        """See `protocols.Reranker`; the number format counts too."""
        return self._digest

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `protocols.Reranker`; each distinct text is encoded once, so many at a time."""
        asked = list(dict.fromkeys(question for question, _ in pairs))
        questions = dict(zip(asked, self._encoder.encode(asked, QUESTION_TOKENS), strict=True))
        wanted: dict[str, list[int]] = {}
        for place, (_, passage) in enumerate(pairs):
            wanted.setdefault(passage, []).append(place)
        scores = np.zeros(len(pairs), dtype=np.float32)
        given = list(wanted)
        for start in range(0, len(given), _BLOCK):
            block = given[start : start + _BLOCK]
            encoded = self._encoder.encode(block, PASSAGE_TOKENS)
            with torch.inference_mode():
                for passage, states in zip(block, encoded, strict=True):
                    for place in wanted[passage]:
                        question = questions[pairs[place][0]]
                        scores[place] = float(logit(self._head, question, states))
        return scores

    def read(
        self, question: str, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[np.ndarray]:
        """See `protocols.Reader`; a part means what it means in its text."""
        [asked] = self._encoder.encode([question], QUESTION_TOKENS)
        with torch.inference_mode():
            return [
                np.array([float(matched(self._head, asked, part)) for part in parts], np.float32)
                for parts in self._encoder.encode_parts(texts, spans, READ_TOKENS)
            ]


class CrossEncoderReranker:
    """See `protocols.Reranker`; any sequence classifier with one output."""

    def __init__(self, settings: RerankerSettings) -> None:
        from sentence_transformers import CrossEncoder

        directory = model_directory(settings, "reranker")
        device = pick_device(settings.device)
        dtype = pick_dtype(settings.dtype, device)
        try:
            self._model: Any = CrossEncoder(
                str(directory),
                device=device,
                max_length=settings.max_length or None,
                local_files_only=True,
                model_kwargs={"dtype": dtype, "use_safetensors": True},
            )
        except (OSError, ValueError, KeyError) as error:
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"reranker: {directory} is not a cross-encoder: {str(error).splitlines()[0]}",
                "Give a sequence classification model in safetensors format.",
            ) from error
        if self._model.num_labels != 1:
            raise AlchemyError(
                ErrorCode.CONFIG_INVALID,
                f"reranker: {directory} has {self._model.num_labels} outputs, a reranker has one",
                "Give a cross-encoder for ranking, not a classifier.",
            )
        self._batch_size = settings.batch_size
        self._digest = text_digest(weights_digest(directory), str(dtype))

    @property
    def digest(self) -> str:
        """See `protocols.Reranker`."""
        return self._digest

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `protocols.Reranker`."""
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        scores = self._model.predict(
            list(pairs),
            batch_size=self._batch_size,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return np.asarray(scores, dtype=np.float32)


def read_head(path: Path, dim: int) -> Head:
    """The head in a file; CORRUPT when it is damaged or of another shape."""
    head = Head(dim)
    try:
        head.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{path} is not the head of a reranker: {str(error).splitlines()[0]}",
            "Install the package again, or train it: scripts/train_reranker.py.",
        ) from error
    return head.eval()


def write_head(head: Head, path: Path) -> None:
    """Store the head as safetensors."""
    save_file({name: value.contiguous() for name, value in head.state_dict().items()}, path)
