"""The training loop: it learns, it resumes, it refuses a base it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_world import MODEL, TRAINING, Alone, pair

from alchemy.config import LoraSettings, TrainingSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.causal import CausalGenerator
from alchemy.models.prompts import instruction_prompt
from alchemy.protocols import GenerationRequest
from alchemy.stage import Progress, no_progress
from alchemy.training.lora import Job, Outcome, planned_steps, read_outcome, train


def run(
    base_dir: Path,
    pairs: tuple[Path, Path],
    around: Alone,
    scratch: Path,
    progress: Progress = no_progress,
    **training: object,
) -> Outcome:
    settings = TRAINING.model_copy(update=training)
    return train(Job(base_dir, *pairs, MODEL, settings), around, scratch, progress)


def weights(around: Alone) -> bytes:
    return (around.directory / "adapter_model.safetensors").read_bytes()


def test_training_lowers_the_loss_on_pairs_it_has_not_seen(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    outcome = run(base_dir, pairs, Alone(tmp_path / "kept"), tmp_path, max_steps=40)
    assert outcome.eval_loss < 0.85 * outcome.base_eval_loss
    assert (outcome.steps, outcome.train_pairs, outcome.eval_pairs) == (40, 28, 8)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = Alone(tmp_path / "whole")
    expected = run(base_dir, pairs, whole, tmp_path / "1")
    cut = Alone(tmp_path / "cut", crash_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(base_dir, pairs, cut, tmp_path / "2")
    resumed = Alone(tmp_path / "cut")
    outcome = run(base_dir, pairs, resumed, tmp_path / "3")
    assert resumed.saves == [8, 12]
    assert weights(resumed) == weights(whole)
    assert outcome.eval_loss == expected.eval_loss
    assert outcome.train_loss == pytest.approx(expected.train_loss, abs=1e-5)


def test_a_run_that_died_after_its_last_step_only_reports_again(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    done = Alone(tmp_path / "kept")
    expected = run(base_dir, pairs, done, tmp_path / "1")
    before = weights(done)
    again = Alone(tmp_path / "kept")
    assert run(base_dir, pairs, again, tmp_path / "2") == expected
    assert again.saves == [12]
    assert weights(again) == before


def test_another_seed_gives_another_adapter(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = Alone(tmp_path / "a"), Alone(tmp_path / "b")
    run(base_dir, pairs, first, tmp_path / "1")
    run(base_dir, pairs, second, tmp_path / "2", seed=99)
    assert weights(first) != weights(second)


def test_a_checkpoint_tells_where_training_stands(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    around = Alone(tmp_path / "kept")
    outcome = run(base_dir, pairs, around, tmp_path)
    assert read_outcome(around.directory) == outcome


def test_an_adapted_model_ends_its_answer_where_the_base_runs_on(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    around = Alone(tmp_path / "kept")
    run(base_dir, pairs, around, tmp_path, max_steps=40)
    generator = CausalGenerator(MODEL, base_dir)
    generator.load_adapter("ad-new", around.directory)
    prompt = instruction_prompt(pair(33).instruction)
    drafts = generator.generate(
        [GenerationRequest(prompt, 60, adapter=adapter) for adapter in ("base", "ad-new")]
    )
    assert drafts[0].tokens == 60 > drafts[1].tokens > 0


def test_progress_tells_steps_and_held_out_loss(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    events: list[tuple[str, dict]] = []
    run(base_dir, pairs, Alone(tmp_path / "kept"), tmp_path, lambda e, f: events.append((e, f)))
    steps = [fields for event, fields in events if event == "train.step"]
    assert steps[-1]["step"] == steps[-1]["steps"] == 12
    assert steps[-1].keys() >= {"loss", "eval_loss"}
    assert [f["step"] for event, f in events if event == "train.eval"] == [0, 4, 8, 12]


def test_target_modules_the_base_lacks_are_named_with_those_it_has(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    model = MODEL.model_copy(update={"lora": LoraSettings(target_modules=("q_proj", "c_attn"))})
    with pytest.raises(AlchemyError) as caught:
        train(Job(base_dir, *pairs, model, TRAINING), Alone(tmp_path), tmp_path, no_progress)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert "c_attn" in caught.value.message and "q_proj" not in caught.value.message
    assert "q_proj" in caught.value.remedy and "down_proj" in caught.value.remedy


@pytest.mark.parametrize(("pairs", "steps"), [(10_000, 300), (100, 48), (3, 8), (1, 8)])
def test_few_pairs_are_not_repeated_beyond_the_epochs(pairs: int, steps: int) -> None:
    assert planned_steps(pairs, TrainingSettings(max_steps=300)) == steps


def test_a_rank_beyond_the_smallest_layer_is_refused(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    model = MODEL.model_copy(update={"lora": LoraSettings(r=33)})
    with pytest.raises(AlchemyError) as caught:
        train(Job(base_dir, *pairs, model, TRAINING), Alone(tmp_path / "k"), tmp_path, no_progress)
    assert caught.value.code is ErrorCode.CONFIG_INVALID and "32" in caught.value.message


def test_a_loss_that_is_no_number_stops_before_it_reaches_a_checkpoint(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    around = Alone(tmp_path / "kept")
    with pytest.raises(AlchemyError) as caught:
        run(base_dir, pairs, around, tmp_path, learning_rate=1e30, max_steps=40)
    assert caught.value.code is ErrorCode.STAGE_FAILED and "nan" in caught.value.message
    assert not any(step > 4 for step in around.saves)


@pytest.mark.parametrize("option", ["dora", "rslora"])
def test_the_kinds_of_lora_train_and_are_recorded(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path: Path, option: str
) -> None:
    around = Alone(tmp_path / "kept")
    model = MODEL.model_copy(update={"lora": MODEL.lora.model_copy(update={option: True})})
    outcome = train(Job(base_dir, *pairs, model, TRAINING), around, tmp_path, no_progress)
    assert outcome.eval_loss < outcome.base_eval_loss
    config = json.loads((around.directory / "adapter_config.json").read_text())
    assert config[f"use_{option}"] is True
