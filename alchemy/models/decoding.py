"""From logits to tokens and from tokens to text, one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    import torch

    from alchemy.protocols import GenerationRequest

_UNFINISHED = "\ufffd"
_WINDOW = 48
_OVERLAP = 8


def check_request(request: GenerationRequest) -> None:
    """INPUT_INVALID for limits that make no sense."""
    wrong = (
        (not request.prompt, "prompt is empty"),
        (request.max_new_tokens < 1, f"max_new_tokens is {request.max_new_tokens}, below 1"),
        (not request.temperature >= 0, f"temperature is {request.temperature}, below 0"),
        (not 0 < request.top_p <= 1, f"top_p is {request.top_p}, outside (0, 1]"),
        ("" in request.stop, "stop holds an empty string"),
    )
    for is_wrong, reason in wrong:
        if is_wrong:
            raise AlchemyError(ErrorCode.INPUT_INVALID, f"generation request: {reason}")


class TokenSampler:
    """Chooses the next token of one request; its random numbers are its own.

    So a seeded request draws the same tokens whatever shares its batch.
    """

    def __init__(self, request: GenerationRequest) -> None:
        import torch

        self.greedy = request.temperature == 0
        self._temperature = request.temperature
        self._top_p = request.top_p
        self._random = torch.Generator()
        if request.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(request.seed)

    def choose(self, logits: torch.Tensor) -> int:
        """Next token from float32[vocabulary] on the CPU."""
        import torch

        if self.greedy:
            return int(logits.argmax())
        probabilities = torch.softmax(logits / self._temperature, dim=-1)
        if self._top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            # keep tokens until the mass before them reaches top_p: at least the first
            ordered[ordered.cumsum(0) - ordered >= self._top_p] = 0
            probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
        return int(torch.multinomial(probabilities, 1, generator=self._random))


class IncrementalText:
    """Text of a growing token sequence, given out only once it can no longer change.

    A token may end inside a UTF-8 character, and a stop string may begin in one token and end in
    another: both are held back until they are decided. The pieces given out concatenate to exactly
    the decoded sequence, cut before the first stop string.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._window: list[int] = []
        self._window_done = 0  # characters of the window's text that are already in _held
        self._held = ""  # decided characters that may still begin a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; the text that became certain."""
        self._window.append(token)
        text = self._decode(self._window)
        certain = text.rstrip(_UNFINISHED)
        piece = self._take(certain[self._window_done :])
        self._window_done = max(self._window_done, len(certain))
        if len(self._window) >= _WINDOW and certain == text:
            # a later decode needs only enough context for the tokenizer's spacing rules
            self._window = self._window[-_OVERLAP:]
            self._window_done = len(self._decode(self._window))
        return piece

    def finish(self) -> str:
        """The rest, at the end of the sequence."""
        if self.stopped:
            return ""
        tail = self._decode(self._window)[self._window_done :]
        piece = self._take(tail)
        if not self.stopped:
            piece, self._held = piece + self._held, ""
        return piece

    def _take(self, fresh: str) -> str:
        text = self._held + fresh
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
