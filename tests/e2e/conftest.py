"""The whole system on a slice of the sample company, started once by the real command."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from planted_company import Company

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

SMALL = """
model_c:
  small_llama: {steps: 60, hidden_size: 128, heads: 4, intermediate_size: 352, layers: 2, vocab_size: 2048}
training: {max_steps: 80, batch_size: 8, checkpoint_every: 40, eval_samples: 40}
evaluation: {questions: 40}
"""
"""Smaller numbers only; every component is the real one."""


@dataclass(frozen=True)
class Place:
    """A data directory with its configuration, ports and slice of the samples."""

    root: Path
    env: dict[str, str]

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def data(self) -> Path:
        return Path(self.env["ALCHEMY_DATA"])

    @property
    def scratch(self) -> Path:
        """Where the processes of this place keep their temporary files."""
        return Path(self.env["TMPDIR"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['ALCHEMY_PORT']}"

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one of our console scripts and read its standard output line by line."""
        return subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
        )

    def receipts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Stage → stored receipt of a run in the local lake."""
        found = (self.data / "runs" / run_id).glob("*/receipt.json")
        return {path.parent.name: json.loads(path.read_text()) for path in found}

    @property
    def run_id(self) -> str:
        """The only run of this place."""
        (run,) = (self.data / "runs").iterdir()
        return run.name

    @property
    def first_run(self) -> str:
        """The run that was washed first in this place, after which others may have come."""
        washed = (self.data / "runs").glob("*/wash/receipt.json")
        return min(washed, key=lambda path: path.stat().st_mtime).parents[1].name

    def command(
        self,
        *words: str,
        check: bool = True,
        timeout: float = 900,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of our console scripts as a person would."""
        result = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.root,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(
                f"{words} ended {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result


@dataclass(frozen=True)
class App(Place):
    """A running system."""

    admin_user: str
    admin_password: str
    output: str


def slice_samples(target: Path) -> None:
    """The documents the sample questions are about, and the first part of everything else.

    With planted secrets in every source: whatever a test runs must keep them to itself.
    """
    source = ROOT / "samples"
    questions = [json.loads(line) for line in (source / "questions.jsonl").read_text().splitlines()]
    wanted = {i.split(":", 1)[1] for q in questions for i in q["document_ids"]}
    for path in sorted(p for p in (source / "raw").rglob("*") if p.is_file()):
        to = target / "raw" / path.relative_to(source / "raw")
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl" and path.parent.name != "confluence":
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [
                line
                for number, line in enumerate(lines)
                if number < 100 or any(f'"{word}' in line for word in wanted)
            ]
            to.write_text("".join(kept), encoding="utf-8")
        elif path.parent.name == "jira" and path.suffix == ".json":
            page = json.loads(path.read_text(encoding="utf-8"))
            page["issues"] = page["issues"][:100]
            to.write_text(json.dumps(page), encoding="utf-8")
        else:
            shutil.copyfile(path, to)
    Company().write(target / "raw")
    shutil.copyfile(source / "questions.jsonl", target / "questions.jsonl")


def quiet_port() -> int:
    """A free port that no outgoing connection can take before it is used, minutes later.

    Below the kernel's range for those, above the one of Ray's workers.
    """
    while True:
        with socket.socket() as probe:
            port = random.randint(20_000, 32_000)
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def make_place(root: Path, **environment: str) -> Place:
    """A fresh place with free ports."""
    slice_samples(root / "samples")
    text = (ROOT / "models.yaml").read_text()
    lora = re.search(r"^  lora: .*$", text, re.MULTILINE)
    assert lora is not None
    text = text.replace(
        lora.group(0), lora.group(0) + SMALL.partition("model_c:")[2].partition("\ntraining")[0]
    )
    text += "training" + SMALL.partition("\ntraining")[2]
    (root / "models.yaml").write_text(text)
    (root / "tmp").mkdir()
    env = {
        **os.environ,
        "ALCHEMY_DATA": str(root / "data"),
        "ALCHEMY_CONFIG": str(root / "models.yaml"),
        "ALCHEMY_PORT": str(quiet_port()),
        "ALCHEMY_RAY_PORT": str(quiet_port()),
        "ALCHEMY_DASHBOARD_PORT": str(quiet_port()),
        "TMPDIR": str(root / "tmp"),
        "RAY_TMPDIR": "/tmp",  # its sockets' paths have a short limit
        **environment,
    }
    return Place(root, env)


@pytest.fixture(scope="session")
def new_place() -> Callable[..., Place]:
    """Make another place: `new_place(directory, VARIABLE="…")`."""
    return make_place


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """`alchemy demo` on the slice, left running."""
    place = make_place(tmp_path_factory.mktemp("company"))
    try:
        output = place.command("alchemy", "demo", "--samples", str(place.samples)).stdout
        password = re.search(r"sign in as +admin / (\S+)", output)
        assert password is not None, output
        yield App(place.root, place.env, "admin", password.group(1), output)
    finally:
        place.command("alchemy", "down", check=False)
