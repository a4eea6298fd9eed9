"""Structured logs: one JSON object per event, with run and request ids bound once.

Ray workers call `configure` through `worker_process_setup_hook`.
"""

from __future__ import annotations

import logging
import os
import sys

import structlog

get_logger = structlog.get_logger


def configure() -> None:
    """Send events of this process to stderr; JSON, or readable lines on a terminal.

    `ALCHEMY_LOG_LEVEL` sets the level (default INFO).
    """
    level = logging.getLevelNamesMapping().get(
        os.environ.get("ALCHEMY_LOG_LEVEL", "INFO").upper(), logging.INFO
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # stderr as it is when an event is written: it may have been replaced since
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
