"""`alchemy adapters list | show | diff | export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import load_settings


def register(commands: Any) -> None:
    """Add the commands of this group."""
    group = commands.add_parser("adapters", help="LoRA adapters: compare them, take them along")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(
        actions,
        "list",
        list_adapters,
        "list adapters and where they serve",
        "alchemy adapters list",
    )
    parser = add_command(
        actions,
        "show",
        show,
        "show one adapter's manifest",
        "alchemy adapters show ad-0123456789ab",
    )
    parser.add_argument("adapter")
    parser = add_command(
        actions,
        "diff",
        diff,
        "what distinguishes two adapters: base, settings, evaluation, what they learned from",
        "alchemy adapters diff ad-0123456789ab ad-ba9876543210",
    )
    parser.add_argument("first")
    parser.add_argument("second")
    parser = add_command(
        actions,
        "export",
        export,
        "write a PEFT directory, or with --merge a whole model, for transformers, peft or vLLM",
        "alchemy adapters export ad-0123456789ab --output adapter/",
    )
    parser.add_argument("adapter")
    parser.add_argument("--output", metavar="DIR", required=True, help="new or empty directory")
    parser.add_argument("--merge", action="store_true", help="add base and adapter up to one model")


def list_adapters(arguments: argparse.Namespace, out: Output) -> None:
    """Every adapter, with the releases that use it."""
    from alchemy.release.model import all_releases, live_release
    from alchemy.stores import open_lake
    from alchemy.training.registry import adapter_versions

    lake = open_lake(load_settings(arguments.config).lake)
    live, releases = live_release(lake), all_releases(lake)
    for adapter in adapter_versions(lake):
        users = [r.id for r in releases if adapter.version in (r.adapter, r.retrieval)]
        serves = live is not None and live.id in users
        meta = adapter.meta
        out.line(
            f"{adapter.version}  {adapter.kind:<10}  {meta['pairs']:>6} pairs  "
            f"{meta['documents']:>6} documents  base {meta['base'][:12]}  "
            f"{len(users)} releases{'  live' if serves else ''}",
            version=adapter.version,
            kind=adapter.kind,
            pairs=meta["pairs"],
            documents=meta["documents"],
            base=meta["base"],
            releases=users,
            live=serves,
        )


def show(arguments: argparse.Namespace, out: Output) -> None:
    """The manifest's metadata."""
    from alchemy.stores import open_lake
    from alchemy.training.registry import adapter_version

    found = adapter_version(open_lake(load_settings(arguments.config).lake), arguments.adapter)
    out.result(found.to_dict(), json.dumps(found.to_dict(), indent=2, ensure_ascii=False))


def diff(arguments: argparse.Namespace, out: Output) -> None:
    """Settings and figures as `name: before → after`; of documents and pairs how many."""
    from alchemy.stores import open_lake
    from alchemy.training.registry import difference

    lake = open_lake(load_settings(arguments.config).lake)
    found = difference(lake, arguments.first, arguments.second)
    lines = [
        f"{name}: {before} → {after}"
        for part in ("base", "hyperparameters", "evaluation", "acl")
        for name, (before, after) in found[part].items()
    ]
    lines += [
        f"{name}: {len(found[name]['added'])} added, {len(found[name]['removed'])} removed"
        for name in ("documents", "pairs")
    ]
    out.result(found, "\n".join(lines))


def export(arguments: argparse.Namespace, out: Output) -> None:
    """Write the directory and say how it is loaded."""
    from alchemy.stores import open_lake
    from alchemy.training.registry import BASE, export_adapter

    settings = load_settings(arguments.config)
    output = Path(arguments.output)
    files = export_adapter(
        open_lake(settings.lake),
        arguments.adapter,
        settings.model_c,
        settings.state_dir / "cache",
        output,
        merge=arguments.merge,
    )
    if arguments.merge:
        how = f'AutoModelForCausalLM.from_pretrained("{output}")'
    else:
        own = (output / BASE).exists()
        base = f"{output}/{BASE}" if own else "the base it names"
        how = (
            f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{output}")'
        )
    size = sum(path.stat().st_size for path in files)
    out.result(
        {"adapter": arguments.adapter, "output": str(output), "files": len(files), "bytes": size},
        f"{len(files)} files, {size / 1e6:.1f} MB in {output}\nload it: {how}",
    )
