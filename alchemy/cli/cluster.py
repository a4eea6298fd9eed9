"""Connecting a command to Ray, and deploying the Serve application."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from alchemy.cli.processes import State, ensure_ray, ensure_redis, ray_environment
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode

APPLICATION = "alchemy"


@contextmanager
def ray_cluster(settings: Settings, state: State) -> Iterator[None]:
    """Be connected to Ray: the configured cluster, that of `alchemy up`, or one of our own.

    Inside `ray job submit` Ray's own `RAY_ADDRESS` names the cluster.
    """
    address = settings.ray.address
    if state.alive("ray"):
        own = f"127.0.0.1:{state.data['ray']['port']}"
        address = address or own
        if address == own:  # read when Ray is imported
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "://" in address and not address.startswith("ray://"):
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"ray.address {address!r} is a dashboard's address",
            "Set RAY_ADDRESS to the head's host:port; for `ray job submit` use --address.",
        )
    if not address:
        os.environ.update(ray_environment())
    import ray

    try:
        ray.init(
            address=address or "local",
            namespace=settings.ray.namespace,
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=True,
            **(
                {}
                if address
                else {
                    "num_cpus": max(4, os.cpu_count() or 1),
                    "object_store_memory": settings.ray.object_store_mb * 2**20,
                    "include_dashboard": False,
                }
            ),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise AlchemyError(
            ErrorCode.NOT_READY,
            f"cannot connect to the Ray cluster at {address or 'this machine'}: {error}",
            "Check RAY_ADDRESS (and RAY_AUTH_TOKEN), or run `alchemy up`.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def complete(settings: Settings, state: State) -> Settings:
    """Settings with what `alchemy up` generated filled in: private Redis, signing secret."""
    url = ensure_redis(settings, state)
    secret = settings.serving.jwt_secret.get_secret_value() or state.secret("jwt")
    serving = settings.serving.model_copy(update={"jwt_secret": SecretStr(secret)})
    redis = settings.redis.model_copy(update={"url": url})
    return settings.model_copy(update={"serving": serving, "redis": redis})


def start_cluster(settings: Settings, state: State, config: str | None = None) -> Settings:
    """Redis and Ray running; settings completed with their addresses."""
    completed = complete(settings, state)
    address = ensure_ray(settings, state, config)
    ray = completed.ray.model_copy(update={"address": address})
    return completed.model_copy(update={"ray": ray})
