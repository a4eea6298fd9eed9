"""The stage graph over a real local lake; stages are small functions that write real files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from alchemy import pipeline
from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Receipt, digest_of


class Company:
    """Runners that write one file each and count how often they worked."""

    def __init__(self, root: Path) -> None:
        self.lake = LocalLake(root)
        self.worked: list[str] = []
        self.content = {stage.name: stage.name for stage in pipeline.STAGES}
        self.broken: set[str] = set()

    def runner(self, name: str) -> Callable[[], Receipt]:
        def work() -> Receipt:
            if name in self.broken:
                raise AlchemyError(ErrorCode.STAGE_FAILED, f"{name} broke")
            self.worked.append(name)
            data = self.content[name].encode()
            key = f"out/{name}"
            self.lake.write(key, data)
            files = {key: hashlib.sha256(data).hexdigest()}
            return Receipt("r", name, "out", 1, len(data), digest_of(files), (), {}, 0.0, files)

        return work

    def run(self, *targets: str) -> pipeline.RunReport:
        self.worked.clear()
        runners = {stage.name: self.runner(stage.name) for stage in pipeline.STAGES}
        return pipeline.run(self.lake, "r", targets, runners, lambda *_: None)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path)


def test_a_full_run_does_every_stage_once_after_what_it_needs(company: Company) -> None:
    report = company.run("release")
    assert report.status == "succeeded"
    stages = pipeline.closure(["release"])
    assert sorted(company.worked) == sorted(stage.name for stage in stages)
    for stage in stages:
        for need in stage.needs:
            assert company.worked.index(need) < company.worked.index(stage.name)


def test_a_second_run_reuses_every_receipt_and_only_republishes(company: Company) -> None:
    company.run("release")
    report = company.run("release")
    assert company.worked == ["release"]
    assert set(report.reused) == {s.name for s in pipeline.closure(["release"])} - {"release"}


def test_a_refresh_indexes_and_trains_nothing(company: Company) -> None:
    company.run("refresh")
    assert set(company.worked) == {"wash", "quant", "index", "refresh"}


def test_after_a_failure_the_next_run_resumes_there(company: Company) -> None:
    company.broken = {"train"}
    with pytest.raises(AlchemyError, match="train broke"):
        company.run("release")
    assert b'"failed"' in company.lake.read("runs/r/report.json")
    company.broken = set()
    company.run("release")
    # "tune" may have run beside the failing stage
    assert {*company.worked, "tune"} == {"train", "tune", "evaluate", "release"}


def test_a_stage_beside_a_failing_one_keeps_its_receipt(company: Company) -> None:
    company.broken = {"base"}
    with pytest.raises(AlchemyError, match="base broke"):
        company.run("release")
    company.broken = set()
    before = set(company.worked)
    company.run("release")
    assert before.isdisjoint(set(company.worked) - {"release"})


def test_damaged_or_missing_output_is_made_again(company: Company) -> None:
    company.run("refine")
    company.lake.write("out/wash", b"damaged")
    company.run("refine")
    assert company.worked == ["wash"]  # same bytes again: what follows still holds
    company.lake.delete("out/quant")
    company.run("refine")
    assert company.worked == ["quant"]


def test_changed_output_makes_everything_after_it_again(company: Company) -> None:
    company.run("refine")
    company.lake.delete("out/wash")
    company.content["wash"] = "different"
    company.run("refine")
    assert company.worked == ["wash", "quant", "refine"]


def test_an_unknown_stage_is_refused(company: Company) -> None:
    with pytest.raises(AlchemyError) as caught:
        company.run("polish")
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_run_is_named_by_data_and_shaping_settings_only() -> None:
    settings = load_settings("models.yaml", {})
    name = pipeline.run_identity("d", settings)

    def changed(section: str, **values: Any) -> str:
        part = getattr(settings, section).model_copy(update=values)
        return pipeline.run_identity("d", settings.model_copy(update={section: part}))

    assert pipeline.run_identity("e", settings) != name
    assert changed("cleaning", chunk_tokens=99) != name
    assert changed("serving", port=1234) == name
    assert changed("model_d", api_key=SecretStr("secret")) == name
