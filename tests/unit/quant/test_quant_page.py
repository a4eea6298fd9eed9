"""The page of a validation: what it shows, and that nothing of a table can break out of it."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from alchemy.quant.page import histogram
from alchemy.quant.profile import describe
from alchemy.quant.stage import Baseline


class Tags(HTMLParser):
    """Collects tags in order, and complains about unbalanced ones."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


def tags_of(page: str) -> list[str]:
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    return parser.found


@pytest.mark.parametrize("values", ["normal", "counts", "few"])
def test_a_histogram_of_the_sketch_is_that_of_the_data(rng, values):
    data = {
        "normal": rng.normal(3, 2, 5000),
        "counts": rng.poisson(1.5, 5000).astype(float),
        "few": np.array([1.0, 1.0, 2.0, 5.0]),
    }[values]
    edges = np.linspace(data.min() - 0.5, data.max() + 0.5, 9)
    drawn = histogram(describe(np.sort(data), len(data)), edges)
    assert drawn.sum() == pytest.approx(1.0)
    real = np.histogram(data, edges)[0] / len(data)
    np.testing.assert_allclose(drawn, real, atol=1e-9 if values == "few" else 0.03)


def test_both_distributions_are_drawn_and_the_most_changed_column_comes_first(quant, rng):
    steady = rng.normal(size=400)
    before = quant({"steady": steady, "moved": rng.normal(size=400)})
    baseline = Baseline(before.profile, "the live release")
    after = quant(
        {"steady": steady, "moved": rng.normal(size=400) + 0.6},
        {"psi_stop": 9.0},
        baseline=baseline,
    )
    page = (after.directory / "report.html").read_text()
    assert page.index("<td>moved</td>") < page.index("<td>steady</td>")
    assert "class='before'" in page and "class='now'" in page
    assert "class='verdict warn'" in page
    assert tags_of(page).count("svg") == 2
    first = (before.directory / "report.html").read_text()
    assert "class='before'" not in first and "first run" in first


def test_names_are_text_and_no_markup(quant, rng):
    name = "<script>alert('x')</script> & \"more\""
    result = quant({name: rng.normal(size=50), "same": np.ones(50)})
    page = (result.directory / "report.html").read_text()
    assert "script" not in tags_of(page)
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
