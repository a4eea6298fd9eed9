"""The one prompt template of `model_c`, for training, drafting and evaluation alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alchemy.types import text_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE = "### Instruction:\n{instruction}\n\n### Response:\n"

PROMPT_VERSION = text_digest(_TEMPLATE)[:12]
"""Names the template in a release and in an adapter's manifest."""


def instruction_prompt(instruction: str) -> str:
    """The text a response follows; the response ends with the tokenizer's EOS."""
    # not str.format: an instruction may hold braces
    return _TEMPLATE.replace("{instruction}", instruction.strip())


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Tokens of a prompt, as training saw it and drafting must repeat it.

    Prompt and response are tokenized apart, so the boundary falls at the same token in both. A
    tokenizer that closes every text with EOS would end the answer before it began.
    """
    ids = list(tokenizer(prompt, verbose=False)["input_ids"])  # pyright: ignore[reportArgumentType]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
