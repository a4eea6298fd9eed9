"""Real servers that tests of every kind share, each started once per session."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest
from servers import redis_process, server_process

from alchemy.cli.processes import free_port
from alchemy.config import LakeSettings


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis that lives as long as the session."""
    port = free_port()
    with redis_process(tmp_path_factory.mktemp("redis"), port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeSettings]:
    """A lake on a real S3 server over HTTP, with an empty bucket."""
    import boto3

    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server_process(command, tmp_path_factory.mktemp("s3") / "moto.log", ready):
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        ).create_bucket(Bucket="alchemy")
        yield LakeSettings.model_validate(
            {
                "s3_endpoint": endpoint,
                "s3_bucket": "alchemy",
                "s3_access_key": "test",
                "s3_secret_key": "test",
            }
        )
