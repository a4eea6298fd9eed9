"""The one exception type and the table of stable error codes.

Every fault a person or a program can meet has an `ErrorCode`: a stable name, the HTTP status the
gateway answers with, whether trying again can help, and the exit status of a command.
"""

from __future__ import annotations

from enum import Enum


class ErrorCode(Enum):
    """Stable code → (HTTP status, retryable, process exit code)."""

    # input and configuration: the caller must change something
    CONFIG_INVALID = ("config_invalid", 500, False, 2)
    INPUT_INVALID = ("input_invalid", 400, False, 2)
    INPUT_UNREADABLE = ("input_unreadable", 400, False, 1)
    SCHEMA_BROKEN = ("schema_broken", 422, False, 1)
    NOT_FOUND = ("not_found", 404, False, 1)
    CONFLICT = ("conflict", 409, False, 1)
    TOO_LARGE = ("too_large", 413, False, 1)
    # people
    AUTH_FAILED = ("auth_failed", 401, False, 1)
    TOKEN_EXPIRED = ("token_expired", 401, False, 1)
    FORBIDDEN = ("forbidden", 403, False, 1)
    # the machine
    JAVA_MISSING = ("java_missing", 500, False, 1)
    PORT_TAKEN = ("port_taken", 500, False, 1)
    DEPENDENCY_MISSING = ("dependency_missing", 500, False, 1)
    # stores
    LAKE_NOT_WRITABLE = ("lake_not_writable", 503, False, 1)
    LAKE_UNAVAILABLE = ("lake_unavailable", 503, True, 1)
    CORRUPT = ("corrupt", 500, False, 1)
    REDIS_UNAVAILABLE = ("redis_unavailable", 503, True, 1)
    # models
    MODEL_UNAVAILABLE = ("model_unavailable", 503, True, 1)
    REMOTE_FORBIDDEN = ("remote_forbidden", 403, False, 2)
    # work
    REDACTION_FAILED = ("redaction_failed", 500, False, 1)
    VANISHED = ("vanished", 409, False, 1)
    DRIFT_STOP = ("drift_stop", 409, False, 1)
    GATE_REFUSED = ("gate_refused", 409, False, 1)
    STAGE_FAILED = ("stage_failed", 500, True, 1)
    NOT_READY = ("not_ready", 503, True, 1)
    OVERLOADED = ("overloaded", 429, True, 1)
    DEADLINE = ("deadline", 504, True, 1)
    INTERNAL = ("internal", 500, False, 1)

    def __init__(self, code: str, http_status: int, retryable: bool, exit_code: int) -> None:
        self.code = code
        self.http_status = http_status
        self.retryable = retryable
        self.exit_code = exit_code

    @classmethod
    def from_code(cls, code: str) -> ErrorCode:
        """The member with this stable name; `INTERNAL` for a name of a newer version."""
        return next((member for member in cls if member.code == code), cls.INTERNAL)


class AlchemyError(Exception):
    """A typed fault: what happened, to what, and what to do about it.

    All arguments are positional so that the error survives pickling through Ray.

    Attributes:
        code: entry of the error table.
        message: what happened and to what (file, line, key).
        remedy: what the reader can do; may be empty.
    """

    def __init__(self, code: ErrorCode, message: str, remedy: str = "") -> None:
        super().__init__(code, message, remedy)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: message, then remedy."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message

    def to_dict(self) -> dict[str, object]:
        """The error body of the HTTP interface and of `--json`."""
        return {
            "code": self.code.code,
            "message": self.message,
            "remedy": self.remedy,
            "retryable": self.code.retryable,
        }

    @classmethod
    def unwrap(cls, error: BaseException) -> AlchemyError | None:
        """Find the typed error inside an exception chain (Ray wraps what a worker raised)."""
        seen: set[int] = set()
        stack: list[BaseException | None] = [error]
        while stack:
            current = stack.pop()
            if current is None or id(current) in seen:
                continue
            seen.add(id(current))
            if isinstance(current, AlchemyError):
                # Ray raises a class of its own that is both: the error it wraps is the one that
                # can be pickled again on its way to the next actor
                wrapped = getattr(current, "cause", None)
                if not isinstance(wrapped, AlchemyError):
                    return current
                stack.append(wrapped)
                continue
            stack += [current.__cause__, getattr(current, "cause", None), current.__context__]
        return None
