"""Pipelines started from the gateway, as Ray jobs on the same cluster."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import ray
from ray.job_submission import JobSubmissionClient

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode

_HANDED_ON = ("ALCHEMY_CONFIG", "ALCHEMY_ENV", "ALCHEMY_LOG_LEVEL")


class RayJobs:
    """See `routes.context.Jobs`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self) -> str:
        """Start `data-alchemy full-cycle`."""
        runtime_env = {"env_vars": self._variables()}
        try:
            return _client().submit_job(
                entrypoint=f"{shlex.quote(_command())} full-cycle",
                runtime_env=runtime_env,
                metadata={"part": "gateway"},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _unavailable(error) from error

    def status(self, job_id: str) -> tuple[str, str]:
        """Ray's state of the job, and its message."""
        try:
            client = _client()
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _unavailable(error) from error
        try:
            details = client.get_job_info(job_id)
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise _unavailable(error) from error
            raise AlchemyError(
                ErrorCode.NOT_FOUND, f"the cluster knows no job {job_id!r}"
            ) from error
        return str(details.status.value), details.message or ""

    def _variables(self) -> dict[str, str]:
        """Where the lake is; no secrets.

        The dashboard shows a job's environment. Secrets reach it through the node's own.
        """
        lake = self._settings.lake
        places = {
            "ALCHEMY_DATA": str(self._settings.state_dir),
            "S3_ENDPOINT": lake.s3_endpoint,
            "S3_BUCKET": lake.s3_bucket,
            "S3_PREFIX": lake.s3_prefix,
            "AWS_REGION": lake.s3_region if lake.s3_bucket else "",
        }
        own = {name: os.environ.get(name, "") for name in _HANDED_ON}
        return {name: value for name, value in {**places, **own}.items() if value}


def _client() -> JobSubmissionClient:
    # resolves to the dashboard of this cluster; the client adds the cluster's token by itself
    return JobSubmissionClient(ray.get_runtime_context().gcs_address)


def _command() -> str:
    """The console script of this installation, also where its directory is not on the PATH."""
    beside = Path(sys.executable).with_name("data-alchemy")
    return str(beside) if beside.exists() else shutil.which("data-alchemy") or "data-alchemy"


def _unavailable(error: Exception) -> AlchemyError:
    return AlchemyError(
        ErrorCode.NOT_READY,
        f"the cluster's job service does not answer: {str(error).splitlines()[0][:200]}",
        "Check that the Ray dashboard runs on the head node.",
    )
