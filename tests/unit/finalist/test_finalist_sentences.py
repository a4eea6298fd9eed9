from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.finalist.sentences import MAX_UNIT_CHARS, units, with_lead_ins

MARKDOWN = st.lists(
    st.sampled_from(
        ["# Title", "- item one. And two.", "1. first", "| a | b |", "|---|---|", "```", "code()",
         "A sentence. Another e.g. this one! Last?", "wrapped line without end", "", "中文句子。第二句！",
         "Status: Done", "> quoted", "see [1] and **bold**", "x" * 700, "a b " * 200]
    ),
    max_size=30,
).map("\n".join)  # fmt: skip


def texts(source: str) -> list[str]:
    return [unit.text for unit in units(source)]


@settings(deadline=None)
@given(st.one_of(MARKDOWN, st.text(max_size=400)))
def test_units_are_exact_ordered_disjoint_substrings(source: str) -> None:
    end = 0
    for unit in units(source):
        assert source[unit.start : unit.end] == unit.text == unit.text.strip()
        assert end <= unit.start < unit.end
        assert len(unit.text) <= MAX_UNIT_CHARS
        end = unit.end


@settings(deadline=None)
@given(MARKDOWN)
def test_lead_ins_stay_exact_substrings(source: str) -> None:
    for unit in with_lead_ins(source, units(source)):
        assert source[unit.start : unit.end] == unit.text


@settings(deadline=None)
@given(st.text(alphabet="ab .!?\n-#|`中。", max_size=200))
def test_no_word_is_lost(source: str) -> None:
    kept = set("".join(texts(source)))
    assert {c for c in source if c.isalnum()} <= kept or "```" in source


def test_versions_abbreviations_and_decimals_do_not_end_a_sentence() -> None:
    source = "Use version 1.0.2 of e.g. Redis. It costs 3.5 GB. See Fig. 3 for more."
    assert texts(source) == [
        "Use version 1.0.2 of e.g. Redis.",
        "It costs 3.5 GB.",
        "See Fig. 3 for more.",
    ]


def test_wrapped_lines_are_one_sentence() -> None:
    source = (
        "The container registers itself with ZooKeeper and waits for the admin\n"
        "server to deploy modules. Then it runs."
    )
    assert len(texts(source)) == 2


def test_items_rows_fields_and_code_lines_are_units_of_their_own() -> None:
    source = (
        "# Ports\nStatus: Done\nPriority: Major\n"
        "- admin uses 9393\n- http uses 9000\n"
        "| option | default |\n|---|---|\n| port | 9393 |\n"
        "```\nxd-admin --port 1\nxd-shell\n```"
    )
    assert [(u.kind, u.text) for u in units(source)] == [
        ("heading", "Ports"),
        ("field", "Status: Done"),
        ("field", "Priority: Major"),
        ("item", "admin uses 9393"),
        ("item", "http uses 9000"),
        ("row", "| option | default |"),
        ("row", "| port | 9393 |"),
        ("code", "xd-admin --port 1"),
        ("code", "xd-shell"),
    ]


def test_chinese_sentences_are_split_without_spaces() -> None:
    assert texts("容器向注册中心登记。管理员部署模块！完成") == [
        "容器向注册中心登记。",
        "管理员部署模块！",
        "完成",
    ]


def test_a_sentence_that_announces_code_brings_it_along() -> None:
    source = "To start the shell, run:\n\n```\nxd-shell\n```\n\nThat is all."
    extended = with_lead_ins(source, units(source))
    assert extended[0].text == "To start the shell, run:\n\n```\nxd-shell"
