"""Parsers keep every word, in order, and never fail on text."""

from __future__ import annotations

import json
import re
from html import escape

from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.connectors.adf import parse_adf
from alchemy.connectors.asciidoc import parse_asciidoc
from alchemy.connectors.blocks import to_markdown
from alchemy.connectors.documents import markdown_headings
from alchemy.connectors.fields import normalise
from alchemy.connectors.wiki_markup import parse_wiki
from alchemy.connectors.xhtml import parse_html, parse_storage

_MARK = re.compile(r"w\d+w")
_many = settings(max_examples=150, deadline=None)


def numbered(template: str) -> str:
    """Each `W` becomes a distinct word, so that order and number can be checked."""
    counter = iter(range(10**6))
    return re.sub("W", lambda _: f"w{next(counter)}w", template)


def same_words(source: str, result: str) -> bool:
    return _MARK.findall(source) == _MARK.findall(result)


def soup(marks: str, length: int = 40) -> st.SearchStrategy[str]:
    """Words and markup characters in any order."""
    parts = st.lists(st.sampled_from(["W", "W ", " ", *marks]), max_size=length)
    return parts.map("".join).map(numbered)


@given(soup("*_{}[]|!-+?#~^\\\n:,."))
@_many
def test_wiki_markup_keeps_every_word(text):
    assert same_words(text, to_markdown(parse_wiki(text)))


_wiki_block = st.sampled_from(
    [
        "h2. W W", "* W\n** W *W*\n# W", "# W\n#* W\nW", "||W||W||\n|W|[W|http://x.org]|", "bq. W",
        "{quote}W\n\n* W{quote}", "{panel:title=W}W{panel}", "W {{W}} _W_ W", "{noformat}W\n W{noformat}",
        "{code:java}W |W| *W*{code}", "W {code}W{code} W", "{color:red}W{color}", "- W\n- W", "----",
        "[W|http://x.org/a|smart-link] [~W]", "W\\\\ W",
    ]
)  # fmt: skip


@given(st.lists(_wiki_block, max_size=8).map("\n\n".join).map(numbered))
@_many
def test_wiki_blocks_keep_every_word_in_order(text):
    assert same_words(text, to_markdown(parse_wiki(text)))


@given(st.text(max_size=200))
@_many
def test_parsers_accept_any_text(text):
    for parse in (parse_wiki, parse_asciidoc, parse_storage, parse_html):
        assert isinstance(to_markdown(parse(normalise(text))), str)
    assert normalise(normalise(text)) == normalise(text)


@given(soup("*_+`$~^|{}!?#-.\n="))
@_many
def test_asciidoc_running_text_keeps_every_word(text):
    assert same_words(text, to_markdown(parse_asciidoc(text)))


_asciidoc_block = st.sampled_from(
    [
        "== W W", "=== W ===", "W W\nW", "* W\n** W\n* W", ". W\n.. W\n+\nW\n\n. W", "1. W\n2. W",
        "W:: W\nW::\n  W", "$$W$$:: $$W$$ *($$W$$)*", "----\nW\n== W\n----", "[source,java]\n----\nW\n----",
        "[NOTE]\n.W\n====\nW\n\n* W\n====", "NOTE: W\nW", "|===\n|W|W\n\n|W\n|W *W*\n|===", ".W\n----\nW\n----",
        '[cols="2*",options="header"]\n|===\n|W |W\n|W |W\n|===', "  W\n  W", "```java\nW\n```",
        "____\nW\n____", "http://x.org[W] and xref:A#b[W] <<c,W>> footnote:[W]", "<1> W\n<2> W", "....\nW\n....",
        "W `W` _W_ *W* +W+", "****\nW\n****",
    ]
)  # fmt: skip


@given(st.lists(_asciidoc_block, max_size=8).map("\n\n".join).map(numbered))
@_many
def test_asciidoc_blocks_keep_every_word_in_order(text):
    assert same_words(text, to_markdown(parse_asciidoc(text)))


@given(soup("#=-*`>|\n"))
@_many
def test_markdown_keeps_every_word(text):
    assert same_words(text, markdown_headings(normalise(text)))


_inline_html = st.recursive(
    st.sampled_from(["W", " W ", "<br/>", "W&amp;W", "<code>W</code>", "W&nbsp;W"]),
    lambda inner: st.tuples(
        st.sampled_from(["b", "em", "span", "u", 'a href="http://x.org"', 'a href="#y"']), inner
    ).map(lambda t: f"<{t[0]}>{t[1]}</{t[0].split()[0]}>"),
    max_leaves=4,
)


def _code(text: str) -> str:
    return (
        '<ac:structured-macro ac:name="code"><ac:plain-text-body><![CDATA['
        f"{text}]]></ac:plain-text-body></ac:structured-macro>"
    )


def _rich(name: str, inner: str) -> str:
    return (
        f'<ac:structured-macro ac:name="{name}"><ac:rich-text-body>{inner}</ac:rich-text-body>'
        "</ac:structured-macro>"
    )


_block_html = st.recursive(
    st.one_of(
        _inline_html.map(lambda x: f"<p>{x}</p>"),
        _inline_html.map(lambda x: f"<h2>{x}</h2>"),
        _inline_html,
        st.just(_code("W < W &nbsp; W")),
        st.just("<pre>W\n  W</pre>"),
    ),
    lambda inner: st.one_of(
        inner.map(lambda x: f"<div>{x}W</div>"),
        inner.map(lambda x: f"<blockquote>{x}</blockquote>"),
        inner.map(lambda x: f"<ul><li>{x}</li><li>W</li></ul>"),
        inner.map(lambda x: f"<ol><li>W<ul><li>{x}</li></ul></li></ol>"),
        inner.map(lambda x: f"<dl><dt>W</dt><dd>{x}</dd></dl>"),
        inner.map(lambda x: f"<table><tr><th>W</th><td>{x}</td></tr></table>"),
        inner.map(lambda x: _rich("info", x)),
        inner.map(lambda x: _rich("unknown-macro", x)),
        st.tuples(inner, inner).map("".join),
    ),
    max_leaves=6,
)


@given(_block_html.map(numbered))
@_many
def test_storage_format_keeps_every_word_in_order(page):
    assert same_words(page, to_markdown(parse_storage(page)))


@given(soup("<>&;/=\"'\n"))
@_many
def test_escaped_html_keeps_every_word(text):
    assert same_words(text, to_markdown(parse_html(f"<p>{escape(text)}</p>")))


_text_node = st.fixed_dictionaries(
    {"type": st.just("text"), "text": st.sampled_from(["W", "W W", " W"])},
    optional={
        "marks": st.lists(
            st.sampled_from(
                [
                    {"type": "strong"}, {"type": "em"}, {"type": "code"}, {"type": "underline"},
                    {"type": "link", "attrs": {"href": "http://x.org"}},
                ]
            ),
            max_size=2,
        )
    },
)  # fmt: skip
_inline_nodes = st.lists(
    st.one_of(
        _text_node,
        st.just({"type": "hardBreak"}),
        st.just({"type": "mention", "attrs": {"text": "@W"}}),
        st.just({"type": "status", "attrs": {"text": "W"}}),
    ),
    max_size=3,
)


def _node(kind: str, content: object, **attrs: object) -> dict:
    return {"type": kind, "content": content, "attrs": attrs}


_block_node = st.recursive(
    st.one_of(
        _inline_nodes.map(lambda c: _node("paragraph", c)),
        _inline_nodes.map(lambda c: _node("heading", c, level=2)),
        st.just(_node("codeBlock", [{"type": "text", "text": "W\n W"}], language="java")),
        _inline_nodes.map(lambda c: _node("taskList", [_node("taskItem", c, state="DONE")])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(
            lambda c: _node("bulletList", [_node("listItem", c)])
        ),
        st.lists(inner, min_size=1, max_size=2).map(
            lambda c: _node("table", [_node("tableRow", [_node("tableCell", c)])])
        ),
        st.lists(inner, max_size=3).map(lambda c: _node("panel", c, panelType="info")),
        st.lists(inner, max_size=3).map(lambda c: _node("someNewNode", c)),
        st.lists(inner, max_size=3).map(lambda c: _node("blockquote", c)),
    ),
    max_leaves=8,
)


@given(st.lists(_block_node, max_size=4))
@_many
def test_adf_keeps_every_word_in_order(content):
    document = json.loads(numbered(json.dumps({"type": "doc", "content": content})))
    assert same_words(json.dumps(document), to_markdown(parse_adf(document)))


def test_wiki_markup_renders_what_jira_means():
    text = (
        "h3. Steps\n# one\n#* inner\n# two\n\n||Name||Port||\n|http|9000|\n\nSee [docs|http://x.org/a] "
        "and XD-1, *bold* _it_ {{code}}.\n{code:java|title=A.java}\nint a = *b*;\n{code}\ntail"
    )
    assert to_markdown(parse_wiki(text)) == (
        "### Steps\n\n1. one\n   - inner\n2. two\n\n| Name | Port |\n| --- | --- |\n| http | 9000 |\n\n"
        "See [docs](http://x.org/a) and XD-1, bold it `code`.\n\nA.java\n\n"
        "```java\nint a = *b*;\n```\n\ntail"
    )


def test_file_names_and_expressions_are_not_taken_for_emphasis():
    text = "copy *.jar to a_b_c and 2*3*4, keep snake_case_name"
    assert to_markdown(parse_wiki(text)) == text
    assert to_markdown(parse_asciidoc(text)) == text
