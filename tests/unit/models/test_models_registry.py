"""From settings to models."""

from __future__ import annotations

from alchemy.config import CausalModelSettings, LoraSettings, ModelSettings, SmallLlamaSettings
from alchemy.models.prompts import instruction_prompt
from alchemy.models.registry import base_model_key, load_chat_model


def test_the_embedded_finalist_needs_no_chat_model() -> None:
    assert load_chat_model(ModelSettings()) is None


def test_the_base_is_named_by_what_shapes_it_and_nothing_else() -> None:
    key = base_model_key(CausalModelSettings())
    other = CausalModelSettings(small_llama=SmallLlamaSettings(seed=14))
    same = CausalModelSettings(device="cpu", batch_size=4, lora=LoraSettings(r=4))
    assert base_model_key(other) != key
    assert base_model_key(same) == key


def test_braces_in_an_instruction_stay_as_they_are() -> None:
    assert "{instruction} {0}" in instruction_prompt("{instruction} {0}")
