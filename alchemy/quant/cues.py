"""Words that can ask for a computation; light enough for whoever only has to pass a question on."""

from __future__ import annotations

import re

LONGEST = 400
"""Characters."""
CUE = re.compile(
    r"\b(?:how (?:many|much|often|long)|number of|count|counts|average|avg|mean|median|total|sum"
    r"|percent(?:age)?|share|proportion|fraction|ratio|distribution|breakdown|most|fewest|least|highest"
    r"|lowest|largest|smallest|biggest|longest|shortest|slowest|fastest|quickest|oldest|newest|latest"
    r"|earliest|youngest|first|last|maximum|minimum|max|min|standard deviation|variance|percentile|top|per"
    r"|more|fewer|list|(?:are|is) there|busiest|quietest"
    r"|break down|broken down|by (?:year|quarter|month|week|weekday|day)"
    r"|(?:which|what|all) [a-z ]{2,20}s (?:have|has|are|were|mention|with|contain))\b"
    r"|^\W*(?:all |the )?(?:issues?|tickets?|commits?|check-?ins?|patch(?:es)?|pull requests?|prs?)\b"
)


def may_compute(question: str) -> bool:
    """Whether a question has any word that asks for a computation; cheap, and often wrong."""
    return len(question) <= LONGEST and CUE.search(question.lower()) is not None
