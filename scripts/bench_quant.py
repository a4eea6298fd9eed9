"""Profile, expand and select the columns of a table with several engines, and compare the cost.

    python scripts/bench_quant.py --tables 1000000x20                       # all engines
    python scripts/bench_quant.py --tables 1000000x20,10000000x20,1000000x200 --engines alchemy

The table is made: half of the columns are independent (normal, heavy-tailed, counts with many
zeros, some nulls), the others are constant, copies, or linear in one of them with noise. What was
planted is known, so the table says how many superfluous columns each engine left and how many
independent ones it lost together with their copies.

Engines: `alchemy` what of this project's stage the peers do as well (profile, scaling, log1p, ranks,
squares and products, curation), from Parquet to Parquet; `alchemy-stage` all of it (drift check,
page, insights in words); `sklearn` RobustScaler, PolynomialFeatures of degree 2,
VarianceThreshold and a correlation filter in numpy, as its manual composes them; `pandas` the same
by hand with `DataFrame.corr`; `featuretools` its multiply and add primitives with its own selection
functions (`pip install featuretools`). Each engine runs in a process of its own; memory is the peak
of its resident set.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MARK = "bench-result:"
COLUMNS = ("wall_s", "cpu_s", "peak_mb", "features", "kept", "superfluous left", "lost")
_SLICE = 100_000
_LIMIT = 0.98
"""Absolute correlation from which one of two columns is superfluous, in all engines."""


def planted(columns: int) -> tuple[list[str], list[str]]:
    """Names of the independent columns and of those that say nothing new."""
    own = columns - columns // 2
    return [f"own{n}" for n in range(own)], [f"more{n}" for n in range(columns - own)]


def groups(columns: int) -> list[list[str]]:
    """Columns that say the same: of each group one should be kept."""
    own, more = planted(columns)
    same = {name: [name] for name in own}
    for n, name in enumerate(more):
        if n % 3:
            same[own[n % len(own)]].append(name)
    return list(same.values())


def slices(rows: int, columns: int) -> Iterator[pa.Table]:
    """The table, so many rows at a time."""
    chance = np.random.default_rng(17)
    own, more = planted(columns)
    for start in range(0, rows, _SLICE):
        size = min(_SLICE, rows - start)
        made: dict[str, Any] = {
            "document_id": [f"d{n}" for n in range(start, start + size)],
            "source": ["jira" if n % 3 else "git_pr" for n in range(start, start + size)],
        }
        for n, name in enumerate(own):
            kind = n % 4
            if kind == 0:
                values = chance.normal(10, 3, size)
            elif kind == 1:
                values = chance.lognormal(1, 1, size)
            elif kind == 2:
                values = chance.poisson(0.7, size).astype(np.float64)
            else:
                values = chance.uniform(-5, 5, size)
                values[chance.random(size) < 0.05] = np.nan
            made[name] = values
        for n, name in enumerate(more):
            source = made[own[n % len(own)]]
            if n % 3 == 0:
                made[name] = np.full(size, float(n))
            elif n % 3 == 1:
                made[name] = source.copy()
            else:
                made[name] = 3 * source + 1 + chance.normal(0, 0.01, size)
        yield pa.Table.from_pydict({k: pa.array(v, from_pandas=True) for k, v in made.items()})


def write_table(path: Path, rows: int, columns: int) -> None:
    """The table as Parquet."""
    writer: pq.ParquetWriter | None = None
    for part in slices(rows, columns):
        writer = writer or pq.ParquetWriter(path, part.schema, compression="zstd")
        writer.write_table(part)
    if writer is not None:
        writer.close()


def alchemy(path: Path, out: Path) -> tuple[int, list[str]]:
    """Profile, features and curation; features generated and names of those kept."""
    from alchemy.config import Settings
    from alchemy.quant import stage

    settings = Settings().quant
    stage.profile_table(path, out, settings)
    stage.validate_table(out, settings, path.name)
    stage.make_features(out, settings)
    outcome = stage.select(out, settings)
    return int(outcome.counts["features_generated"]), list(outcome.schema[1:])


def alchemy_stage(path: Path, out: Path) -> tuple[int, list[str]]:
    """The whole stage."""
    from alchemy.config import Settings
    from alchemy.quant.tables import run_table

    receipt = run_table(path, out, Settings())
    return int(receipt.counts["features_generated"]), list(receipt.schema[1:])


def sklearn(path: Path, out: Path) -> tuple[int, list[str]]:
    """As the manual composes them."""
    import pandas as pd
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, RobustScaler

    frame = pd.read_parquet(path)
    numbers = frame.drop(columns=["document_id", "source"])
    steps = make_pipeline(
        SimpleImputer(strategy="median"),
        RobustScaler(),
        PolynomialFeatures(degree=2, include_bias=False),
        VarianceThreshold(),
    ).set_output(transform="pandas")
    found: Any = steps.fit_transform(numbers)
    made = steps.named_steps["polynomialfeatures"].n_output_features_
    kept = _uncorrelated(list(found.columns), np.corrcoef(found.to_numpy(), rowvar=False))
    found[kept].to_parquet(out / "features.parquet")
    return int(made), [name.replace(" ", "*") for name in kept]


def pandas(path: Path, out: Path) -> tuple[int, list[str]]:
    """By hand."""
    import pandas as pd

    frame = pd.read_parquet(path)
    numbers = frame.drop(columns=["document_id", "source"])
    numbers.describe()
    scaled = (numbers - numbers.median()) / (numbers.quantile(0.75) - numbers.quantile(0.25))
    scaled = scaled.replace([np.inf, -np.inf], np.nan).dropna(axis=1, how="all")
    names = list(scaled.columns)
    products = {f"{a}*{b}": scaled[a] * scaled[b] for n, a in enumerate(names) for b in names[n:]}
    every = pd.concat([scaled, pd.DataFrame(products)], axis=1)
    varied = every.loc[:, every.std() > 0]
    kept = _uncorrelated(list(varied.columns), varied.corr().to_numpy())
    varied[kept].to_parquet(out / "features.parquet")
    return every.shape[1], kept


def featuretools(path: Path, out: Path) -> tuple[int, list[str]]:
    """Deep feature synthesis of one table, and its selection functions."""
    import featuretools as ft  # pyright: ignore[reportMissingImports]
    import pandas as pd
    from featuretools import selection  # pyright: ignore[reportMissingImports]

    frame = pd.read_parquet(path).drop(columns=["source"])
    entities = ft.EntitySet("table").add_dataframe(
        dataframe_name="documents", dataframe=frame, index="document_id"
    )
    matrix, features = ft.dfs(
        entityset=entities,
        target_dataframe_name="documents",
        trans_primitives=["multiply_numeric"],
        max_depth=1,
    )
    made = len(features)
    matrix, features = selection.remove_single_value_features(matrix, features=features)
    matrix = selection.remove_highly_correlated_features(matrix, pct_corr_threshold=_LIMIT)
    matrix.to_parquet(out / "features.parquet")
    return made, [str(name).replace(" ", "") for name in matrix.columns]


ENGINES: dict[str, Callable[[Path, Path], tuple[int, list[str]]]] = {
    "alchemy": alchemy,
    "alchemy-stage": alchemy_stage,
    "sklearn": sklearn,
    "pandas": pandas,
    "featuretools": featuretools,
}


def _uncorrelated(names: list[str], matrix: np.ndarray) -> list[str]:
    """The columns without those that correlate with an earlier one."""
    upper = np.triu(np.abs(matrix), k=1)
    return [name for n, name in enumerate(names) if not (upper[:, n] >= _LIMIT).any()]


def measure(engine: str, path: Path, columns: int, out: Path) -> dict[str, float]:
    """One engine in this process."""
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    made, kept = ENGINES[engine](path, out)
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    plain = [sum(name in set(kept) for name in group) for group in groups(columns)]
    constants = [name for n, name in enumerate(planted(columns)[1]) if n % 3 == 0]
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": used.ru_maxrss >> 10,
        "features": made,
        "kept": len(kept),
        "superfluous left": sum(max(0, count - 1) for count in plain)
        + sum(name in set(kept) for name in constants),
        "lost": plain.count(0),
    }


def run(engine: str, path: Path, columns: int, out: Path) -> dict[str, Any]:
    """One engine in its own process; its figures, or `error`."""
    command = [sys.executable, "-W", "ignore", __file__, "--measure", engine]
    command += [str(path), str(columns), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    return {"error": " | ".join(done.stderr.splitlines()[-2:])[:300] or f"exit {done.returncode}"}


def main() -> None:
    """Run the chosen engines on the chosen tables, print, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default="1000000x20", help="rows x columns, comma-separated")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        engine, path, columns, out = options.measure
        print(MARK + json.dumps(measure(engine, Path(path), int(columns), Path(out))), flush=True)
        return
    results: list[dict[str, Any]] = []
    print(("{:>14}{:>14}" + "{:>17}" * len(COLUMNS)).format("engine", "table", *COLUMNS))
    with tempfile.TemporaryDirectory(prefix="alchemy-quant-") as scratch:
        for size in options.tables.split(","):
            rows, columns = map(int, size.split("x"))
            path = Path(scratch) / f"{size}.parquet"
            write_table(path, rows, columns)
            for engine in options.engines.split(","):
                figures = run(engine, path, columns, Path(scratch) / f"{engine}-{size}")
                results.append({"engine": engine, "table": size, **figures})
                row = [str(figures.get(column, "-")) for column in COLUMNS]
                print(("{:>14}{:>14}" + "{:>17}" * len(row)).format(engine, size, *row), flush=True)
                if "error" in figures:
                    print(f"{engine:>14}  failed: {figures['error']}", flush=True)
            path.unlink()
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
