from __future__ import annotations

from release_world import pairs

from alchemy.release.suites import build_cases, foreign_questions


def test_all_cases_of_a_document_are_in_one_half() -> None:
    halves: dict[str, set[str]] = {}
    for case in build_cases(pairs(), 80, seed=13):
        if case.gold:
            halves.setdefault(case.gold.document_ids[0], set()).add(case.half)
    assert all(len(found) == 1 for found in halves.values())
    assert {half for found in halves.values() for half in found} == {"calibration", "test"}


def test_cases_do_not_depend_on_the_order_of_the_pairs() -> None:
    assert build_cases(pairs(), 30, seed=5) == build_cases(reversed(pairs()), 30, seed=5)
    assert build_cases(pairs(), 30, seed=5) != build_cases(pairs(), 30, seed=6)


def test_every_kind_of_pair_gets_its_turn() -> None:
    rare = [p for p in pairs() if p.kind == "port"][:3]
    many = [p for p in pairs() if p.kind != "port"]
    kinds = [c.gold.kind for c in build_cases(rare + many, 12, seed=1) if c.answerable and c.gold]
    assert kinds.count("port") == 3


def test_unanswerable_questions_are_of_both_kinds() -> None:
    cases = build_cases(pairs(), 40, seed=13)
    kinds = [case.kind for case in cases]
    assert kinds.count("answerable") == 40
    assert kinds.count("excluded") == 20
    assert kinds.count("foreign") == 10
    assert all(
        case.excludes(case.gold.document_ids[0])
        for case in cases
        if case.kind == "excluded" and case.gold
    )


def test_the_list_of_foreign_questions_is_clean() -> None:
    questions = foreign_questions()
    assert len(questions) >= 50
    assert len(set(questions)) == len(questions)
