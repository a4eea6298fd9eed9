"""The git command, run so that a foreign repository can neither run programs nor reach a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from alchemy.errors import AlchemyError, ErrorCode

_SAFE = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0"),
    *("-c", "core.attributesFile=/dev/null", "-c", "maintenance.auto=false"),
    # what is larger counts as binary: a diff of it would be held in memory
    *("-c", "core.bigFileThreshold=16m", "-c", "pack.threads=1", "-c", "color.ui=false"),
)
_PIECE = 1 << 18


class GitFailed(Exception):
    """Git ended with an error; the message is its own, for a person at the keyboard."""


def run_git(where: Path, *arguments: str) -> str:
    """What a git command prints.

    Raises:
        GitFailed: it ended with an error.
        AlchemyError: git is not installed.
    """
    done = subprocess.run(
        _command(where, arguments),
        env=_environment(where),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise GitFailed(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout.decode("utf-8", "replace")


@contextmanager
def git_output(where: Path, arguments: Sequence[str], given: str) -> Iterator[Iterator[bytes]]:
    """What a git command prints, in pieces; `given` is its standard input.

    Raises:
        GitFailed: when the pieces are exhausted and it ended with an error.
    """
    process = subprocess.Popen(
        _command(where, arguments),
        env=_environment(where),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    output = process.stdout

    def pieces() -> Iterator[bytes]:
        while piece := output.read(_PIECE):
            yield piece
        if process.wait():
            raise GitFailed(f"git {arguments[0]} ended with status {process.returncode}")

    try:
        try:
            process.stdin.write(given.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early: its status says why
        yield pieces()
    finally:
        if process.poll() is None:
            process.kill()
        output.close()
        process.wait()


def _command(where: Path, arguments: Sequence[str]) -> list[str]:
    git = shutil.which("git")
    if git is None:
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            "the git command is not installed",
            "Install git: it reads the repositories in raw/git_pr.",
        )
    return [git, *_SAFE, "-C", str(where), *arguments]


def _environment(where: Path) -> Mapping[str, str]:
    """Nothing of the user's git settings, and no way out of this machine."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(where),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
    }
