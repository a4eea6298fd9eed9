"""`models.yaml` + environment → typed settings, validated once.

The environment enters only through `${VAR}` and `${VAR:-default}` inside the file, so the file shows
every setting there is. Unknown keys, wrong types and missing variables are errors that name the
file, the key and the remedy.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.model_settings import (
    CausalModelSettings,
    LoraSettings,
    ModelSettings,
    ReaderSettings,
    RerankerSettings,
    ScorerSettings,
    SmallLlamaSettings,
)
from alchemy.settings import (
    ArchiveSettings,
    BoilerplateSettings,
    CleaningSettings,
    DatabaseSource,
    EvaluationSettings,
    FilterSettings,
    IndexingSettings,
    LakeSettings,
    LimitSettings,
    NerSettings,
    QualitySignal,
    QuantSettings,
    RaySettings,
    RedisSettings,
    RetrievalSettings,
    ServingSettings,
    Settings,
    SourcesSettings,
    SparkSettings,
    SyncSettings,
    SynthesisSettings,
    TrainingSettings,
    TuningSettings,
)

__all__ = [
    "ArchiveSettings",
    "BoilerplateSettings",
    "CausalModelSettings",
    "CleaningSettings",
    "DatabaseSource",
    "EvaluationSettings",
    "FilterSettings",
    "IndexingSettings",
    "LakeSettings",
    "LimitSettings",
    "LoraSettings",
    "ModelSettings",
    "NerSettings",
    "QualitySignal",
    "QuantSettings",
    "RaySettings",
    "ReaderSettings",
    "RedisSettings",
    "RerankerSettings",
    "RetrievalSettings",
    "ScorerSettings",
    "ServingSettings",
    "Settings",
    "SmallLlamaSettings",
    "SourcesSettings",
    "SparkSettings",
    "SyncSettings",
    "SynthesisSettings",
    "TrainingSettings",
    "TuningSettings",
    "find_models_yaml",
    "load_settings",
]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def find_models_yaml(explicit: str | None = None) -> Path:
    """The configuration file: argument, `ALCHEMY_CONFIG`, `./models.yaml`, the one shipped."""
    if explicit or (explicit := os.environ.get("ALCHEMY_CONFIG")):
        path = Path(explicit)
        if not path.is_file():
            raise AlchemyError(
                ErrorCode.CONFIG_INVALID,
                f"configuration file {explicit!r} does not exist",
                "Give an existing file with --config or ALCHEMY_CONFIG.",
            )
        return path
    package = Path(__file__).resolve().parent
    candidates = (Path("models.yaml"), package / "models.yaml", package.parent / "models.yaml")
    for path in candidates:
        if path.is_file():
            return path
    raise AlchemyError(
        ErrorCode.CONFIG_INVALID,
        "no models.yaml found",
        "Run from a directory that has one, or set ALCHEMY_CONFIG.",
    )


def load_settings(
    path: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read, expand and validate the configuration.

    Args:
        path: file to read; None searches as `find_models_yaml`.
        environ: variables for `${VAR}`; None uses the process environment.

    Raises:
        AlchemyError: CONFIG_INVALID naming file, line or key, and remedy.
    """
    file = find_models_yaml(str(path) if path else None)
    variables = os.environ if environ is None else environ
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AlchemyError(ErrorCode.CONFIG_INVALID, f"cannot read {file}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID, f"{where}: {problem}", "Mend the YAML syntax there."
        ) from error
    if raw is not None and not isinstance(raw, dict):
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID, f"{file}: the top level must be a mapping of sections"
        )
    expanded = _expand(raw or {}, variables, str(file), "")
    try:
        return Settings.model_validate(expanded)
    except ValidationError as error:
        raise _readable(file, error) from error


def _expand(node: Any, variables: Mapping[str, str], file: str, key: str) -> Any:
    if isinstance(node, dict):
        pairs = node.items()
        return {k: _expand(v, variables, file, f"{key}.{k}".lstrip(".")) for k, v in pairs}
    if isinstance(node, list):
        return [_expand(v, variables, file, f"{key}[{i}]") for i, v in enumerate(node)]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        if name in variables and (variables[name] or default is None):
            return variables[name]
        if default is None:
            raise AlchemyError(
                ErrorCode.CONFIG_INVALID,
                f"{file}: {key} needs the environment variable {name}",
                f"Set {name}, or write ${{{name}:-default}}.",
            )
        return default

    return _VARIABLE.sub(value, node)


def _readable(file: Path, error: ValidationError) -> AlchemyError:
    """The first problem as `file: key: reason`, with the nearest known key for an unknown one."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] != "extra_forbidden":
        reason = str(first["msg"]).removeprefix("Value error, ")
        return AlchemyError(
            ErrorCode.CONFIG_INVALID, f"{file}: {key or 'settings'}: {reason}{more}"
        )
    section: Any = Settings
    for part in first["loc"][:-1]:
        # an item of a list has the type inside `tuple[…, ...]`
        if isinstance(part, int):
            section = get_args(section)[0]
        else:
            section = section.model_fields[part].annotation
    unknown = str(first["loc"][-1])
    known = sorted(section.model_fields)
    near = difflib.get_close_matches(unknown, known, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
    return AlchemyError(ErrorCode.CONFIG_INVALID, f"{file}: unknown key {key!r}{more}", remedy)
