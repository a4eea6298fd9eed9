"""The composition root: the only place that knows which deployments there are.

`build` is the import path for Serve's own configuration files (`deployments.app:build`);
`build_app` is what `alchemy up` runs.
"""

from __future__ import annotations

from typing import Any

from ray import serve

from alchemy.config import Settings, load_settings
from deployments.finalist import Finalist
from deployments.gateway import Gateway
from deployments.generator import Generator
from deployments.knowledge import Knowledge

_OPTIONS: dict[str, dict[str, Any]] = {
    # CPU shares leave room for a pipeline beside the service on a two-core machine
    "gateway": {"num_cpus": 0.1},
    "knowledge": {"num_cpus": 0.3},
    "generator": {"num_cpus": 0.3},
    "finalist": {"num_cpus": 0.2},
}
_SOCKETS = 4096
"""Open WebSockets hold a Serve request each, idle or not; work is bounded by `Admission`."""


def build(args: dict[str, str]) -> serve.Application:
    """The application, from `args["config"]` or the configuration found as usual."""
    return build_app(load_settings(args.get("config")))


def build_app(settings: Settings) -> serve.Application:
    """The application: a gateway over knowledge, generator and finalist."""
    inner = {
        "max_ongoing_requests": settings.serving.max_ongoing,
        "max_queued_requests": settings.serving.max_queued,
    }
    knowledge = Knowledge.options(**_options("knowledge", settings), **inner).bind(settings)
    generator = Generator.options(**_options("generator", settings), **inner).bind(settings)
    finalist = Finalist.options(**_options("finalist", settings), **inner).bind(settings, knowledge)
    gateway = Gateway.options(**_options("gateway", settings), max_ongoing_requests=_SOCKETS)
    return gateway.bind(settings, knowledge, generator, finalist)


def _options(name: str, settings: Settings) -> dict[str, Any]:
    return {
        "num_replicas": settings.serving.replicas,
        "ray_actor_options": _OPTIONS[name],
        "graceful_shutdown_timeout_s": 10,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
    }
