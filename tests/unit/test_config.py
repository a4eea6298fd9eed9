from pathlib import Path

import pytest

from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode


def write(path: Path, text: str) -> Path:
    file = path / "models.yaml"
    file.write_text(text)
    return file


def refusal(file: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(AlchemyError) as caught:
        load_settings(file, environ or {})
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.code.exit_code == 2
    return str(caught.value)


def test_the_shipped_file_needs_no_environment() -> None:
    settings = load_settings("models.yaml", {})
    assert settings.model_c.provider == "embedded"
    assert settings.redis.url == ""


def test_variables_and_defaults_are_expanded(tmp_path: Path) -> None:
    file = write(
        tmp_path, "lake: {s3_bucket: '${B}', root: '${R:-./here}'}\nserving: {port: '${P:-81}'}"
    )
    settings = load_settings(file, {"B": "bucket", "R": ""})
    assert (settings.lake.s3_bucket, settings.lake.root, settings.serving.port) == (
        "bucket",
        str(Path("here").absolute()),
        81,
    )


def test_an_unknown_key_names_file_key_and_the_nearest_known_one(tmp_path: Path) -> None:
    file = write(tmp_path, "model_c:\n  lora: {rank: 8, alhpa: 1}\n")
    text = refusal(file)
    assert str(file) in text and "model_c.lora." in text
    text = refusal(write(tmp_path, "model_c: {lora: {alhpa: 1}}"))
    assert "'model_c.lora.alhpa'" in text and "'alpha'" in text


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, "redis: {url: '${MY_REDIS}'}"))
    assert "MY_REDIS" in text and "redis.url" in text


def test_a_wrong_type_names_the_key(tmp_path: Path) -> None:
    assert "training.max_steps" in refusal(write(tmp_path, "training: {max_steps: many}"))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert "models.yaml:2" in refusal(write(tmp_path, "lake: {root: a}\nredis: {url: [}\n"))


def test_a_missing_file_is_named() -> None:
    assert "nowhere.yaml" in refusal(Path("nowhere.yaml"))


def test_production_without_a_secret_does_not_start(tmp_path: Path) -> None:
    file = write(tmp_path, "environment: production\n")
    assert "ALCHEMY_JWT_SECRET" in refusal(file)


def test_a_provider_without_its_model_is_refused(tmp_path: Path) -> None:
    assert "model_id" in refusal(write(tmp_path, "model_b: {provider: huggingface}"))
    assert "base_url" in refusal(write(tmp_path, "model_d: {provider: openai, model_id: x}"))


def test_secrets_do_not_appear_in_representations(tmp_path: Path) -> None:
    file = write(tmp_path, "serving: {jwt_secret: '${S}'}\nmodel_a: {api_key: '${S}'}")
    assert "hunter2" not in repr(load_settings(file, {"S": "hunter2"}))


def test_databases_are_configured_with_secret_urls(tmp_path: Path) -> None:
    text = "sources: {databases: [{name: shop, url: 'postgresql://u:${P}@h/d', acl: [sales]}]}"
    settings = load_settings(write(tmp_path, text), {"P": "hunter2"})
    (database,) = settings.sources.databases
    assert database.url.get_secret_value() == "postgresql://u:hunter2@h/d"
    assert "hunter2" not in repr(settings)
    assert database.acl == ("sales",)


def test_a_wrong_database_entry_names_its_key(tmp_path: Path) -> None:
    text = "sources: {databases: [{name: a, url: 'sqlite:///x', exclud: [t]}]}"
    said = refusal(write(tmp_path, text))
    assert "'sources.databases.0.exclud'" in said and "'exclude'" in said
    twice = "sources: {databases: [{name: a, url: x}, {name: a, url: y}]}"
    assert "same name" in refusal(write(tmp_path, twice))
    assert "sources.databases.0.name" in refusal(
        write(tmp_path, "sources: {databases: [{name: ../a, url: x}]}")
    )
