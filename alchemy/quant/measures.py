"""What a question asks to compute: counts, averages, superlatives, groups."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from alchemy.quant import vocabulary as words
from alchemy.quant.limits import LimitReader
from alchemy.quant.plan import Condition, Measure, Plan
from alchemy.quant.vocabulary import FIRST, HIGHEST, LAST, LOWEST, NUMBER, number_of

_AGGREGATES: tuple[tuple[str, Measure], ...] = (
    (r"average|mean|avg", "mean"),
    (r"median", "median"),
    (r"total|sum(?: total)?|combined", "sum"),
    (r"standard deviations?|std(?:\.? dev\.?)?", "std"),
    (r"variances?", "var"),
    (r"(?:number|count) of (?:different|distinct|unique)|different|distinct|unique", "distinct"),
    (HIGHEST, "max"),
    (LOWEST, "min"),
)
_AGGREGATE = "|".join(pattern for pattern, _ in _AGGREGATES)
_PERIODS = "|".join(words.PERIODS.values())


@dataclass
class MeasureReader(LimitReader):
    """Adds what is to be computed; each rule says whether it found something.

    Attributes:
        plan: measure, column, groups and order; its conditions come later.
        second: another measure of the same.
    """

    plan: Plan | None = None
    second: Measure | None = None

    def superlative_group(self) -> bool:
        """`which component has the most bugs`, `which year had the highest average story points`."""
        who = (
            r"(?:which|what|the|(?:in|on|during) (?:which|what))(?: single| one)?"
            rf" (?P<group>{self.vocabulary.label}|{_PERIODS})"
        )
        # a date may have stood in between: which month in 2014 had the most
        does = (
            r"(?: (?:has|have|had|with|got|saw|sees|see|brought|contains?|is|are|was|were|do|did|of"
            r"|there|we|\|))*"
        )
        best = rf"(?: the)? (?:(?P<high>{HIGHEST})|(?P<low>{LOWEST}))"
        match = self.find(rf"{who}{does}{best}(?: number of| total)?")
        group, period = self.group_of(match["group"]) if match else (None, None)
        if match is None or group is None:
            return False
        order = "highest" if match["high"] else "lowest"
        word = match["high"] or match["low"]
        head, tail = self.rest[: match.start()], self.rest[match.end() :].strip()
        plan = Plan(group=group, period=period, order=order, limit=1)
        number = rf"(?P<column>{self.vocabulary.number})"
        found = re.match(rf"(?:(?P<agg>{_AGGREGATE}) )?(?:number of )?{number}(?![\w-])", tail)
        if found and (column := self.column(found["column"])):
            measure = self._measure(found["agg"]) if found["agg"] else _compared_by(word)
            if not found["agg"] and measure != "sum":
                self.notes.append(f"“{word}” compares the {words.MEASURES[measure]} of each")
            self._merges(found["column"])
            plan = replace(plan, measure=measure, column=column)
            tail = tail[found.end() :]
        self.plan = plan
        self.rest = " ".join(f"{head} | {tail}".split())
        return True

    def most_referenced(self) -> bool:
        """`which Jira issue is referenced by the most commits`."""
        if "jira_keys" not in self.vocabulary.labels:
            return False
        match = self.find(
            r"(?:which|what) (?:jira )?(?:issue keys?|issues?|tickets?|keys?) (?:is|are|was|were)"
            r" (?:referenced|mentioned|named|cited|referred to)(?: by| in)?(?: the)?"
            rf" (?:(?P<high>most|(?:largest|highest|greatest) number of)|(?P<low>fewest|least))(?= {self.vocabulary.kind})"
        )
        if match is None:
            return False
        order = "highest" if match["high"] else "lowest"
        self.plan = Plan(group="jira_keys", order=order, limit=1)
        self.cut(match)
        return True

    def superlative_record(self) -> bool:
        """`which issue has the most comments`, `the 3 longest pages`, `top 5 issues by points`."""
        kind = rf"(?P<kind>{self.vocabulary.kind})"
        ranked = rf"(?:(?P<high>{HIGHEST})|(?P<low>{LOWEST}))"
        dated = rf"(?:(?P<first>{FIRST})|(?P<last>{LAST}))"
        number, count = rf"(?P<column>{self.vocabulary.number})", rf"(?:(?P<n>{NUMBER}) )?"
        count2 = count.replace("<n>", "<n2>")
        start = r"(?:(?:which|what|list|show|name|when)(?: me)?(?: are| is| was| were)?(?: the)? )?"
        has = r"(?:has|have|had|with|is|are|that have|that has)?"
        open_for = (
            r"(?:is|was|were|are|has been|have been|stayed|took|take|takes) (?:open )?(?:the )?"
        )
        forms = (
            rf"{start}{count}{kind}(?: \|)* {has}(?: the)? ?{ranked} (?:number of |amount of |total )?{number}",
            rf"{start}(?P<top>top) {count}{kind} (?:by|in|ranked by|with the most|with the highest)(?: the)?(?: number of)? {number}",
            rf"{start}{count}{ranked} {count2}{kind}(?: (?:by|in terms of|in) {number})?",
            rf"{start}{count}{dated} {count2}{kind}",
            rf"{start}{kind} {open_for}(?P<open>longest|shortest)(?: to (?:close|resolve|fix|merge))?",
            rf"{start}{kind} (?:is|are|was|were)(?: the)? {ranked}",
            rf"{start}{kind} (?:is|are|was|were)(?: the)? {dated}",
        )
        for form in forms:
            match = self.find(form)
            if match and not re.search(r"\bhow (?:many|old|long|much)\b", self.rest[: match.end()]):
                plan = self._ranked_records(match.groupdict())
                if plan is not None:
                    self.set_kind(match["kind"])
                    self.plan = plan
                    self.cut(match)
                    return True
        return False

    def _ranked_records(self, got: dict[str, str | None]) -> Plan | None:
        limit = next((int(number_of(n)) for name in ("n", "n2") if (n := got.get(name))), 0)
        limit = limit or (5 if got.get("top") else 1)
        dated = got.get("first") or got.get("last")
        word = got.get("high") or got.get("low") or got.get("open") or dated or "top"
        if dated or word == "oldest":
            if "created_at" not in self.vocabulary.records.dated:
                return None
            order = "highest" if got.get("last") else "lowest"
            return Plan(column="created_at", group="document_id", order=order, limit=limit)
        phrase = got.get("column") or self._implied(word, got["kind"] or "", bool(got.get("open")))
        column = self.column(phrase) if phrase else None
        if column is None:
            return None
        if not got.get("column"):
            self.notes.append(f"“{word}” is read as by {column.replace('_', ' ')}")
        order = "lowest" if got.get("low") or word == "shortest" else "highest"
        return Plan(column=column, group="document_id", order=order, limit=limit)

    def _implied(self, word: str, kind: str, open_for: bool) -> str | None:
        """The column an adjective is about."""
        if word in ("slowest", "fastest", "quickest") or open_for:
            condition = self.vocabulary.kind_named(kind)
            issues = condition is not None and condition.values == ("issue",)
            return "days open" if issues else "time to merge"
        return "length" if word in ("longest", "shortest") else None

    def most_common(self) -> bool:
        """`the most common priority`, `distribution of story points`."""
        column = rf"(?P<column>{self.vocabulary.label}|{self.vocabulary.number})"
        often = r"(?:common|frequent|used|frequently used|popular|often used|often|frequently)"
        match = (
            self.take(
                rf"(?:top )?(?:(?P<n>{NUMBER}) )?(?P<how>most|least) {often} (?:number of )?{column}"
                r"(?: values?)?(?: with (?:their |the )?(?:counts?|numbers?))?"
            )
            or self.take(
                rf"(?:which|what) {column}(?: values?)? (?:is|was|are|were|occurs?|appears?)(?: the)?"
                rf"(?: used)? (?P<how>most|least) {often}"
            )
            or self.take(rf"(?:distribution|breakdown|histogram) (?:of|by) (?:the )?{column}")
        )
        group = self.group_of(match["column"])[0] if match else None
        if match is None or group is None:
            return False
        # the answer says how many have it anyway
        have = r"(?:have|has|use|carry) (?:it|that|this)"
        self.take(rf"(?:, )?and how (?:many|often) {self.vocabulary.kind} {have}")
        how = match.groupdict().get("how")
        order = "lowest" if how == "least" else "highest" if how else None
        count = match.groupdict().get("n")
        limit = int(number_of(count)) if count else 1
        self.plan = Plan(group=group, order=order, limit=limit if how else 0)
        return True

    def busiest(self) -> bool:
        """`the busiest month for commits`."""
        names = rf"{self.vocabulary.label}|{_PERIODS}"
        match = self.take(
            rf"(?:which|what)?(?: is| was)?(?: the)?(?: (?P<group>{names}) (?:is|was))?(?: the)?"
            rf" ?(?P<how>busiest|quietest)(?: (?P<group2>{names}))?"
        )
        group, period = (
            self.group_of(match["group"] or match["group2"] or "") if match else ("", None)
        )
        if match is None or not group:
            return False
        order = "highest" if match["how"] == "busiest" else "lowest"
        self.plan = Plan(group=group, period=period, order=order, limit=1)
        return True

    def aggregate(self) -> bool:
        """`average story points`, `how many comments`, `90th percentile of story points`."""
        of = r"(?: (?:number|amount|count) of| of)?(?: all| the| their)*"
        number, label = (
            rf"(?P<column>{self.vocabulary.number})",
            rf"(?P<label>{self.vocabulary.label})",
        )
        asked = r"(?= (?:do|does|did|are|is|were|was|has|have|had|in|there|would|exist)\b|$)"
        if match := self.take(
            rf"(?P<q>\d{{1,2}}(?:\.\d+)?)(?:st|nd|rd|th)? percentile{of} {number}"
        ):
            return self._measured("quantile", match["column"], float(match["q"]) / 100)
        if match := self.take(
            rf"(?:how many |number of )(?:different|distinct|unique) (?:{number}|{label})(?: values?)?"
        ):
            name = match["column"] or match["label"]
            return self._distinct(self.vocabulary.label_named(name) or self.column(name))
        if self._rate():
            return True
        if match := self.take(
            rf"(?P<agg>{_AGGREGATE}) and (?:the )?(?P<agg2>{_AGGREGATE}){of} {number}(?: values?)?"
        ):
            self.second = self._measure(match["agg2"])
            return self._measured(self._measure(match["agg"]), match["column"])
        if match := self.take(rf"{number} (?:total|sum)"):
            return self._measured("sum", match["column"])
        if match := self.take(rf"(?P<agg>{_AGGREGATE}){of} {number}"):
            return self._measured(self._measure(match["agg"]), match["column"])
        if match := self.take(rf"how (?:many|much) {number}{asked}"):
            mean = self.take("on average|the average|the typical")
            return self._measured("mean" if mean else "sum", match["column"])
        if match := self.take(rf"how many {label}{asked}"):
            return self._distinct(self.vocabulary.label_named(match["label"]))
        take = r"how (?:long|much time) (?:do|does|did|is|are|was|were)(?: the| an?| all)*"
        if match := self.take(rf"{take} {number}(?: take| last)?"):
            typical = self.take("on average|typically|usually")
            median = typical is not None and typical[0] != "on average"
            return self._measured("median" if median else "mean", match["column"])
        return False

    def _rate(self) -> bool:
        """`the average number of commits per month`."""
        kind, per = (
            rf"(?P<kind>{self.vocabulary.kind})",
            rf"(?:per|each|every|an?) (?P<period>{_PERIODS})",
        )
        per2 = per.replace("<period>", "<period2>")
        over = rf"(?: over the (?:{NUMBER} )?(?:{_PERIODS}))?"
        match = self.take(
            rf"(?:average|mean|avg) (?:(?:number|count|amount) of )?{kind}(?: \|)* {per}{over}"
        ) or self.take(
            rf"how many {kind}(?: (?:do|did|are|were|was|is|we|there|made|get|\|))*"
            rf" (?:on average {per}|{per2} on average)"
        )
        if match is None:
            return False
        told = match.groupdict()
        column, period = self.group_of(told["period"] or told.get("period2") or "")
        if column is None or period == "weekday":
            return False
        self.set_kind(match["kind"])
        self.plan = Plan("rate", period=period)
        return True

    def _measure(self, phrase: str) -> Measure:
        return next(m for pattern, m in _AGGREGATES if re.fullmatch(pattern, phrase))

    def _measured(self, measure: Measure, phrase: str, quantile: float = 0.5) -> bool:
        column = self.column(phrase)
        if column is None:
            return False
        self.take("on average|the average")
        if measure in ("mean", "median", "min", "max") and (
            kind := self.take(rf"per (?P<kind>{self.vocabulary.kind})")
        ):
            self.set_kind(kind["kind"])
        self._merges(phrase)
        self.plan = Plan(measure, column, quantile=quantile)
        which = re.match(
            rf"\W*(?:which|what) (?P<kind>{self.vocabulary.kind})\b", self.question.lower()
        )
        if which and measure in ("min", "max"):  # the record is asked for, not its number
            self.set_kind(which["kind"])
            order = "highest" if measure == "max" else "lowest"
            self.plan = Plan(column=column, group="document_id", order=order, limit=1)
        return True

    def _distinct(self, column: str | None) -> bool:
        self.plan = Plan("distinct", column or "")
        return column is not None

    def _merges(self, phrase: str) -> None:
        if self.kind is None and re.fullmatch("merges?", phrase):
            self.kind, self.strong = Condition("kind", "is", ("pull request",)), True

    def groups(self) -> None:
        """`per month`, `by component`, `for each status`."""
        names = rf"(?P<group>{self.vocabulary.label}|{self.vocabulary.number}|{_PERIODS})"
        match = self.find(
            r"(?:per|by|for each|for every|in each|of each|grouped by|broken down by|split by|across)"
            rf" (?:the )?{names}"
        )
        group, period = self.group_of(match["group"]) if match else (None, None)
        if match is not None and group is not None:
            if self.plan and ((self.plan.group and self.plan.order) or self.plan.measure == "rate"):
                self.clashes.append("two groupings at once")
            self.cut(match)
            self.plan = replace(self.plan or Plan(), group=group, period=period)


def _compared_by(word: str) -> Measure:
    """What a superlative without a measure compares groups by."""
    if word in ("most", "fewest", "least"):
        return "sum"
    if word in ("slowest", "fastest", "quickest"):
        return "median"
    return "max" if re.fullmatch(HIGHEST, word) else "min"
