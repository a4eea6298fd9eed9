"""A question in English → a query plan, or why there is none.

Not a language model: each rule takes the words it understands out of the question, and what is left
must be words without weight of their own. So a plan covers the whole question or there is none; a
word nobody understood is named instead of being ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date

from alchemy.quant import vocabulary as words
from alchemy.quant.cues import CUE, LONGEST
from alchemy.quant.limits import OF_KEY, LimitReader
from alchemy.quant.measures import MeasureReader
from alchemy.quant.phrasing import normalised
from alchemy.quant.plan import Plan
from alchemy.quant.records import DATES
from alchemy.quant.vocabulary import FIRST, HIGHEST, LAST, LOWEST, Vocabulary

_KEY = re.compile(r"\b[A-Z][A-Z0-9_]+-\d+\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b")
_OF_ISSUE = re.compile(rf"\b(?:commits?|check-?ins?|pull requests?|prs?)\b.* {OF_KEY}")
_MODAL = re.compile(
    r"\b(?:can|could|may|might|must|should|shall|would|need|needs|required?|default)\b"
)
_SHARE = r"(?:what |which )?(?:percent(?:age)?|share|proportion|fraction|ratio) of(?: all| the)*"
_SHARE_OF = r"(?:what|which) (?:percent(?:age)?|share|proportion|fraction)(?: of (?:them|those|these))?(?= )"
_VERB = re.compile(
    r"(?<!that )(?<!which )(?<!who )\b(?:are|is|were|was|have|has|had|mentions?|contains?|lacks?|do not"
    r"|does not|don't|doesn't|references?|refers?|names?|cites?|starts?|begins?|get|got)\b"
)
_RANKED = re.compile(
    rf"\b(?:{HIGHEST}|{LOWEST}|how many|number of|average|mean|median|total|per|busiest|quietest)\b"
)
_COMPARED = re.compile(
    r"^compare\b|\b(?:more|fewer|less)\b(?! than)|\bmore (?:often|frequently)\b|\bthan (?!\d)"
)
_COUNT = (
    r"how many(?: more| different)?|how often"
    r"|(?:what is |what's )?(?:the )?(?:total )?(?:number|count) of(?: all)?"
    r"|count(?: of| up)?(?: all| the)*|(?:are|is) there(?: any| more)?|do more|did more|do we have any"
)
_LIST = r"^(?:please )?(?:list|show|name)(?: me)?(?: all| the| every)*|^(?:which|what)\b"


_BOTH = re.compile(r"\bwith (?:and|or|than|versus) without\b")
_BACK = re.compile(r"\b(?:it|its|that|this|those|these|them|they|their|such|there of)\b")
"""Words of a second question that point back at the first one."""
_BARE = re.compile(
    r"(?:all |the )?(?:[a-z-]+ )?(?:issues|tickets|commits|check-?ins|patches|pull requests|prs)\b"
)
"""Begins a question that only names records: `commits in July 2013?`."""
_COMPLEMENT = r"(?:, )?and how many (?:of (?:them|those) )?(?:have none|have not|haven't|do not|don't|are not|aren't)(?: have (?:one|any))?(?= \||$)"


@dataclass(frozen=True)
class Reading:
    """What a question was understood as.

    Attributes:
        plan: None where something was not understood.
        strong: whether the question can only be about the records; else texts may answer it.
        unknown: words that no column, value or rule explains.
        missing: columns the question names and no record has.
        notes: how words that could mean several things were read.
        also: further plans whose results belong to the answer.
    """

    plan: Plan | None
    strong: bool
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    also: tuple[Plan, ...] = ()


def read_question(question: str, vocabulary: Vocabulary, today: date) -> Reading | None:
    """What to compute for a question; None where it asks for no computation over records."""
    if len(question) > LONGEST:
        return None  # a story
    if _KEY.search(question) and not _OF_ISSUE.search(question.lower()):
        return None  # about one record, whose text says it
    text, quoted = normalised(question)
    if not CUE.search(text):
        return None

    def read(part: str) -> Reading | None:
        return _Reader(question, vocabulary, today, part, quoted, asked=part).read()

    whole = read(text)
    first, *second = re.split(r"(?: ,)? and (?=how (?:many|much) )", text)
    if whole is None or whole.plan is not None or len(second) != 1 or _BACK.search(second[0]):
        return whole
    halves = [read(part) for part in (first, *second)]
    plans = [half.plan for half in halves if half is not None and half.plan is not None]
    if len(plans) < 2:
        return whole
    notes = tuple(note for half in halves if half is not None for note in half.notes)
    return Reading(plans[0], whole.strong, notes=notes, also=(plans[1],))


@dataclass
class _Reader(MeasureReader):
    """Puts what is to be computed and what it is computed from together."""

    counted: bool = False
    bare: bool = False
    complement: bool = False
    ends: bool = False
    asked: str = ""

    def read(self) -> Reading | None:
        whole = self._whole_before()
        share = whole or self.take(_SHARE)
        whole = whole or (self._whole_of_share() if share else None)
        self.compare = bool(_COMPARED.search(self.rest))
        self.both = _BOTH.search(self.rest) is not None
        self.rest = _BOTH.sub("without", self.rest)
        if self.rest.startswith("compare ") and " than" not in self.rest:
            # `compare X and Y`: what is joined is set against each other
            self.rest = re.sub(
                r" (?:and|with|to|against) (?=(?:in |about |mentioning )?[\w-]+(?: \||$| ,))",
                " than ",
                self.rest,
            )
        if re.search(rf"\band (?:of|for) (?:the |all )?{self.vocabulary.kind}\b", self.asked):
            self.clashes.append("and of")  # a second set of records
        self.complement = self.take(_COMPLEMENT) is not None
        referenced = self.most_referenced() or self._first_and_last()
        self.texts()
        self.dates()
        for rule in (
            ()
            if referenced
            else (
                self.most_common,
                self.busiest,
                self.superlative_group,
                self.superlative_record,
                self.aggregate,
            )
        ):
            if rule():
                break
        self.limits()
        self.groups()
        self.values()
        self.either()
        self.others()
        if share and self.plan is not None and self.plan.measure == "count":
            self.plan = replace(self.plan, measure="share")
        if self.plan is None and not self._counting(share=bool(share)):
            return self._not_recorded()
        assert self.plan is not None
        if self.plan.measure == "count" and not self.counted:
            self.take(_COUNT)  # beside groups that were read before
        if self.compare or self.alternatives:
            self.take(
                r"how many more|(?:are|is) there more|do more|did more"
                r"|(?:more|less|most) (?:often|frequently)|more|most|fewer"
            )
            self.take(r"by how (?:much|many)")
            self.take(r"than|or")
        return self._understood(self.plan, whole)

    def _understood(self, plan: Plan, whole: LimitReader | None) -> Reading | None:
        unknown = (*self.unknown(), *(whole.unknown() if whole else ()))
        self.kind = (whole.kind if whole else None) or self.kind
        self.strong = self.strong or bool(whole and whole.strong)
        for column in (plan.column, plan.group):
            if self.kind is None and column and column not in (*DATES, "document_id"):
                self.kind = self.vocabulary.kind_of_column(column)
        said = re.search(
            r"\b(?:story|points|estimate|merge|review|open|reopen)", self.question.lower()
        )
        self.strong = self.strong or (plan.column in words.ONLY_RECORDS and said is not None)
        about = bool(self.kind or plan.column or plan.group)
        missing = tuple(n for w in unknown if (n := self.vocabulary.without_data(w)))
        if not about:
            if self.strong and missing:
                return Reading(None, True, unknown, missing)
            if not (self.counted and (self.said or self.alternatives)):
                return None
        # which issue, the first issue, a list of issues: texts may say that, too
        sought = (plan.group == "document_id" and not plan.column) or plan.column in DATES
        strong = (
            self.strong
            and not sought
            and not self.bare
            and not _MODAL.search(self.question.lower())
        )
        if unknown:
            return Reading(None, strong, unknown, missing, tuple(self.notes))
        made = self._finished(plan, whole)
        if made.measure == "share" and not made.part:
            return Reading(None, strong, ("share",))
        also: list[Plan] = []
        if self.spans and made.measure != "rate" and not made.group:
            days = (self.spans[0][1] - self.spans[0][0]).days
            period = (
                "year"
                if days > 300
                else "quarter"
                if days > 80
                else "month"
                if days > 20
                else "day"
            )
            also.append(replace(made, group="created_at", period=period))
        if self.second:
            also.append(replace(made, measure=self.second))
        if self.ends:
            also.append(replace(made, order="highest"))
        if self.complement:
            *base, last = made.where
            if made.measure != "count" or made.group or last.says_kind:
                return Reading(None, strong, ("none",))
            also.append(replace(made, where=(*base, replace(last, negated=not last.negated))))
        return Reading(made, strong, notes=tuple(self.notes), also=tuple(also))

    def _finished(self, plan: Plan, whole: LimitReader | None) -> Plan:
        base = [self.kind] if self.kind else []
        own = [*self.where, *self.said]
        if plan.measure == "share":
            of = [*base, *whole.where, *whole.said] if whole else base
            return replace(plan, where=tuple(of), part=tuple(own))
        if self.alternatives:
            order = plan.order or "highest"
            return replace(
                plan, alternatives=tuple(self.alternatives), order=order, where=(*base, *own)
            )
        return replace(plan, where=(*base, *own))

    def _whole_of_share(self) -> LimitReader | None:
        """`percentage of open bugs | that mention Kafka`: what the share is of, taken out."""
        verb = _VERB.search(self.rest)
        if verb is None:
            return None
        left, self.rest = self.rest[: verb.start()], self.rest[verb.start() :]
        return self._whole(left)

    def _whole_before(self) -> LimitReader | None:
        """`among tickets that mention Kafka, what percentage is estimated at 8 points`."""
        match = re.match(rf"(?:among|of|for|out of) (?P<whole>.+?) ,? ?{_SHARE_OF}", self.rest)
        if match is None:
            return None
        self.rest = self.rest[match.end() :]
        return self._whole(match["whole"])

    def _whole(self, left: str) -> LimitReader:
        whole = LimitReader(self.question, self.vocabulary, self.today, left, self.quoted)
        whole.texts()
        whole.dates()
        whole.limits()
        whole.values()
        return whole

    def _not_recorded(self) -> Reading | None:
        """Where the question is about a column of ours that no record has: that is said."""
        asked = self.question.lower()
        group = re.search(r"\b(?:which|what|per|by|each) ([a-z]+)", asked)
        lacking = self.vocabulary.without_data(group[1]) if group else None
        nouns = re.search(r"\b(?:merges?|bugs?|issues?|tickets?|pull requests?|prs?)\b", asked)
        if lacking is None or not (self.kind or nouns) or not _RANKED.search(asked):
            return None
        return Reading(None, True, self.unknown(), (lacking,))

    def _first_and_last(self) -> bool:
        """`when were the first and the last commit made`."""
        kind = rf"(?P<kind>{self.vocabulary.kind})(?: dates?)?"
        match = self.find(
            rf"(?:when (?:was|is|were|are) )?(?:the )?(?:{FIRST}) and (?:the )?(?:{LAST}) {kind}"
        )
        if match is None or "created_at" not in self.vocabulary.records.dated:
            return False
        if re.search(r"\b(?:between|time|long|days|weeks|months|years)\b", self.rest):
            return False  # how far apart they are
        self.cut(match)
        self.set_kind(match["kind"])
        self.plan = Plan(column="created_at", group="document_id", order="lowest", limit=1)
        self.ends = True
        return True

    def _counting(self, *, share: bool) -> bool:
        if share:
            self.plan = Plan("share")
            return True
        counted = self.take(_COUNT)
        dated = None
        if self.kind and not counted:
            dated = self.take(
                rf"(?:when (?:was|is) )?(?:the )?(?:(?P<first>{FIRST})|(?P<last>{LAST}))"
            )
        if dated is not None:
            order = "highest" if dated["last"] else "lowest"
            self.plan = Plan(column="created_at", group="document_id", order=order, limit=1)
            return "created_at" in self.vocabulary.records.dated
        listed = None if counted else self.take(_LIST)
        self.bare = not counted and not listed and _BARE.match(self.asked) is not None
        if self.bare and self.kind and (self.where or self.said) and not self.alternatives:
            self.plan = Plan(group="document_id")
            return True
        if not counted and not listed:
            compared = re.search(r"\b(?:more|most|total)\b", self.question.lower())
            if not (self.alternatives or self.kind) or not compared:
                return False
        if listed is not None and (self.kind is None or not self.where):
            return False
        self.counted = listed is None
        self.plan = Plan(group="document_id") if listed is not None else Plan()
        return True
