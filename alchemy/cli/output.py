"""How commands speak: text or JSON, progress, and one-line errors with the right exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_HIDDEN = {"stage", "event", "files", "inputs", "schema", "run_id", "uri", "sha256", "error"}


class Output:
    """Where a command writes. With `json_mode` every line on stdout is one JSON object."""

    def __init__(self, json_mode: bool = False) -> None:
        self.json_mode = json_mode
        self._stream = sys.stdout
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def line(self, text: str = "", /, **fields: Any) -> None:
        """A line for people; with `--json` only the fields are written, if there are any."""
        if not self.json_mode:
            print(text, file=self._stream, flush=True)
        elif fields:
            self._json(fields)

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """The outcome of a command."""
        if self.json_mode:
            self._json(value)
        else:
            print(text, file=self._stream, flush=True)

    def _json(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False, default=str)
        print(line, file=self._stream, flush=True)

    def event(self, event: dict[str, Any]) -> None:
        """A progress event of a run."""
        if self.json_mode:
            self._json(event)
            return
        name, stage = event["event"], event["stage"]
        if name == "run.started":
            self.line(f"run {event['run_id']}")
        elif name == "stage.started":
            self._show(stage, "started")
        elif name in ("stage.done", "stage.reused"):
            self._finish(stage)
            self.line(receipt_line(event, reused=name == "stage.reused"))
        elif name == "stage.failed":
            self._finish(stage)
            self.line(f"  ✗ {stage:<9} {event['error']}")
        else:
            self._show(stage, _describe(event), event.get("done"), event.get("total"))

    def _show(
        self, stage: str, text: str, done: float | None = None, total: float | None = None
    ) -> None:
        if not sys.stdout.isatty():
            if done is None:
                self.line(f"  · {stage:<9} {text}")
            return
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("  · {task.fields[stage]:<9}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
                transient=True,
            )
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(text, stage=stage, total=None)
        self._bar.update(self._tasks[stage], description=text, completed=done, total=total)

    def _finish(self, stage: str) -> None:
        if stage in self._tasks:
            self._bar.remove_task(self._tasks.pop(stage))
        if self._bar is not None and not self._tasks:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        """End a progress display that is still open."""
        for stage in list(self._tasks):
            self._finish(stage)


def receipt_line(receipt: Mapping[str, Any], *, reused: bool) -> str:
    """One line about a receipt: rows, size, digest, time, counts."""
    took = "reused" if reused else f"{receipt['seconds']:.1f} s"
    counts = ", ".join(f"{k} {_number(v)}" for k, v in receipt["counts"].items())
    head = f"  ✓ {receipt['stage']:<9} {took:>8}  {receipt['rows']:>7} rows  {size_text(receipt['bytes']):>9}"
    return f"{head}  {receipt['sha256'][:12]}  {receipt['uri']}" + (
        f"\n              {counts}" if counts else ""
    )


def _describe(event: dict[str, Any]) -> str:
    step = event["event"].rpartition(".")[2]
    fields = ", ".join(f"{k} {_number(v)}" for k, v in event.items() if k not in _HIDDEN)
    return f"{step} {fields}".strip()


def _number(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else f"{value:.4g}"
    return str(value)


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
