"""What a failed call of another deployment means to a client."""

from __future__ import annotations

import pickle

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Busy
from deployments.calls import typed_call_error


def raised_in_a_worker(error: Exception) -> Exception:
    """As Ray hands it to the caller in another process."""
    arrived = pickle.loads(pickle.dumps(RayTaskError("draft", "Traceback …", error)))
    return arrived.as_instanceof_cause()


def test_a_typed_error_crosses_processes_unchanged() -> None:
    error = raised_in_a_worker(AlchemyError(ErrorCode.NOT_FOUND, "no release 'x'", "Look."))
    typed = typed_call_error(error, "knowledge")
    assert (typed.code, typed.message, typed.remedy) == (
        ErrorCode.NOT_FOUND,
        "no release 'x'",
        "Look.",
    )
    assert "Traceback" not in str(typed)


def test_a_full_queue_is_overloaded_with_a_wait() -> None:
    for error in (BackPressureError(9, 8), raised_in_a_worker(BackPressureError(9, 8))):
        typed = typed_call_error(error, "generator")
        assert isinstance(typed, Busy) and typed.retry_after_s >= 1
        assert "generator" in typed.message


def test_a_fault_of_the_code_is_internal_and_names_the_part() -> None:
    typed = typed_call_error(raised_in_a_worker(KeyError("x")), "finalist")
    assert typed.code is ErrorCode.INTERNAL and "finalist" in typed.message


@pytest.mark.parametrize(
    "error",
    [ActorDiedError(), DeploymentUnavailableError.__new__(DeploymentUnavailableError)],
)
def test_a_dead_replica_is_not_ready_and_worth_another_try(error: Exception) -> None:
    typed = typed_call_error(error, "generator")
    assert typed.code is ErrorCode.NOT_READY and typed.code.retryable
