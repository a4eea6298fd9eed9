"""The validation as a page: verdict, findings, and each column before and now, side by side.

One file without scripts or addresses: it can be mailed, and opens from the lake as it is.
Histograms are drawn from the profiles' sketches (a value at every 2 %), not from the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from alchemy.quant.profile import Numbers, Profile

BINS = 24
_WIDTH, _HEIGHT = 240, 56
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #667085; --line: #d8dee9; --back: #fff;
  --now: #2f6fde; --before: #9aa5b8; --pass: #1a7f4b; --warn: #a15c00; --stop: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf2; --soft: #98a2b3; --line: #344054;
  --back: #12161f; --now: #6ea0ff; --before: #667085; --pass: #4cc38a; --warn: #f0a94a;
  --stop: #ff8078; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
th { color: var(--soft); font-weight: 600; } td.number { text-align: right;
  font-variant-numeric: tabular-nums; }
.pass { color: var(--pass); } .warn { color: var(--warn); } .stop { color: var(--stop); }
.verdict { font-weight: 600; } svg { display: block; } .soft { color: var(--soft); }
.now { fill: var(--now); } .before { fill: var(--before); } .axis { stroke: var(--line); }
.trend { fill: none; stroke: var(--now); stroke-width: 2; }
"""


def report_page(
    report: Mapping[str, Any],
    profile: Profile,
    before: Profile | None,
    history: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page of one validation.

    Args:
        report: `report.json` of the same validation.
        before: profile it was compared with; None: only what there is now is drawn.
        history: of the released runs and this one, oldest first, see `trends.with_run`.
    """
    validation = report["validation"]
    verdict = str(validation["verdict"])
    parts = [
        f"<h1>{escape(str(report['table']))}</h1>",
        f"<p><span class='verdict {verdict}'>{verdict}</span> · {report['rows']:,} rows · "
        f"contract {escape(str(validation['contract']))} · compared with "
        f"{escape(str(validation['baseline'] or 'nothing: this is the first run'))}</p>",
        *_listed("Contract", (_finding(f) for f in validation["findings"])),
        *_listed("Changes of sources", (escape(w) for w in validation["warnings"])),
        *_listed("Not tested for drift", (escape(w) for w in validation["not_tested"])),
        *_listed("Read differently than written", _changed(report)),
        _columns(validation["drift"], profile, before),
        _history(history),
    ]
    title = escape(f"Quant report: {report['table']}")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def histogram(numbers: Numbers, edges: np.ndarray) -> np.ndarray:
    """Share of the values in each bin, float64[len(edges) - 1], by the sketch.

    Where most distinct values are cuts, values count at the next cut; else they count as evenly
    spread between two.
    """
    if not numbers.cuts:
        return np.zeros(len(edges) - 1)
    cuts, shares = np.array(numbers.cuts), np.array(numbers.cumulative)
    if numbers.n_unique <= 2 * len(cuts):
        below = np.searchsorted(cuts, edges, side="left")
        below[-1] = len(cuts)  # the last bin holds its upper edge
        return np.diff(np.append(0.0, shares)[below])
    # a cut holds the values equal to it: its step stands just before it
    left = np.nextafter(cuts[0], -np.inf)
    up_to = np.interp(edges, np.append(left, cuts), np.append(0.0, shares), left=0.0, right=1.0)
    return np.diff(up_to)


def _columns(drift: Sequence[Mapping[str, Any]], profile: Profile, before: Profile | None) -> str:
    judged = {(d["source"], d["column"]): d for d in drift}
    rows: list[tuple[float, str]] = []
    for name, column in profile.numbers().items():
        old = before.columns[name].by_source if before and name in before.columns else {}
        for source, now in column.by_source.items():
            found = judged.get((source, name))
            psi = float(found["psi"]) if found else -1.0
            rows.append((psi, _row(source, name, now, old.get(source), found)))
    rows.sort(key=lambda row: -row[0])
    if not rows:
        return "<p class='soft'>The table has no numbers.</p>"
    legend = "grey before, blue now" if before else "now"
    head = "".join(
        f"<th>{label}</th>"
        for label in ("column", "source", "values", "null", "PSI", "KS", "adjusted p", "", legend)
    )
    body = "".join(row for _, row in rows)
    return f"<h2>Columns, the most changed first</h2><table><tr>{head}</tr>{body}</table>"


def _row(
    source: str, name: str, now: Numbers, before: Numbers | None, drift: Mapping[str, Any] | None
) -> str:
    verdict = str(drift["verdict"]) if drift else ""
    nulls = f"{now.null_share:.1%}"
    if before is not None and abs(before.null_share - now.null_share) >= 0.0005:
        nulls = f"{before.null_share:.1%} → {nulls}"
    figures = (
        (f"{drift['psi']:.3f}", f"{drift['ks']:.3f}", f"{drift['p_adjusted']:.2g}")
        if drift
        else ("–", "–", "–")
    )
    cells = "".join(f"<td class='number'>{figure}</td>" for figure in (f"{now.count:,}", nulls))
    tests = "".join(f"<td class='number'>{figure}</td>" for figure in figures)
    return (
        f"<tr><td>{escape(name)}</td><td>{escape(source)}</td>{cells}{tests}"
        f"<td class='verdict {verdict}'>{verdict}</td><td>{_drawn(name, now, before)}</td></tr>"
    )


def _drawn(name: str, now: Numbers, before: Numbers | None) -> str:
    """Both histograms on the same bins; the outer percent of each side is drawn in the last bin."""
    both = [numbers for numbers in (before, now) if numbers is not None and numbers.count]
    if not both:
        return ""
    low = min(numbers.quantiles["p01"] for numbers in both)
    high = max(numbers.quantiles["p99"] for numbers in both)
    if low == high:
        return f"<span class='soft'>always {low:g}</span>"
    if not np.isfinite(high - low):
        return "<span class='soft'>too wide to be drawn</span>"
    edges = np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    drawn = [(histogram(numbers, edges), css) for numbers, css in _labelled(before, now)]
    tallest = max(float(shares.max()) for shares, _ in drawn) or 1.0
    bars = "".join(
        _bars(shares / tallest, css, n, len(drawn)) for n, (shares, css) in enumerate(drawn)
    )
    label = escape(f"{name}: from {low:g} to {high:g}")
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT + 14}' role='img' aria-label='{label}'>"
        f"<title>{label}</title>{bars}<line class='axis' x1='0' x2='{_WIDTH}' y1='{_HEIGHT}' "
        f"y2='{_HEIGHT}'/><text x='0' y='{_HEIGHT + 12}' font-size='10' fill='currentColor'>"
        f"{low:.4g}</text><text x='{_WIDTH}' y='{_HEIGHT + 12}' font-size='10' text-anchor='end' "
        f"fill='currentColor'>{high:.4g}</text></svg>"
    )


def _labelled(before: Numbers | None, now: Numbers) -> list[tuple[Numbers, str]]:
    return [(before, "before"), (now, "now")] if before is not None else [(now, "now")]


def _bars(heights: np.ndarray, css: str, place: int, of: int) -> str:
    step = _WIDTH / BINS
    width = (step - 1) / of
    return "".join(
        f"<rect class='{css}' x='{n * step + place * width:.1f}' "
        f"y='{_HEIGHT * (1 - height):.1f}' width='{width:.1f}' height='{_HEIGHT * height:.1f}'/>"
        for n, height in enumerate(heights)
        if height > 0
    )


def _finding(finding: Mapping[str, Any]) -> str:
    css = "stop" if finding["severity"] == "break" else "warn"
    return f"<span class='verdict {css}'>{css}</span> {escape(str(finding['message']))}"


def _changed(report: Mapping[str, Any]) -> Iterable[str]:
    for kind, counts in report["made_null"].items():
        for column, count in counts.items():
            yield escape(f"{column}: {count:,} values ({kind}) count as missing")
    yield from (escape(str(note)) for note in report["notes"])


def _history(history: Sequence[Mapping[str, Any]]) -> str:
    """The medians of each column that has any in several runs, as a line."""
    medians: dict[tuple[str, str], list[float]] = {}
    for entry in history:
        for source, told in entry["sources"].items():
            for name, numbers in told["columns"].items():
                if numbers["median"] is not None:
                    medians.setdefault((source, name), []).append(float(numbers["median"]))
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(source)}</td><td>{_line(values)}</td>"
        f"<td class='number'>{values[0]:.4g} → {values[-1]:.4g}</td></tr>"
        for (source, name), values in sorted(medians.items())
        if len(values) > 1
    )
    if not rows:
        return ""
    head = "<tr><th>column</th><th>source</th><th>median by run</th><th>first → now</th></tr>"
    return f"<h2>{len(history)} runs</h2><table>{head}{rows}</table>"


def _line(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = _WIDTH / (len(values) - 1)
    points = " ".join(
        f"{n * step:.1f},{_HEIGHT - 4 - (_HEIGHT - 8) * (value - low) / span:.1f}"
        for n, value in enumerate(values)
    )
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='{low:g} to {high:g}'>"
        f"<polyline class='trend' points='{points}'/></svg>"
    )


def _listed(title: str, items: Iterable[str]) -> list[str]:
    shown = [f"<li>{item}</li>" for item in items]
    return [f"<h2>{title}</h2><ul>{''.join(shown)}</ul>"] if shown else []
