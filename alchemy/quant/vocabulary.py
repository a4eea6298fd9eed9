"""What the words of a question may mean: kinds of records, columns, values, comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import polars as pl

from alchemy.quant.plan import Condition, Period
from alchemy.quant.records import Records
from alchemy.quant.table import collect

KINDS: Mapping[str, Sequence[str]] = {
    "issue": ("jira issues?", "jira tickets?", "issues?", "tickets?", "jiras?"),
    "pull request": ("pull requests?", "merge requests?", "prs?", "mrs?"),
    "commit": ("git commits?", "commits?", "check-?ins?", "patch(?:es)?", "changesets?"),
    "page": ("wiki pages?", "confluence pages?", "pages?"),
    "document": ("documents?", "docs?", "documentation files?"),
    "row": ("database rows?", "rows?"),
}
STRONG = ("issue", "pull request", "commit")
"""Kinds of which `how many …` can only mean the records: no text answers it."""
ANYTHING = r"(?:records?|items?|things?|entries)"

_COLUMNS: Mapping[str, Sequence[str]] = {
    "story_points": (
        "story ?point (?:estimates?|values?|sizes?)",
        "story ?points?",
        "points?",
        "pointers?",
        "estimates?",
        "estimations?",
    ),
    "comment_count": ("comments?", "comment counts?"),
    "comments": ("comments?", "review comments?"),
    "hours_to_merge": (
        "(?:hours|time) (?:to|until|before) (?:the )?merge",
        "merge times?",
        "merges?",
    ),
    "hours_to_first_review": (
        "(?:hours|time) (?:to|until|before) (?:the |a )?first review",
        "first reviews?",
        "review waits?",
    ),
    "days_open": (
        "days? open",
        "ages?",
        "(?:days|time) (?:to|until) (?:resolution|resolve|close|closing)",
        "(?:days|time) (?:they are |it is |being )?open",
        "resolution times?",
        "lifetimes?",
    ),
    "additions": (
        "added lines",
        "lines (?:were |are )?added",
        "additions?",
        "insertions?",
        "lines of code added",
    ),
    "deletions": ("deleted lines", "lines (?:deleted|removed)", "deletions?"),
    "files": ("changed files", "files changed", "files?"),
    "review_rounds": ("review rounds?", "rounds of review"),
    "reopened": ("reopenings?", "times reopened", "reopens?"),
    "assignee_changes": ("assignee changes?", "handovers?"),
    "description_chars": (
        "description lengths?",
        "lengths? of (?:the |their )?descriptions?",
        "descriptions?",
        "bod(?:y|ies)(?: (?:texts?|lengths?))?",
    ),
    "chars": ("text lengths?", "lengths? of (?:the |their )?texts?", "lengths?", "characters?"),
    "title_chars": ("title lengths?", "lengths? of (?:the |their )?titles?", "titles?"),
    "links": ("web links?", "hyperlinks?", "links?"),
    "inbound_links": (
        "(?:inbound|incoming) (?:links?|references?)",
        "back-?links?",
        "links? (?:to|pointing (?:to|at)) (?:it|them)",
    ),
    "linked_commits": ("(?:linked|associated|referencing) (?:commits?|check-?ins?)",),
    "linked_pull_requests": (
        "(?:linked|associated|referencing) (?:pull requests?|merge requests?|prs?|mrs?)",
    ),
    "priority_rank": ("priority ranks?", "urgency"),
    "code_share": ("code shares?", "shares? of code"),
    "child_pages": ("child pages?", "subpages?"),
}
_LABELS: Mapping[str, Sequence[str]] = {
    "issuetype": ("issue ?types?", "types?", "kinds? of issues?"),
    "versions": ("affected versions?", "affects versions?"),
    "fix_versions": (
        "fix versions?",
        "fixed? in versions?",
        "target versions?",
        "versions?",
        "releases?",
    ),
    "labels": ("labels?", "labell?ed(?: as| with)?", "tags?", "tagged(?: as| with)?"),
    "status": ("status(?:es)?",),
    "priority": ("priorit(?:y|ies)",),
    "base": ("base branch(?:es)?", "target branch(?:es)?"),
    "jira_keys": (
        "jira (?:keys?|issues?|tickets?)",
        "issue keys?",
        "referenced issues?",
        "jira references?",
    ),
    "epic": ("epics?",),
    "components": ("components?",),
    "space": ("spaces?",),
}
TYPES: Mapping[str, str] = {
    r"bugs?|defects?": "issuetype",
    r"epics?": "issuetype",
    r"stories": "issuetype",
    r"sub-?tasks?": "issuetype",
    r"blockers?": "priority",
    r"assignees?|assigned": "assignee",
    r"reporters?": "reporter",
}
"""Words for issues that only records with that column can explain."""
ONLY_RECORDS = frozenset(
    "story_points hours_to_merge hours_to_first_review days_open review_rounds reopened".split()
)
"""Columns that no text is asked about by accident."""
TEXTS = ("description_chars",)
"""Lengths of texts: a record has the text where the length is above 0."""
COUNTED = frozenset(
    "comment_count comments attachments votes watches worklogs reopened assignee_changes links inbound_links "
    "additions deletions files review_rounds child_pages linked_commits linked_pull_requests".split()
)
"""Columns where `no` means 0, and missing means that the source did not say."""
STATES: Mapping[str, tuple[str, ...]] = {
    "open": (
        "open",
        "unresolved",
        "unfinished",
        "outstanding",
        "not (?:yet )?(?:closed|resolved|done|fixed)",
    ),
    "closed": ("closed", "resolved", "done", "fixed", "finished", "completed"),
    "merged": ("merged",),
}
MEASURES: Mapping[str, str] = {
    "mean": "average",
    "sum": "total",
    "max": "highest",
    "min": "lowest",
    "median": "median",
    "std": "standard deviation",
    "var": "variance",
    "distinct": "number of different",
}
HIGHEST = r"most|highest|largest|biggest|greatest|maximum|maximal|max|longest|slowest|top|oldest"
LOWEST = r"fewest|least|lowest|smallest|minimum|minimal|min|shortest|fastest|quickest"
FIRST, LAST = r"oldest|earliest|first", r"newest|latest|most recent|last|youngest"
PERIODS: Mapping[Period, str] = {
    "year": "years?|annum",
    "quarter": "quarters?",
    "month": "months?",
    "week": "weeks?",
    "weekday": "weekdays?|days? of the week",
    "day": "days?|dates?",
}
_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
).split()
NUMBER = rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d+(?:\.\d+)?|{'|'.join(_WORDS)}|a single|single)"
FILLER = frozenset(
    """a about across all also altogether am among an and any anybody anyone are as at back backlog be been being between but by
    came can carry carries come compare could created currently did do does each entire ever every everything exist exists far
    filed find for from gave get gets give go gone got had happen happened has have having here history hold how i if in is it its
    land landed like list looking made make many me much my now number of on our out over overall raised recorded
    repo repository say see seen show sitting so still submitted such tell that the their them there these they this those
    to total tracker us use used very want was we were what when where whether which whole whose with
    would written yet you your know opened value values company data dataset database git index jira project
    system table time wiki
    hello hey hi i'm kindly please pls plz thank thanks""".split()
)
"""Words that say nothing about what is counted, or how."""
COURTESY = FILLER | frozenset(
    "both curious figures inclusive included new numbers percent quick question two".split()
)
"""A sentence of these words alone asks for nothing: `I'm new here`, `Give me both numbers`."""


def number_of(text: str) -> float:
    """The number a match of `NUMBER` says."""
    text = "one" if text in ("single", "a single") else text
    return float(_WORDS.index(text)) if text in _WORDS else float(text.replace(",", ""))


class Vocabulary:
    """The columns and values of these records, as people call them."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.kinds = records.kinds
        self.numbers = {n: self._phrases(n, _COLUMNS) for n in records.numbers}
        self.labels = {n: self._phrases(n, _LABELS) for n in records.labels}
        tables = records.values.get("table", ())
        self.tables = {t: rf"(?:{'|'.join(map(re.escape, _spoken(t)))})(?: rows?)?" for t in tables}
        states = set(records.values.get("state", ()))
        self.states = {s: words for s, words in STATES.items() if s in states}

    @cached_property
    def number(self) -> str:
        """A regular expression of all names of numbers, the longest first."""
        return _any(p for phrases in self.numbers.values() for p in phrases)

    @cached_property
    def label(self) -> str:
        """As `number`, of labels."""
        return _any(p for phrases in self.labels.values() for p in phrases)

    @cached_property
    def kind(self) -> str:
        """As `number`, of kinds of records, tables and `records`."""
        known = [p for phrases in KINDS.values() for p in phrases]
        return _any([*known, *self.tables.values(), ANYTHING])

    def phrases_of(self, columns: Iterable[str]) -> str:
        """As `number`, of some columns."""
        return _any(p for name in columns for p in self.numbers.get(name, ()))

    def numbers_named(self, phrase: str) -> list[str]:
        """The numeric columns a phrase names, those most records have first."""
        return [n for n, phrases in self.numbers.items() if _matches(phrases, phrase)]

    def label_named(self, phrase: str) -> str | None:
        """The label column a phrase names."""
        return next((n for n, phrases in self.labels.items() if _matches(phrases, phrase)), None)

    def kind_of_column(self, column: str) -> Condition | None:
        """The kind of the records that have a value in this column, if it is one."""
        scan = self.records.scan().filter(pl.col(column).is_not_null())
        kinds = collect(scan.select(pl.col("kind").unique().head(2)))["kind"].to_list()
        return Condition("kind", "is", (kinds[0],)) if len(kinds) == 1 else None

    def kind_named(self, phrase: str) -> Condition | None:
        """The condition that a kind of record is; None for `records`, which limits nothing."""
        for kind, phrases in KINDS.items():
            if _matches(phrases, phrase):
                return Condition("kind", "is", (kind,))
        for table, words in self.tables.items():
            if _matches([words], phrase):
                return Condition("table", "is", (table,))
        return None

    def value_named(self, phrase: str, column: str | None = None) -> Condition | None:
        """The condition that a value is, of one column or of the first that has it."""
        wanted = " ".join(phrase.lower().split())
        columns = [column] if column else [*_VALUED, *sorted(self.labels)]
        for name in dict.fromkeys(columns):
            for value in self.records.values.get(name, ()):
                spoken = " ".join(value.lower().split())
                if wanted in (spoken, f"{spoken}s", _plural_of(spoken)):
                    return Condition(name, "is", (value,))
        return None

    @cached_property
    def value(self) -> str:
        """A regular expression of all values that are looked for without their column's name."""
        values = [
            v
            for name in self.labels
            if name not in _NAMED_ONLY
            for v in self.records.values.get(name, ())
            if len(v) > 1 and not v.replace(".", "").isdigit() and v.lower() not in FILLER
        ]
        return _any(
            f"(?:{re.escape(v.lower())}|{re.escape(_plural_of(v.lower()))})" for v in values
        )

    def without_data(self, phrase: str) -> str | None:
        """The column of our vocabulary that a phrase names and these records lack."""
        typed = [(name, (pattern,)) for pattern, name in TYPES.items()]
        typed.append(("author", ("who|authors?|wrote",)))
        for name, phrases in [*_COLUMNS.items(), *_LABELS.items(), *typed]:
            if name not in self.numbers and name not in self.labels and _matches(phrases, phrase):
                return name
        if phrase in (w for spoken in STATES.values() for w in spoken) and not self.states:
            return "status"
        return None

    @staticmethod
    def _phrases(name: str, known: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        plain = name.lower().replace("_", " ")
        spoken = [s for p in (plain, plain.rpartition(".")[2]) for s in _spoken(p)]
        return (
            *known.get(name, ()),
            *dict.fromkeys(re.escape(s).replace("\\ ", " ") for s in spoken),
        )


_VALUED = ("state", "status", "issuetype", "priority", "components", "labels", "fix_versions")
"""Where a value's name is looked for first."""
_NAMED_ONLY = frozenset(
    {
        "jira_keys",
        "issues",
        "table",
        "language",
        "attachments",
        "head",
        "subtasks",
        "parent",
        "encoding",
        "ancestors",
    }
)
"""Values that only count beside their column's name: they are words of ordinary questions, or keys."""


def _plural_of(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


def _spoken(name: str) -> list[str]:
    """A name's singular and plural, lower case, words apart."""
    spoken = name.lower().replace("_", " ")
    singular = spoken.removesuffix("s") if not spoken.endswith("ss") else spoken
    return list(dict.fromkeys((singular, spoken, _plural_of(singular))))


def _any(phrases: Iterable[str]) -> str:
    """An alternation, the longest first; what matches nothing where there is none."""
    # the first alternative that matches wins, so those with more words come first
    ordered = sorted(set(phrases), key=lambda p: (-p.count(" "), -len(p), p))
    return f"(?:{'|'.join(ordered)})" if ordered else r"(?!)"


def _matches(phrases: Iterable[str], text: str) -> bool:
    return any(re.fullmatch(phrase, text) for phrase in phrases)
