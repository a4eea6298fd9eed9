"""A real base model of 30 k parameters, and adapters that change its answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alchemy.config import CausalModelSettings
from alchemy.models.causal import CausalGenerator

# tiny matrices: threads would cost more than they give
torch.set_num_threads(1)

WORDS = "the stream module of a job reads every file and writes one record to the sink".split()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a Llama with 2 layers of 32.

    Its weights are random and large: it talks nonsense, but different nonsense to each prompt, so
    that rows of a batch that were mixed up would show.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from alchemy.training.pretrain import build_tokenizer

    chance = random.Random(7)
    tokenizer = build_tokenizer([" ".join(chance.choices(WORDS, k=30)) for _ in range(60)], 300)
    torch.manual_seed(7)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            initializer_range=0.3,
            pad_token_id=tokenizer.pad_token_id,  # pyright: ignore[reportArgumentType]
            bos_token_id=tokenizer.bos_token_id,  # pyright: ignore[reportArgumentType]
            eos_token_id=tokenizer.eos_token_id,  # pyright: ignore[reportArgumentType]
        )
    )
    directory = tmp_path_factory.mktemp("tiny-base")
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def make_adapter(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Seed → directory of an adapter that visibly changes what the tiny base says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(seed: int) -> Path:
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(tiny_base)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=16,
            target_modules=["q_proj", "v_proj", "down_proj"],
            init_lora_weights=False,
        )
        directory = tmp_path_factory.mktemp(f"adapter-{seed}")
        get_peft_model(base, config).save_pretrained(directory, save_embedding_layers=False)
        return directory

    return make


@pytest.fixture(scope="session")
def adapters(make_adapter: Callable[[int], Path]) -> dict[str, Path]:
    return {"ad-one": make_adapter(1), "ad-two": make_adapter(2)}


@pytest.fixture
def generator(tiny_base: Path, adapters: dict[str, Path]) -> CausalGenerator:
    made = CausalGenerator(CausalModelSettings(device="cpu", dtype="float32"), tiny_base)
    for version, directory in adapters.items():
        made.load_adapter(version, directory)
    return made
