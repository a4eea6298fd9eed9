"""One Prometheus exposition from those of many Ray nodes.

Ray prefixes every metric with `ray_` and adds labels about its own plumbing. What leaves here has
our names (`alchemy_…`), a few families of Ray Serve, and each family once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

SERVE_FAMILIES = frozenset(
    {
        "ray_serve_actual_batch_size",
        "ray_serve_batch_execution_time_ms",
        "ray_serve_batch_wait_time_ms",
        "ray_serve_batches_processed",
        "ray_serve_deployment_error_counter",
        "ray_serve_deployment_processing_latency_ms",
        "ray_serve_deployment_queued_queries",
        "ray_serve_deployment_replica_healthy",
        "ray_serve_deployment_replica_starts",
        "ray_serve_deployment_request_counter",
        "ray_serve_health_check_failures",
        "ray_serve_http_request_latency_ms",
        "ray_serve_num_http_error_requests",
        "ray_serve_num_http_requests",
        "ray_serve_num_ongoing_http_requests",
        "ray_serve_replica_processing_queries",
    }
)
"""Families of Ray Serve that say how the service does; everything else stays on Ray's own port."""

_PLUMBING = frozenset(
    {
        "otel_scope_name",
        "otel_scope_version",
        "otel_scope_schema_url",
        "SessionName",
        "Version",
        "Component",
        "JobId",
    }
)

_Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def merge(texts: Iterable[str]) -> bytes:
    """Join the expositions of several nodes.

    Series that differ only in dropped labels are added up; of a gauge the last one counts.

    Raises:
        ValueError: a text is not in the Prometheus format.
    """
    families: dict[str, tuple[Metric, _Series]] = {}
    for text in texts:
        for family in text_string_to_metric_families(_wanted(text)):
            name = _renamed(family.name)
            head, series = families.setdefault(
                name, (Metric(name, family.documentation, family.type), {})
            )
            for sample in family.samples:
                labels = tuple(sorted(i for i in sample.labels.items() if i[0] not in _PLUMBING))
                key = (_renamed(sample.name), labels)
                add = key in series and head.type != "gauge"
                series[key] = series[key] + sample.value if add else sample.value
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed([_filled(*families[name]) for name in sorted(families)]))
    return generate_latest(registry)


def _wanted(text: str) -> str:
    """Only the lines that stay: a Ray node exposes megabytes, and parsing all of it is slow."""
    return "".join(f"{line}\n" for line in text.splitlines() if _keeps(line))


def _keeps(line: str) -> bool:
    name = line.split(" ", 3)[2] if line.startswith(("# HELP ", "# TYPE ")) else line
    if name.startswith(("ray_alchemy_", "alchemy_")):
        return True
    if not name.startswith("ray_serve_"):
        return False
    stem = name.partition("{")[0].partition(" ")[0]
    for suffix in ("", "_total", "_bucket", "_sum", "_count"):
        if stem.endswith(suffix) and stem.removesuffix(suffix) in SERVE_FAMILIES:
            return True
    return False


def _renamed(name: str) -> str:
    return name.removeprefix("ray_") if name.startswith("ray_alchemy_") else name


def _filled(head: Metric, series: _Series) -> Metric:
    for (name, labels), value in series.items():
        head.add_sample(name, dict(labels), value)
    return head


class _Fixed(Collector):
    """A collector over finished families."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
