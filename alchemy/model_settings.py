"""Models and their hyperparameters; the other settings are in `settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Section(BaseModel):
    """One section of `models.yaml`: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LoraSettings(Section):
    """PEFT LoRA hyperparameters."""

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    dora: bool = False
    """Learn magnitude and direction apart (DoRA, Liu et al. 2024): slower, helps small ranks."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023): large ranks then keep learning."""
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


class SmallLlamaSettings(Section):
    """The embedded base model: a Llama trained from scratch on the cleaned corpus.

    The defaults (2.6 M parameters, two to three minutes on two cores) reach a lower held-out loss
    than a model of twice the size in the same time. Below about a thousand steps it has not yet
    learned to repeat from its context, and adapters then have little to build on.
    """

    vocab_size: int = Field(default=4096, ge=512)
    hidden_size: int = Field(default=192, ge=32)
    intermediate_size: int = Field(default=512, ge=32)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=3, ge=1)
    context: int = Field(default=512, ge=64)
    steps: int = Field(default=1200, ge=1)
    batch_size: int = Field(default=8, ge=1)
    sequence: int = Field(default=128, ge=16)
    learning_rate: float = Field(default=3e-3, gt=0)
    seed: int = 13

    @model_validator(mode="after")
    def _shape(self) -> SmallLlamaSettings:
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads")
        if self.sequence > self.context:
            raise ValueError("sequence must not exceed context")
        return self


class ModelSettings(Section):
    """One model. `embedded` needs nothing; `huggingface` a path or hub id; `openai` a server."""

    provider: Literal["embedded", "huggingface", "openai"] = "embedded"
    model_id: str = ""
    model_path: str = ""
    revision: str = ""
    device: str = "auto"
    dtype: Dtype = "auto"
    batch_size: int = Field(default=32, ge=1)
    max_length: int = Field(default=0, ge=0)
    """Tokens; 0 leaves the model's own limit."""
    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    timeout_s: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=2, ge=0)
    allow_remote: bool = False

    @model_validator(mode="after")
    def _complete(self) -> ModelSettings:
        if self.provider == "huggingface" and not (self.model_id or self.model_path):
            raise ValueError("provider huggingface needs model_id (hub) or model_path (directory)")
        if self.provider == "openai" and not (self.base_url and self.model_id):
            raise ValueError("provider openai needs base_url and model_id")
        return self


class CausalModelSettings(ModelSettings):
    """`model_c`: the base model that LoRA adapters extend."""

    lora: LoraSettings = LoraSettings()
    small_llama: SmallLlamaSettings = SmallLlamaSettings()

    @model_validator(mode="after")
    def _local(self) -> CausalModelSettings:
        if self.provider == "openai":
            raise ValueError("model_c is trained here: use provider embedded or huggingface")
        return self


class ScorerSettings(Section):
    """Where and how a model that scores texts computes."""

    device: str = "auto"
    dtype: Dtype = "auto"
    batch_size: int = Field(default=32, ge=1)


class ReaderSettings(ScorerSettings):
    """What reads sentences in their passages; `embedded` is shipped with the package.

    A release uses it only where its evaluation finds the answers better with it.
    """

    provider: Literal["none", "embedded"] = "embedded"


class RerankerSettings(ScorerSettings):
    """What scores the best passages again; `huggingface`: a cross-encoder by path or hub id.

    A release uses it only where its evaluation finds more with it.
    """

    provider: Literal["none", "embedded", "huggingface"] = "embedded"
    model_id: str = ""
    model_path: str = ""
    revision: str = ""
    max_length: int = Field(default=0, ge=0)
    """Tokens of a cross-encoder; 0 leaves the model's own limit."""

    @model_validator(mode="after")
    def _complete(self) -> RerankerSettings:
        if self.provider == "huggingface" and not (self.model_id or self.model_path):
            raise ValueError("provider huggingface needs model_id (hub) or model_path (directory)")
        return self
