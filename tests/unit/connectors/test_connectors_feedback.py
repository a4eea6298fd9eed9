from __future__ import annotations

import pytest

from alchemy.connectors.feedback import read_feedback
from alchemy.errors import AlchemyError, ErrorCode

STORED = {
    "id": "20240102-abc",
    "answer_id": "a1",
    "question": "q",
    "answer_text": "t",
    "rating": "down",
    "correction": "better",
    "comment": None,
    "user": "ada",
    "tenant": "default",
    "acl": ["everyone"],
    "citations": [{"document_id": "jira:XD-1", "chunk_id": "jira:XD-1#0"}],
    "release": "r1",
    "status": "approved",
    "created_at": "2024-01-02T03:04:05Z",
    "reviewed_by": "bob",
}


def test_feedback_is_read_and_is_no_document(company):
    company.put_json("feedback/2024/01/02/20240102-abc.json", STORED)
    (feedback,) = read_feedback(company.lake)
    assert feedback.correction == "better"
    assert feedback.acl == ("everyone",)
    assert feedback.citations[0]["chunk_id"] == "jira:XD-1#0"
    assert company.outcomes() == []


@pytest.mark.parametrize("content", ["{", "[]", '{"id": "x"}'])
def test_damaged_feedback_is_an_error_that_names_it(company, content):
    company.put("feedback/2024/01/02/x.json", content)
    with pytest.raises(AlchemyError, match=r"feedback/2024/01/02/x\.json") as caught:
        list(read_feedback(company.lake))
    assert caught.value.code is ErrorCode.CORRUPT
