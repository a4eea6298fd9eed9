"""The conditions a question names: kinds of records, numbers, labels, dates, words.

Each rule takes the words it understands out of the text; `|` stays where they were, so that no rule
reads across a gap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from typing import cast

from alchemy.quant import sizes
from alchemy.quant import vocabulary as words
from alchemy.quant.dates import date_conditions, date_list
from alchemy.quant.mentions import read_mentions
from alchemy.quant.plan import Condition, Op, Period
from alchemy.quant.vocabulary import Vocabulary

_NO = (
    r"(?:without|lacking|missing|lacks?|with no|have no|have not|has no|had no|has not"
    r"|with an? (?:empty|missing)|have an? (?:empty|missing)|has an? (?:empty|missing))"
)
_ISSUE_LABELS = ("issuetype", "priority", "status", "components", "fix_versions")
_REFERENCE = (
    r"(?:that |which )?(?P<not>(?:do|does|did) not |don't |doesn't |have not )?(?:references?|referencing"
    r"|refer(?:s|ring)? to|names?|naming|cites?|citing|links? to|linked to|mentions?|mentioning|have|has"
    r"|with|without)(?: an?| any| some| the| no| at least one)* (?:jira )?"
    r"(?:issue keys?|jira keys?|issues?|tickets?|keys?)(?= |$)"
    r"(?! (?:whose|which|about|mentioning|with)\b)(?! that (?!is|was))"
)


_OF_LINKED = r"\blinked [a-z]+(?: [a-z]+)? (?:that|which|mentioning|containing|about|made|from|since|before|after|whose)\b"
OF_KEY = (
    r"(?:that |which )?(?:references?|referencing|names?|naming|mentions?|mentioning|points? (?:at|to)"
    r"|pointing (?:at|to)|links? to|linked to|belongs? to|for|about|on|of) (?:issue |ticket )?([a-z][a-z0-9_]+-\d+)"
)


@dataclass
class LimitReader:
    """The part of a question that says which records are meant.

    Attributes:
        rest: what is not understood yet.
        quoted: phrases that stood in quotation marks, `q#0` and so on in `rest`.
        where: conditions found.
        said: of these, those on the words of the records.
        alternatives: conditions that are compared with each other.
        kind: the condition on the kind of record.
        strong: whether only records can be meant.
        clashes: parts that were read and cannot hold together, in words.
        spans: of time, one after another, that were listed and are counted together.
    """

    question: str
    vocabulary: Vocabulary
    today: date
    rest: str
    quoted: Sequence[str]
    compare: bool = False
    both: bool = False
    where: list[Condition] = field(default_factory=list[Condition])
    said: list[Condition] = field(default_factory=list[Condition])
    alternatives: list[Condition] = field(default_factory=list[Condition])
    kind: Condition | None = None
    strong: bool = False
    notes: list[str] = field(default_factory=list[str])
    clashes: list[str] = field(default_factory=list[str])
    spans: list[tuple[date, date]] = field(default_factory=list[tuple[date, date]])

    # ---- helpers

    def take(self, pattern: str) -> re.Match[str] | None:
        """Find whole words and cut them out."""
        match = self.find(pattern)
        if match is not None:
            self.cut(match)
        return match

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first place where a pattern matches whole words."""
        return re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", self.rest)

    def cut(self, match: re.Match[str]) -> None:
        """Take a match out of the text."""
        self.rest = " ".join(f"{self.rest[: match.start()]} | {self.rest[match.end() :]}".split())

    def column(self, phrase: str) -> str | None:
        """The numeric column of a phrase: with several, the one of the records asked about."""
        found = self.vocabulary.numbers_named(phrase.strip())
        if {"comments", "comment_count"} <= {*found}:
            pulls = re.search(r"\b(?:pull|merge) requests?|\bprs?\b", self.question.lower())
            return "comments" if pulls else "comment_count"
        return found[0] if found else None

    def group_of(self, phrase: str) -> tuple[str | None, Period | None]:
        """The column (and period) that a phrase groups by."""
        for period, pattern in words.PERIODS.items():
            if re.fullmatch(pattern, phrase):
                dated = "created_at" in self.vocabulary.records.dated
                return ("created_at" if dated else None), period
        label = self.vocabulary.label_named(phrase)
        return (label, None) if label else (self.column(phrase), None)

    def set_kind(self, phrase: str) -> None:
        """Take a kind of record as what is asked about."""
        condition = self.vocabulary.kind_named(phrase)
        if condition is None:
            self.kind = self.kind or Condition("document_id", "missing", negated=True)
            return
        self.kind = condition
        self.strong = self.strong or condition.values[0] in words.STRONG

    def unknown(self) -> tuple[str, ...]:
        """Words with a weight of their own that nothing has explained."""
        left = [w.strip(".,:;|()-") for w in self.rest.split()]
        # groups, or a further question, that no rule has read
        each = re.findall(
            r"\bfor (?:each|every)\b|\band of\b|\bhow (?:many|much|often|long)\b", self.rest
        )
        return (*self.clashes, *(w for w in left if w and w not in words.FILLER), *each)

    # ---- rules

    def texts(self) -> None:
        """What is said about the records' words; first, since a phrase may be any words."""
        if "jira_keys" in self.vocabulary.labels and (match := self.take(_REFERENCE)):
            without = match["not"] or "without" in match[0] or " no " in match[0]
            self.where.append(Condition("jira_keys", "missing", negated=not without))
        if re.search(_OF_LINKED, self.rest):
            self.clashes.append("which linked ones")
        for key in re.findall(OF_KEY, self.rest):
            self.where.append(Condition("jira_keys", "is", (key.upper(),)))
            self.take(OF_KEY)
        found = read_mentions(self.rest, self.quoted, self.vocabulary.kind, compare=self.compare)
        self.rest = found.rest
        self.clashes += found.unclear
        named = [str(v).lower() for c in found.conditions for v in c.values]
        if len(found.conditions) > 1:  # `redis and a description`: not a word to look for
            known = self.vocabulary
            self.clashes += [n for n in named if known.numbers_named(n) or known.label_named(n)]
        self.alternatives += [self._as_written(c) for c in found.alternatives]
        self.said += [self._as_written(c) for c in found.conditions]

    def dates(self) -> None:
        """Spans of time."""
        spans: list[Condition] = []
        if listed := date_list(self.rest):
            text, points = listed
            if self.compare:
                self.alternatives += [
                    Condition("created_at", "within", (a.isoformat(), b.isoformat()))
                    for a, b in points
                ]
                self.rest = " ".join(self.rest.replace(text, " | ", 1).split())
            elif all(a[1] == b[0] for a, b in pairwise(points)):
                ends = (points[0][0].isoformat(), points[-1][1].isoformat())
                self.where += [
                    Condition("created_at", op, (day,))
                    for op, day in zip(("from", "until"), ends, strict=True)
                ]
                self.rest = " ".join(self.rest.replace(text, " | ", 1).split())
                self.spans = points
        while found := date_conditions(self.rest, self.today):
            text, conditions = found
            bounds = {c.op: str(c.values[0]) for c in conditions}
            both = (bounds.get("from", ""), bounds.get("until", "9999"))
            spans.append(Condition(conditions[0].column, "within", both))
            self.rest = " ".join(self.rest.replace(text, " | ", 1).split())
            self.where += conditions
        bounds = [(c.column, c.op) for c in self.where if c.op in ("from", "until")]
        if len(spans) == 1 and len(bounds) > len(set(bounds)):
            self.clashes.append("two ends of a span of time")
        starts, ends = ([str(s.values[n]) for s in spans] for n in (0, 1))
        if len(spans) > 1 and max(starts) >= min(ends):
            # spans apart: nothing is in both, so they are compared, or the question was misread
            self.where = [c for c in self.where if c.op not in ("from", "until")]
            if self.compare:
                self.alternatives += spans
            else:
                self.clashes.append("two spans of time at once")
        if any(re.search(rf"\b(?:{pattern})\b", self.rest) for pattern in words.TYPES):
            self.strong = True

    def limits(self) -> None:
        """Numbers, presence, labels and kinds."""
        self._numeric()
        self._named_values()
        self._presence()

    def values(self) -> None:
        """Values that stand alone, then kinds."""
        for state, spoken in self.vocabulary.states.items():
            while match := self.take(rf"(?P<not>not |aren't |isn't |non-)?(?:{'|'.join(spoken)})"):
                self._condition(Condition("state", "is", (state,), negated=bool(match["not"])))
        value = self.vocabulary.value
        join = r"(?: ,)? (?:than|or|and) "
        while listed := self.find(rf"{value}(?: , {value})*{join}{value}"):
            told = re.split(rf" , |{join}", listed[0])
            every = [c for v in told if (c := self.vocabulary.value_named(self._unquoted(v)))]
            if len(every) < len(told) or len({c.column for c in every}) > 1:
                break  # of several columns: each is a condition of its own
            if self.compare:
                self.alternatives += every
                self._of_issues(every[0])
            else:
                values = tuple(v for c in every for v in c.values)
                self._condition(replace(every[0], values=values))
            self.cut(listed)
        while match := self.take(rf"(?P<not>not |non-)?(?P<value>{value})"):
            condition = self.vocabulary.value_named(match["value"])
            if condition is None:
                break
            self._condition(replace(condition, negated=bool(match["not"])))
        self._kinds()

    def _kinds(self) -> None:
        """Kinds of records; several are compared, or counted together."""
        before = self.kind
        found: list[Condition] = []
        while match := self.take(f"(?:all |the )?(?P<kind>{self.vocabulary.kind})"):
            self.set_kind(match["kind"])
            if self.kind is not None and self.kind not in found and self.kind.values:
                found.append(self.kind)
        other = [c for c in found if c != before] if before and before.values else found[1:]
        if not other:
            return
        kinds = self.vocabulary.kind
        joined = re.search(
            rf"\b{kinds}(?: ,| and| or| &|/)+ (?:all |the )?{kinds}\b", self.question.lower()
        )
        if not self.compare and not joined:
            self.clashes.append("two kinds of records at once")
            return
        if before and before.values:
            self.clashes.append("two kinds of records at once")
        elif self.compare:
            self.alternatives += found
            self.kind = None
        elif len({c.column for c in found}) == 1:
            self.kind = replace(found[0], values=tuple(v for c in found for v in c.values))
        else:
            self.clashes.append("two kinds of records at once")

    def others(self) -> None:
        """`those with a linked commit and those without`: a condition against its opposite."""
        if not self.take("than-not") and not self.both:
            return
        if self.both:
            plain = [
                c
                for c in self.where
                if not c.negated and (c.op in ("missing", "empty") or c.values == (0.0,))
            ]
            self.where = [c for c in self.where if c not in plain[-1:]] + plain[-1:]
            if not plain:
                self.clashes.append("with and without")
                return
        if not self.where:
            self.clashes.append("those that do not")
            return
        last = self.where.pop()
        self.alternatives += [last, replace(last, negated=not last.negated)]

    def either(self) -> None:
        """Two equal-signs on one column: alternatives of a comparison, for nothing is both."""
        equal = [c for c in self.where if c.op == "=" and not c.negated]
        if not self.compare and len(equal) > len({c.column for c in equal}):
            self.clashes.append("two values at once")
        same = [c for c in equal if sum(o.column == c.column for o in equal) > 1]
        if self.compare and same:
            self.alternatives += same
            self.where = [c for c in self.where if c not in same]
            self.take("or")

    def _numeric(self) -> None:
        """`more than 8 story points`, `story points above 8`, `8-point`, `between 3 and 5 comments`."""
        texts = sizes.text_phrases(self.vocabulary)
        counted, forms = sizes.label_forms(self.vocabulary), sizes.number_forms(self.vocabulary)
        while match := next((m for form in counted if (m := self.find(form))), None):
            label = self.vocabulary.label_named(match["label"])
            if label is None:
                break
            found = sizes.conditions_of(label, match.groupdict(), match[0])
            self.where += [replace(condition, counted=True) for condition in found]
            self.cut(match)
        if re.search(
            r"\b(?:titles?|summar|descriptions?|bod(?:y|ies)|comments?|names?)\b", self.rest
        ):
            forms = tuple(form for form in forms if "longer than|shorter" not in form)
        for form in forms:
            while match := self.find(form):
                got = match.groupdict()
                phrase = got.get("column") or ("reopened" if got.get("reopened") else "length")
                name = "reopened" if got.get("reopened") else self.column(phrase)
                if name is None or name not in self.vocabulary.numbers:
                    break
                if phrase.startswith("character") and re.search(rf"\b{texts}\b", self.rest):
                    break  # of which text, no rule has understood
                self.where += sizes.conditions_of(name, got, match[0])
                self.cut(match)

    def _presence(self) -> None:
        """`without story points`, `with a description`, `unestimated`."""
        names = rf"(?P<column>{self.vocabulary.number}|{self.vocabulary.label})"
        forms = (
            rf"(?P<no>{_NO}|no|empty|missing)(?: any| an?| the| empty| missing)* {names}",
            rf"(?P<have>with|have|has|having)(?: any| an?| the| some)* {names}",
        )
        for form in forms:
            while match := self.find(form):
                name = self.vocabulary.label_named(match["column"]) or self.column(match["column"])
                if name is None:
                    break
                self.where.append(_present(name, "have" in match.groupdict(), self.vocabulary))
                self.cut(match)
        if "story_points" in self.vocabulary.numbers and (
            match := self.take(
                "(?:unestimated|not estimated|estimated)(?! (?:at|between|above|over|under|below|from|as|to))"
            )
        ):
            estimated = match[0] == "estimated"
            self.where.append(Condition("story_points", "missing", negated=estimated))

    def _named_values(self) -> None:
        """`status Closed`, `in the Kafka component`: a value beside its column's name."""
        named = self.vocabulary.label
        after = rf"(?:whose |with |in |of |for |the |a |have |has )*(?P<column>{named})(?: is| are| of| =| :)? (?P<not>not )?(?P<value>[^|]+)"
        before = rf"(?:in |of |the |with |for )*(?P<value>[\w.+#-]+(?: [\w.+#-]+){{0,2}}?) (?P<column>{named})"
        for form in (after, before):
            start = 0
            while match := re.compile(rf"(?<![\w-])(?:{form})(?![\w-])").search(self.rest, start):
                start = match.start() + 1
                column = self.vocabulary.label_named(match["column"])
                value, end = self._value_in(match["value"], column, whole=form is before)
                if value is None:
                    continue
                self._condition(replace(value, negated=bool(match.groupdict().get("not"))))
                until = match.end() if form is before else match.start("value") + end
                self.rest = " ".join(f"{self.rest[: match.start()]} | {self.rest[until:]}".split())
                start = 0

    def _value_in(
        self, text: str, column: str | None, *, whole: bool
    ) -> tuple[Condition | None, int]:
        """The longest beginning of a text that is a value of the column, and where it ends."""
        ends = [m.end() for m in re.finditer(r"\S+", text)][:6]
        for end in reversed(ends[-1:] if whole else ends):
            condition = self.vocabulary.value_named(self._unquoted(text[:end].strip(" ,")), column)
            if condition is not None:
                return condition, end
        return None, 0

    def _condition(self, condition: Condition) -> None:
        if condition not in self.where:
            self.where.append(condition)
        self._of_issues(condition)

    def _of_issues(self, condition: Condition) -> None:
        if condition.column in _ISSUE_LABELS:
            self.kind = self.kind or Condition("kind", "is", ("issue",))
            self.strong = True

    def _unquoted(self, phrase: str) -> str:
        return re.sub(r"q#(\d+)", lambda m: self.quoted[int(m[1])], phrase)

    def _as_written(self, condition: Condition) -> Condition:
        """The condition with its phrases in the question's own capitals."""
        values = [
            found[0] + str(v)[len(str(v).rstrip()) :]
            if (found := re.search(re.escape(str(v).rstrip()), self.question, re.IGNORECASE))
            else v
            for v in condition.values
        ]
        return replace(condition, values=tuple(values))


def _present(name: str, have: bool, vocabulary: Vocabulary) -> Condition:
    if name in words.TEXTS:
        return Condition(name, "empty", negated=have)
    if name in words.COUNTED and name in vocabulary.numbers:
        return Condition(name, cast("Op", ">" if have else "="), (0.0,))
    return Condition(name, "missing", negated=have)
