"""Build the embedded base model (`model_c`) from a cleaned corpus.

The pipeline does the same in its stage "base". By hand:

    python scripts/build_base_model.py --run run-94f9887e1351        # from a washed run of the lake
    python scripts/build_base_model.py --corpus cleaned_corpus.jsonl # from a file
    python scripts/build_base_model.py --corpus c.jsonl --output dir # into a directory, no lake
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alchemy.config import load_settings
from alchemy.errors import AlchemyError
from alchemy.stage import read_receipt
from alchemy.stores import open_lake
from alchemy.training.base import CORPUS, build_base, learned_text, published_base, read_corpus


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 built or already there, 1 or 2 as the error's code says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="run of the lake whose washed corpus is used")
    source.add_argument("--corpus", type=Path, help="a cleaned_corpus.jsonl")
    parser.add_argument("--output", type=Path, help="write here instead of into the lake")
    parser.add_argument("--config", help="settings file (default: as `alchemy` finds it)")
    options = parser.parse_args(arguments)
    try:
        build(options)
    except AlchemyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code.exit_code
    return 0


def build(options: argparse.Namespace) -> None:
    """Do what the command line says."""
    settings = load_settings(options.config)
    lake = open_lake(settings.lake)
    with tempfile.TemporaryDirectory(prefix="alchemy-base-") as directory:
        scratch = Path(directory)
        corpus = options.corpus
        if corpus is None:
            receipt = read_receipt(lake, options.run, "wash")
            prefix = receipt.uri if receipt else f"processed/{options.run}"
            corpus = scratch / CORPUS
            lake.download(f"{prefix}/{CORPUS}", corpus)
        if options.output is not None:
            from alchemy.models.devices import use_cores
            from alchemy.training.pretrain import pretrain

            use_cores()
            small = settings.model_c.small_llama
            texts = [learned_text(document) for document in read_corpus(corpus)]
            result = pretrain(texts, small, options.output, progress=show)
            print(f"{options.output}: {asdict(result)}")
            return
        root = published_base(lake, settings.model_c)
        if root is None:
            root, manifest = build_base(lake, settings.model_c, corpus, scratch, show)
            print(f"{lake.uri}/{root}: {manifest.meta}")
        else:
            print(f"{lake.uri}/{root}: already built with these settings")


def show(event: str, fields: dict[str, Any]) -> None:
    """One line of progress."""
    print(f"{event} {' '.join(f'{key}={value}' for key, value in fields.items())}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
