"""PDF files are parsed in a process of their own: one that takes too long is ended.

The parser is Python and cannot be interrupted from outside: a signal reaches only a main thread,
which neither a Spark worker nor a Ray task need be. The process has a memory limit and no secrets
in its environment, either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from alchemy.connectors.content import Content
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.pdf import check_whole, parse_pdf
from alchemy.connectors.pdf_streams import limit_streams

_MEMORY = 4 << 30
"""Of address space; real files stay far below it."""
_INFLATED_RATIO = 8
_START = "from alchemy.connectors.pdf_process import main; main()"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")


def read_pdf(raw: bytes, max_bytes: int, timeout_s: float) -> Content:
    """The document of a PDF; its pages are divided by `PAGE_BREAK`.

    Args:
        max_bytes: the largest text; the file's streams may unpack to 8 times as much in all.
        timeout_s: for the whole file.

    Raises:
        BadRecord: no PDF, damaged, encrypted, too large, too slow, or nothing but pictures.
    """
    check_whole(raw)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # where this process found its modules, the other one does: Ray adds to the path while it runs
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-P", "-c", _START, str(max_bytes)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            answer, failure = process.communicate(raw, timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BadRecord(
                f"it takes longer to read than cleaning.pdf_timeout_s ({timeout_s:g} seconds)"
            ) from error
        finally:
            process.kill()
    if process.returncode < 0:
        raise BadRecord(f"the parser was ended by signal {-process.returncode}")
    if process.returncode:
        raise RuntimeError(f"the PDF parser failed: {failure.decode(errors='replace')[-2000:]}")
    found = json.loads(answer)
    if "problem" in found:
        raise BadRecord(found["problem"])
    return Content(**found)


def main() -> None:
    """Parse the file on standard input; JSON of a `Content` or `{"problem": reason}`."""
    max_bytes = int(sys.argv[1])
    _limit_memory()
    limit_streams(_INFLATED_RATIO * max_bytes)
    try:
        found = asdict(parse_pdf(sys.stdin.buffer.read(), max_bytes))
    except BadRecord as error:
        found = {"problem": str(error)}
    except MemoryError:
        found = {"problem": f"it needs more memory to read than {_MEMORY >> 30} GiB"}
    sys.stdout.write(json.dumps(found))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # no Unix
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
