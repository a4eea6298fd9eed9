"""Models of the Hugging Face format: a local directory or a hub id."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.devices import pick_device, pick_dtype
from alchemy.models.weights import model_directory, weights_digest
from alchemy.types import text_digest

if TYPE_CHECKING:
    from alchemy.config import ModelSettings
    from alchemy.protocols import Message


class HuggingFaceEmbedder:
    """See `protocols.Embedder`; anything sentence-transformers loads."""

    def __init__(self, settings: ModelSettings, role: str) -> None:
        from sentence_transformers import SentenceTransformer

        directory = model_directory(settings, role)
        device = pick_device(settings.device)
        dtype = pick_dtype(settings.dtype, device)
        try:
            self._model = SentenceTransformer(
                str(directory),
                device=device,
                local_files_only=True,
                model_kwargs={"dtype": dtype, "use_safetensors": True},
            )
        except (OSError, ValueError, KeyError) as error:
            raise _unloadable(role, directory, error) from error
        if settings.max_length:
            self._model.max_seq_length = settings.max_length
        self._batch_size = settings.batch_size
        self._digest = text_digest(weights_digest(directory), str(dtype))

    @property
    def digest(self) -> str:
        """See `protocols.Embedder`."""
        return self._digest

    @property
    def dim(self) -> int:
        """See `protocols.Embedder`."""
        return int(self._model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        if not texts:
            return []
        encoded: Any = self._model.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, verbose=False
        )
        return [len(ids) for ids in encoded["input_ids"]]


class HuggingFaceChatModel:
    """See `protocols.ChatModel`; a causal model, with its chat template when it has one."""

    def __init__(self, settings: ModelSettings, role: str) -> None:
        directory = model_directory(settings, role)
        device = pick_device(settings.device)
        dtype = pick_dtype(settings.dtype, device)
        self._model, self._tokenizer = load_causal(directory, device, dtype, role)
        self._digest = text_digest(weights_digest(directory), str(dtype))
        self._max_prompt = settings.max_length

    @property
    def digest(self) -> str:
        """See `protocols.ChatModel`."""
        return self._digest

    def _inputs(self, messages: Sequence[Message], max_new_tokens: int) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if self._tokenizer.chat_template:
            encoded = self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            # a base model without a template of its own continues plain text
            text = "".join(f"{t['role'].capitalize()}: {t['content']}\n\n" for t in turns)
            encoded = self._tokenizer(text + "Assistant:", return_tensors="pt")
        context = self._max_prompt or getattr(self._model.config, "max_position_embeddings", 0)
        length = encoded["input_ids"].shape[1]
        if context and length + max_new_tokens > context:
            raise AlchemyError(
                ErrorCode.TOO_LARGE,
                f"prompt of {length} tokens and reply of {max_new_tokens} exceed the model's "
                f"context of {context}",
                "Ask for a shorter reply, or configure a model with a longer context.",
            )
        return {
            "input_ids": encoded["input_ids"].to(self._model.device),
            "attention_mask": encoded["attention_mask"].to(self._model.device),
            "max_new_tokens": max_new_tokens,
            "do_sample": False,
            # a model's generation_config may set these for sampling; greedy has no use for them
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "pad_token_id": self._tokenizer.pad_token_id,
        }

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        """See `protocols.ChatModel`."""
        inputs = self._inputs(messages, max_new_tokens)
        with torch.inference_mode():
            output: Any = self._model.generate(**inputs)
        reply = output[0, inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(reply, skip_special_tokens=True))

    async def stream(
        self, messages: Sequence[Message], max_new_tokens: int = 512
    ) -> AsyncIterator[str]:
        """See `protocols.ChatModel`; the model works in a thread, and stops when nobody listens."""
        from transformers import AsyncTextIteratorStreamer

        inputs = self._inputs(messages, max_new_tokens)
        streamer = AsyncTextIteratorStreamer(
            self._tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        abandoned = threading.Event()

        def stop(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((input_ids.shape[0],), abandoned.is_set(), device=input_ids.device)

        def work() -> None:
            try:
                with torch.inference_mode():
                    self._model.generate(**inputs, streamer=streamer, stopping_criteria=[stop])
            finally:
                # also after an error, which would leave the reader waiting for ever
                streamer.on_finalized_text("", stream_end=True)

        task = asyncio.create_task(asyncio.to_thread(work))
        try:
            async for text in streamer:
                if text:
                    yield text
        finally:
            abandoned.set()
            await task


def load_causal(directory: Path, device: str, dtype: torch.dtype, role: str) -> tuple[Any, Any]:
    """Model and tokenizer of a causal model directory; never the network, never pickled weights.

    Raises:
        AlchemyError: MODEL_UNAVAILABLE, or CONFIG_INVALID for a tokenizer without EOS.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(role, directory, error) from error
    if tokenizer.eos_token_id is None:
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"the tokenizer of {role} in {directory} has no end-of-sequence token",
            "Use a model whose tokenizer defines eos_token.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device).eval(), tokenizer


def _unloadable(role: str, directory: Path, error: Exception) -> AlchemyError:
    return AlchemyError(
        ErrorCode.MODEL_UNAVAILABLE,
        f"{role} cannot be loaded from {directory}: {str(error).strip().splitlines()[0]}",
        "Give a complete model directory (config.json, *.safetensors, tokenizer files).",
    )
