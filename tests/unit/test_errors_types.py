import json
import pickle
import subprocess
import sys

import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Answer, Chunk, Citation, Passage, Principal, text_digest


def test_every_error_survives_pickling() -> None:
    for code in ErrorCode:
        error = pickle.loads(pickle.dumps(AlchemyError(code, "what", "how")))
        assert (error.code, error.message, error.remedy) == (code, "what", "how")
        assert ErrorCode.from_code(code.code) is code


def test_codes_are_distinct() -> None:
    codes = [code.code for code in ErrorCode]
    assert len(codes) == len(set(codes)) == len(ErrorCode.__members__)


def test_a_wrapped_error_is_found() -> None:
    inner = AlchemyError(ErrorCode.CORRUPT, "x")
    outer = RuntimeError("wrapped")
    outer.__cause__ = inner
    assert AlchemyError.unwrap(outer) is inner
    assert AlchemyError.unwrap(RuntimeError("plain")) is None


def make_chunk() -> Chunk:
    return Chunk("d#0", "d", "jira", "T", "u", "t", ("everyone",), "text", 0, 0, 4, ("T", "Sub"))


def test_records_round_trip_through_json() -> None:
    chunk = make_chunk()
    passage = Passage(chunk, 1.0, 0.5, {"dense_rank": 1.0}, None)
    answer = Answer(
        "a", "q", "x [1]", (Citation("d", "d#0", "T", "u", "text"),), 0.9, False, "r", "ad", "sha"
    )
    for record in (chunk, passage, answer):
        assert type(record).from_dict(json.loads(record.to_json())) == record


def test_embedding_text_names_each_heading_once() -> None:
    assert make_chunk().embedding_text() == "T > Sub\ntext"


@pytest.mark.parametrize(
    ("tenant", "acl", "allowed"),
    [("t", ("core",), True), ("t", ("hr",), False), ("other", ("core",), False), ("t", (), False)],
)
def test_reading_needs_the_tenant_and_a_group(
    tenant: str, acl: tuple[str, ...], allowed: bool
) -> None:
    assert Principal("u", "t", ("everyone", "core")).may_read(tenant, acl) is allowed


def test_digest_separates_its_parts() -> None:
    assert text_digest("ab", "c") != text_digest("a", "bc")


def test_importing_the_package_is_light() -> None:
    code = "import sys, alchemy; print([m for m in ('ray','torch','pydantic','polars') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
