"""`model_c` at work: one base model, many LoRA adapters, one batch."""

from __future__ import annotations

import inspect
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.models.decoding import IncrementalText, TokenSampler, check_request
from alchemy.models.devices import pick_device, pick_dtype
from alchemy.models.huggingface import load_causal
from alchemy.models.prompts import prompt_ids
from alchemy.models.weights import ADAPTER_WEIGHTS, weights_digest
from alchemy.stores.versions import file_digest
from alchemy.types import Draft

if TYPE_CHECKING:
    from alchemy.config import CausalModelSettings
    from alchemy.protocols import GenerationRequest

BASE = "base"
_PEFT_BASE = "__base__"  # peft's name for "no adapter" in a mixed batch

log = get_logger()


@dataclass
class _Row:
    """One request on its way through the batch."""

    index: int
    adapter: str
    digest: str
    prompt: list[int]
    remaining: int
    sampler: TokenSampler
    text: IncrementalText
    tokens: int = 0
    seconds: float = 0.0
    finished: bool = False

    def advance(self, token: int, ends: set[int]) -> str:
        """Take the next token; the text that became certain with it."""
        if token in ends:
            self.finished = True
            return self.text.finish()
        self.tokens += 1
        self.remaining -= 1
        piece = self.text.push(token)
        self.finished = self.text.stopped or self.remaining == 0
        return piece + self.text.finish() if self.finished else piece


@dataclass
class _Batch:
    """What a forward pass needs of the rows still running.

    Attributes:
        inputs: int64[rows, new], tokens the model has not seen yet.
        mask: int64[rows, all so far], 0 on left padding.
        cache: keys and values of everything seen; None before the first pass.
    """

    inputs: torch.Tensor
    mask: torch.Tensor
    cache: Any = None

    def proceed(self, slots: list[int], tokens: list[int]) -> None:
        """Feed each kept slot its token next, and stop computing for the others."""
        if len(slots) < len(self.mask):
            keep = torch.tensor(slots, device=self.mask.device)
            self.mask = self.mask[keep]
            self.cache.batch_select_indices(keep)
        self.inputs = torch.tensor(tokens, device=self.mask.device).unsqueeze(1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.inputs)], dim=1)


class CausalGenerator:
    """See `protocols.Generator`. Thread-safe; a request never sees another one's adapter.

    Args:
        settings: `model_c`.
        directory: the base model's local directory.
    """

    def __init__(self, settings: CausalModelSettings, directory: Path) -> None:
        self._device = pick_device(settings.device)
        dtype = pick_dtype(settings.dtype, self._device)
        self._digest = weights_digest(directory)
        self._base, self._tokenizer = load_causal(directory, self._device, dtype, "model_c")
        self._base.requires_grad_(False)
        self._peft: Any = None
        self._context = settings.max_length or getattr(
            self._base.config, "max_position_embeddings", 2048
        )
        ends = self._base.generation_config.eos_token_id
        self._ends = {self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        # architectures differ in what their forward pass takes
        self._takes = set(inspect.signature(self._base.forward).parameters)
        self._lock = threading.RLock()  # the model and the books below
        self._adapters: dict[str, str] = {}  # version → sha256 of its weights
        self._users: Counter[str] = Counter()
        self._retired: set[str] = set()

    @property
    def digest(self) -> str:
        """See `protocols.Generator`."""
        return self._digest

    @property
    def adapters(self) -> dict[str, str]:
        """Loaded versions and the sha256 of their weights."""
        with self._lock:
            return {v: d for v, d in self._adapters.items() if v not in self._retired}

    def load_adapter(self, version: str, directory: Path) -> str:
        """Make an adapter usable as `version`; the sha256 of its weights. Loading twice is a no-op.

        Raises:
            AlchemyError: NOT_FOUND without weights; CONFLICT when it does not fit this base model.
        """
        from peft import PeftConfig, PeftModelForCausalLM

        weights = directory / ADAPTER_WEIGHTS
        if version in ("", BASE, _PEFT_BASE) or "." in version:
            raise AlchemyError(ErrorCode.INPUT_INVALID, f"{version!r} cannot name an adapter")
        if not weights.is_file():
            raise AlchemyError(
                ErrorCode.NOT_FOUND, f"{directory} holds no {ADAPTER_WEIGHTS}", "Train it again."
            )
        digest = file_digest(weights)
        with self._lock:
            if version in self._adapters:
                self._retired.discard(version)
                if self._adapters[version] != digest:
                    raise AlchemyError(
                        ErrorCode.CONFLICT, f"another adapter is loaded as {version!r}"
                    )
                return digest
            config = PeftConfig.from_pretrained(str(directory))
            config.inference_mode = True
            try:
                if self._peft is None:
                    self._peft = PeftModelForCausalLM(self._base, config, adapter_name=version)
                else:
                    self._peft.add_adapter(version, config)
                loaded = self._peft.load_adapter(
                    directory, adapter_name=version, torch_device=self._device
                )
                strays = [*loaded.missing_keys, *loaded.unexpected_keys]
            except (RuntimeError, ValueError) as error:
                self._drop(version)
                raise _misfit(version, str(error).strip().splitlines()[0]) from error
            if strays:
                self._drop(version)
                raise _misfit(version, f"no counterpart for {strays[0]}")
            self._peft.eval()
            self._adapters[version] = digest
        return digest

    def unload_adapter(self, version: str) -> None:
        """Forget an adapter, as soon as no running request uses it. Unknown ones are ignored."""
        with self._lock:
            if version in self._adapters:
                self._retired.add(version)
                self._collect()

    def _collect(self) -> None:
        for version in [v for v in self._retired if not self._users[v]]:
            self._retired.discard(version)
            self._drop(version)

    def _drop(self, version: str) -> None:
        self._adapters.pop(version, None)
        if self._peft is None:
            return
        if version in self._peft.peft_config:
            self._peft.delete_adapter(version)
        if not self._peft.peft_config:
            self._base = self._peft.unload()  # peft cannot hold zero adapters
            self._peft = None

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Draft]:
        """See `protocols.Generator`."""
        rows = self._admit(requests)
        pieces: list[list[str]] = [[] for _ in rows]
        for step in self._decode(rows):
            for row, piece in enumerate(step):
                if piece:
                    pieces[row].append(piece)
        return [
            Draft(
                text="".join(pieces[row.index]),
                adapter=row.adapter,
                digest=row.digest,
                tokens=row.tokens,
                seconds=round(row.seconds, 6),
            )
            for row in rows
        ]

    def stream(self, requests: Sequence[GenerationRequest]) -> Iterator[list[str | None]]:
        """See `protocols.Generator`.

        Every request gets its None, so the last item is all None. Closing the iterator ends the
        work; requests are checked before the first step.
        """
        return self._decode(self._admit(requests))

    def _admit(self, requests: Sequence[GenerationRequest]) -> list[_Row]:
        rows: list[_Row] = []
        for index, request in enumerate(requests):
            check_request(request)
            adapter = request.adapter or BASE
            with self._lock:  # a tokenizer's settings are not safe to share between threads
                prompt = prompt_ids(self._tokenizer, request.prompt)
            if not prompt:
                raise AlchemyError(ErrorCode.INPUT_INVALID, "generation request: prompt is blank")
            # a prompt beyond the context keeps its end, where the response begins
            room = self._context - min(request.max_new_tokens, max(1, self._context // 4))
            if len(prompt) > room:
                log.warning("generator.prompt_cut", tokens=len(prompt), kept=room, adapter=adapter)
                prompt = prompt[-room:]
            rows.append(
                _Row(
                    index=index,
                    adapter=adapter,
                    digest=self._digest_of(adapter),
                    prompt=prompt,
                    remaining=min(request.max_new_tokens, self._context - len(prompt)),
                    sampler=TokenSampler(request),
                    text=IncrementalText(self._text, request.stop),
                )
            )
        return rows

    def _digest_of(self, adapter: str) -> str:
        if adapter == BASE:
            return self._digest
        with self._lock:
            if adapter not in self._adapters:
                raise AlchemyError(
                    ErrorCode.NOT_FOUND,
                    f"adapter {adapter!r} is not loaded",
                    f"Loaded: {', '.join(sorted(self._adapters)) or 'none'}.",
                )
            return self._adapters[adapter]

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _decode(self, rows: list[_Row]) -> Iterator[list[str | None]]:
        started = time.perf_counter()
        with self._holding(rows):
            live, batch = rows, self._padded(rows)
            while live:
                logits = self._forward(batch, live)
                step: list[str | None] = [None] * len(rows)
                greedy: list[int] = logits.argmax(dim=-1).tolist()
                tokens: list[int] = []
                for slot, row in enumerate(live):
                    token = (
                        greedy[slot]
                        if row.sampler.greedy
                        else row.sampler.choose(logits[slot].float().cpu())
                    )
                    tokens.append(token)
                    step[row.index] = row.advance(token, self._ends)
                    if row.finished:
                        row.seconds = time.perf_counter() - started
                yield step
                slots = [slot for slot, row in enumerate(live) if not row.finished]
                live = [live[slot] for slot in slots]
                if live:
                    batch.proceed(slots, [tokens[slot] for slot in slots])
            yield [None] * len(rows)

    @contextmanager
    def _holding(self, rows: list[_Row]) -> Iterator[None]:
        """Keep the rows' adapters loaded while they run."""
        used = Counter(row.adapter for row in rows if row.adapter != BASE)
        with self._lock:
            for adapter in used:
                self._digest_of(adapter)  # it may have gone since the request was admitted
            self._users.update(used)
        try:
            yield
        finally:
            with self._lock:
                self._users.subtract(used)
                self._collect()

    def _padded(self, rows: list[_Row]) -> _Batch:
        width = max((len(row.prompt) for row in rows), default=0)
        pad = self._tokenizer.pad_token_id
        ids = [[pad] * (width - len(row.prompt)) + row.prompt for row in rows]
        mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
        return _Batch(
            torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)
        )

    def _forward(self, batch: _Batch, live: list[_Row]) -> torch.Tensor:
        """Logits[rows, vocabulary] for the next token of each row."""
        positions = (batch.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -batch.inputs.shape[1] :]
        optional = {"position_ids": positions, "logits_to_keep": 1}
        arguments = {k: v for k, v in optional.items() if k in self._takes}
        # not around a yield: the mode would leak into whoever consumes the stream
        with self._lock, torch.inference_mode():
            if self._peft is not None:
                arguments["adapter_names"] = [
                    _PEFT_BASE if row.adapter == BASE else row.adapter for row in live
                ]
            model = self._base if self._peft is None else self._peft
            output = model(
                input_ids=batch.inputs,
                attention_mask=batch.mask,
                past_key_values=batch.cache,
                use_cache=True,
                **arguments,
            )
            batch.cache = output.past_key_values
            return output.logits[:, -1]


def _misfit(version: str, reason: str) -> AlchemyError:
    return AlchemyError(
        ErrorCode.CONFLICT,
        f"adapter {version!r} does not fit this base model: {reason}",
        "It was trained on another base: train again, or serve a release whose base is this one.",
    )
