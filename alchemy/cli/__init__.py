"""The command line: one file per command group.

Commands are thin: they parse, call, and print. Everything heavier than argparse is imported by the
command that needs it, so `--help` is instant and the client install is enough for client commands.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout

from alchemy.errors import AlchemyError, ErrorCode

_GROUPS = ("up", "runs", "lake", "people", "chat", "releases", "adapters", "pairs", "forget", "gc")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The whole grammar."""
    from importlib import import_module

    import alchemy

    parser = _Parser(
        prog=prog,
        description="Data Alchemy: an assistant that learns from your company's own data.",
        epilog="Start here: alchemy demo   (the sample company, end to end)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {alchemy.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in _GROUPS:
        import_module(f"alchemy.cli.{group}").register(commands)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Entry point of `alchemy` and `data-alchemy`; exits with 0, 1 or 2."""
    # Ray reads these at import; without them every command prints Ray's banners
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    arguments = build_parser(prog or os.path.basename(sys.argv[0])).parse_args(argv)
    raise SystemExit(run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Run one parsed command; its exit code. A typed error becomes one line on stderr."""
    from alchemy import logs
    from alchemy.cli.output import Output

    os.environ.setdefault("ALCHEMY_LOG_LEVEL", "WARNING")
    logs.configure()
    out = Output(json_mode=getattr(arguments, "json", False))
    # what libraries print (Ray repeats its node's warnings) must not stand between JSON lines
    others = redirect_stdout(sys.stderr) if out.json_mode else nullcontext()
    try:
        with others:
            arguments.function(arguments, out)
    except AlchemyError as error:
        out.close()
        if out.json_mode:
            out.line(error=error.to_dict())
        sys.stderr.write(f"error [{error.code.code}]: {' '.join(str(error).split())}\n")
        return error.code.exit_code
    except KeyboardInterrupt:
        out.close()
        sys.stderr.write("stopped; run the same command again to resume\n")
        return 130
    except BrokenPipeError:  # the reader of our output went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        sys.stderr.write(
            f"error [{ErrorCode.DEPENDENCY_MISSING.code}]: this command needs the module "
            f"{error.name!r}. Install data-alchemy[server].\n"
        )
        return ErrorCode.DEPENDENCY_MISSING.exit_code
    finally:
        out.close()
    return 0


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: object,
    help_text: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command with the options every command has."""
    parser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[:1].upper() + help_text[1:] + ".",
        epilog=f"example: {example}",
    )
    parser.add_argument("--config", metavar="FILE", help="models.yaml to use")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.set_defaults(function=function)
    return parser
