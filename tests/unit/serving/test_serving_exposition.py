"""Joining the metrics of several Ray nodes."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from alchemy.serving.exposition import merge

NODE = """# HELP ray_alchemy_batch_size Requests that shared one batch.
# TYPE ray_alchemy_batch_size histogram
ray_alchemy_batch_size_bucket{{Component="core_worker",NodeAddress="{node}",WorkerId="{worker}",le="1.0",otel_scope_name="x",part="draft"}} 3.0
ray_alchemy_batch_size_bucket{{Component="core_worker",NodeAddress="{node}",WorkerId="{worker}",le="+Inf",otel_scope_name="x",part="draft"}} 4.0
ray_alchemy_batch_size_count{{Component="core_worker",NodeAddress="{node}",WorkerId="{worker}",otel_scope_name="x",part="draft"}} 4.0
ray_alchemy_batch_size_sum{{Component="core_worker",NodeAddress="{node}",WorkerId="{worker}",otel_scope_name="x",part="draft"}} 9.0
# HELP ray_serve_num_http_requests_total Requests.
# TYPE ray_serve_num_http_requests_total counter
ray_serve_num_http_requests_total{{NodeAddress="{node}",route="/"}} 7.0
# HELP ray_serve_controller_num_control_loops Loops.
# TYPE ray_serve_controller_num_control_loops gauge
ray_serve_controller_num_control_loops{{NodeAddress="{node}"}} 1.0
# HELP ray_node_cpu_count Cpus.
# TYPE ray_node_cpu_count gauge
ray_node_cpu_count{{NodeAddress="{node}"}} 2.0
"""


def lines(*texts: str) -> list[str]:
    return merge(texts).decode().splitlines()


def test_each_family_is_there_once_with_the_series_of_every_node() -> None:
    merged = lines(NODE.format(node="a", worker="1"), NODE.format(node="b", worker="2"))
    assert merged.count("# TYPE alchemy_batch_size histogram") == 1
    counts = [line for line in merged if line.startswith("alchemy_batch_size_count")]
    assert counts == [
        'alchemy_batch_size_count{NodeAddress="a",WorkerId="1",part="draft"} 4.0',
        'alchemy_batch_size_count{NodeAddress="b",WorkerId="2",part="draft"} 4.0',
    ]


def test_only_our_families_and_chosen_ones_of_serve_leave() -> None:
    families = {
        f.name
        for f in text_string_to_metric_families(
            "\n".join(lines(NODE.format(node="a", worker="1"))) + "\n"
        )
    }
    assert families == {"alchemy_batch_size", "ray_serve_num_http_requests"}


def test_series_that_differ_only_in_plumbing_are_added_up() -> None:
    text = "# HELP ray_alchemy_x_total n\n# TYPE ray_alchemy_x_total counter\n" + "".join(
        f'ray_alchemy_x_total{{JobId="{job}",path="/"}} {value}\n'
        for job, value in (("1", 2), ("2", 3))
    )
    assert 'alchemy_x_total{path="/"} 5.0' in lines(text)


def test_of_a_gauge_the_last_value_counts() -> None:
    text = "# HELP ray_alchemy_g n\n# TYPE ray_alchemy_g gauge\n"
    assert "alchemy_g 3.0" in lines(text + "ray_alchemy_g 2\n", text + "ray_alchemy_g 3\n")


def test_label_values_survive_whatever_is_in_them() -> None:
    value = 'a\\"b\\\\c\\nd'
    text = f'# HELP ray_alchemy_x n\n# TYPE ray_alchemy_x gauge\nray_alchemy_x{{q="{value}"}} 1\n'
    (line,) = [line for line in lines(text) if line.startswith("alchemy_x{")]
    assert line == f'alchemy_x{{q="{value}"}} 1.0'


def test_no_nodes_are_an_empty_exposition() -> None:
    assert merge([]) == b""


def test_a_text_that_is_no_exposition_is_an_error() -> None:
    with pytest.raises(ValueError):
        merge(["ray_alchemy_x{oops 1\n"])
