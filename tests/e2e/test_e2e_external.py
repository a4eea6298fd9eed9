"""The same loop with S3, Redis and Ray as servers that were started separately."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import alchemy
from alchemy.cli.processes import free_port, ray_environment
from alchemy.config import LakeSettings
from alchemy.stores import open_lake


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`ray start --head` by hand, as an operator would; yields what a client of it exports."""
    port, dashboard = free_port(), free_port()
    # started away from the checkout: nothing may depend on the head's working directory
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *(f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=4"),
            *(f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"),
            *(f"--ray-client-server-port={free_port()}", f"--object-store-memory={300 * 2**20}"),
        ],
        cwd=tmp_path,
        env={**ray_environment(), "PYTHONSAFEPATH": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{dashboard}/", timeout=2)
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "token"}
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.timeout(1500)
def test_the_loop_runs_on_s3_redis_and_ray_of_others(
    new_place: Callable[..., Any],
    ray_head: dict[str, str],
    redis_url: str,
    s3_settings: LakeSettings,
    tmp_path: Path,
) -> None:
    place = new_place(
        tmp_path,
        S3_ENDPOINT=s3_settings.s3_endpoint,
        S3_BUCKET=s3_settings.s3_bucket,
        S3_PREFIX="external",
        AWS_ACCESS_KEY_ID=s3_settings.s3_access_key.get_secret_value(),
        AWS_SECRET_ACCESS_KEY=s3_settings.s3_secret_key.get_secret_value(),
        REDIS_URL=redis_url,
        **ray_head,
    )
    place.command("alchemy", "lake", "upload", str(place.samples / "raw"))
    place.command("data-alchemy", "full-cycle")
    lake = open_lake(s3_settings.model_copy(update={"s3_prefix": "external"}))
    (receipt,) = [i.key for i in lake.list("runs/") if i.key.endswith("/release/receipt.json")]
    release = json.loads(lake.read(receipt))["uri"]
    assert lake.exists(release)
    try:
        started = place.command("alchemy", "up", "--json").stdout
        password = json.loads(started.strip().splitlines()[-1])["password"]
        sample = json.loads((place.samples / "questions.jsonl").read_text().splitlines()[0])
        with alchemy.connect(place.url, user="admin", password=password) as client:
            answer = client.chat(sample["question"])
        assert {c.document_id for c in answer.citations} & set(sample["document_ids"])
        assert release == f"releases/{answer.release}.json"
    finally:
        place.command("alchemy", "down", check=False)
    local = {p.name for p in place.data.iterdir()} if place.data.exists() else set()
    assert local <= {"run", "cache"}, "only machine state is kept beside an S3 lake"
