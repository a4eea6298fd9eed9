"""Embed real issues with the embedded model in several ways, and compare what it costs.

    python scripts/bench_embed.py                                  # all engines, 4,000 issues
    python scripts/bench_embed.py --texts 1000 --engines plain,alchemy --out bench.json

Texts are titles with descriptions of real Jira issues, cut by the model at its own limit; questions
are titles of other issues. For each engine: sentences per CPU-second (all threads of the process;
loading and a first batch apart), sentences per second, and how much of plain's ten nearest texts of
a question it finds too.

Engines: `plain` sentence-transformers as its manual shows it, float32; `plain-bf16` the same in
bfloat16; `alchemy` this project's embedder as it is configured by default; `alchemy-fp32` it without
bfloat16; `openvino`, `onnx` sentence-transformers' own back ends
(`pip install 'sentence-transformers[openvino,onnx]'`). Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import bench_index_corpus as corpus
import numpy as np

from alchemy.models.embedded import EmbeddedEmbedder, minilm_directory
from alchemy.settings import ModelSettings

MARK = "bench-result:"
TOP = 10
_WARM_UP = 64
_MAX_TOKENS = 256
"""What the model was trained with, and what sentence-transformers reads from its directory."""
Encode = Callable[[Sequence[str]], np.ndarray]
COLUMNS = ("sentences/cpu_s", "times plain", "sentences/s", "cpu_s", "overlap@10")


def plain(**options: Any) -> Encode:
    """sentence-transformers, one call, vectors of unit length."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_directory()), device="cpu", **options)
    model.max_seq_length = _MAX_TOKENS

    def encode(texts: Sequence[str]) -> np.ndarray:
        found = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return cast("np.ndarray", found).astype(np.float32)

    return encode


ENGINES: dict[str, Callable[[], Encode]] = {
    "plain": plain,
    "plain-bf16": lambda: plain(model_kwargs={"dtype": "bfloat16"}),
    "alchemy": lambda: EmbeddedEmbedder(ModelSettings()).encode,
    "alchemy-fp32": lambda: EmbeddedEmbedder(ModelSettings(dtype="float32")).encode,
    "openvino": lambda: plain(backend="openvino"),
    "onnx": lambda: plain(backend="onnx"),
}


def nearest(questions: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """int64[q, TOP]: rows of the most similar texts."""
    return np.argsort(-(questions @ texts.T), axis=1, kind="stable")[:, :TOP]


def measure(engine: str, issues: Path, count: int, out: Path) -> dict[str, float]:
    """Embed once in this process; vectors go to `out`."""
    base = corpus.issues(issues, count + 500)
    texts = [f"{title}\n{description}" for _, title, description in base[:count]]
    questions = [title for _, title, _ in base[count:]]
    encode = ENGINES[engine]()
    encode(texts[:_WARM_UP])
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    vectors = encode(texts)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    np.save(out, nearest(encode(questions), vectors))
    return {
        "sentences/cpu_s": round(count / cpu, 1),
        "sentences/s": round(count / seconds, 1),
        "cpu_s": round(cpu, 1),
    }


def run(engine: str, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One engine in its own process; its figures, or `error`."""
    command = [sys.executable, __file__, "--measure", engine, str(out)]
    command += ["--issues", str(options.issues), "--texts", str(options.texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    return {"error": " | ".join(done.stderr.splitlines()[-3:])[:400]}


def main() -> None:
    """Run the chosen engines, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated")
    parser.add_argument("--issues", type=Path, default=Path("../shared/data/jira_gpt2sp"))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        engine, out = options.measure
        figures = measure(engine, options.issues, options.texts, Path(out))
        print(MARK + json.dumps(figures), flush=True)
        return
    results: dict[str, dict[str, Any]] = {}
    print(("{:>14}" + "{:>18}" * len(COLUMNS)).format("engine", *COLUMNS))
    with tempfile.TemporaryDirectory(prefix="alchemy-embed-") as scratch:
        engines = ["plain", *(e for e in options.engines.split(",") if e != "plain")]
        for engine in engines:  # the others are compared with plain
            out = Path(scratch) / f"{engine}.npy"
            figures = run(engine, options, out)
            if engine == "plain" and "error" in figures:
                raise SystemExit(figures["error"])
            if "error" not in figures:
                wanted, found = np.load(Path(scratch) / "plain.npy"), np.load(out)
                hits = sum(len({*w} & {*f}) for w, f in zip(wanted, found, strict=True))
                baseline = results.get("plain", figures)["sentences/cpu_s"]
                figures["overlap@10"] = round(hits / wanted.size, 4)
                figures["times plain"] = round(figures["sentences/cpu_s"] / baseline, 2)
            results[engine] = figures
            row = [str(figures.get(column, "-")) for column in COLUMNS]
            print(("{:>14}" + "{:>18}" * len(row)).format(engine, *row), flush=True)
            if "error" in figures:
                print(f"{engine:>14}  failed: {figures['error']}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
