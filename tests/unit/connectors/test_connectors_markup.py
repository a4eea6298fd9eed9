"""Parsers keep every word, in order, and never fail on text."""

from __future__ import annotations

import json
import re
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.connectors.adf import parse_adf
from alchemy.connectors.asciidoc import parse_asciidoc
from alchemy.connectors.blocks import to_markdown
from alchemy.connectors.documents import markdown_headings
from alchemy.connectors.fields import normalise
from alchemy.connectors.wiki_markup import parse_wiki
from alchemy.connectors.xhtml import parse_html, parse_storage

_BODY = "<ac:rich-text-body>{}</ac:rich-text-body>"
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


def _wiki(text: str) -> str:
    return to_markdown(parse_wiki(normalise(text)))


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("h2.Goal", "## Goal"),
        ("uses h2.jar", "uses h2.jar"),
        ("# one\n{code:java|title=A.java}\nint a;\n{code}\n# two",
         "1. one\n\n   A.java\n\n   ```java\n   int a;\n   ```\n\n2. two"),
        ("* a\n*# b\n*# c\n- d\n-- e", "- a\n  1. b\n  2. c\n\n- d\n  - e"),
        ("||A||B||\n|x\\|y|[t|http://x.org] !s.png|width=3!|",
         "| A | B |\n| --- | --- |\n| x\\|y | [t](http://x.org) ![](s.png) |"),
        ("|one|two\nlines|\n|{noformat}a|b{noformat}|(/)|",
         "|  |  |\n| --- | --- |\n| one | two lines |\n| `a\\|b` | ✓ |"),
        ("{panel:title=T}in {quote}q{quote} out{panel}", "T\n\nin\n\n> q\n\nout"),
        ("{info:title=Mind}steps{info}", "INFO: Mind\n\nsteps"),
        ("{html}<p>A <b>b</b> &amp; c</p><ul><li>x</li></ul>{html}", "A b & c\n\n- x"),
        ('{adf}{"type":"doc","content":[{"type":"paragraph","content":'
         '[{"type":"text","text":"cloud"}]}]}{adf}', "cloud"),
        ("{*}b{*}old {{{}c{}}} 10^6^", "bold `c` 10^6"),
        ("-gone for good- but run -n 3 - now", "~~gone for good~~ but run -n 3 - now"),
        ("+new+ a+b+c", "new a+b+c"),
        ("[^log 1.txt] [XD-1] [~accountid:5b] [m|mailto:a@b.c] [x|#y]",
         "log 1.txt XD-1 @5b [m](a@b.c) x"),
        ("&lt;tag&gt; &#123; ?a=1&copy=2", "<tag> { ?a=1&copy=2"),
        ("one\\\\ two \\{x\\} {color:red}*r*{color}", "one\ntwo {x} r"),
        ("!Screen Shot 1.png|thumbnail! wow! no!", "![](Screen Shot 1.png) wow! no!"),
        ("Answer: f(x) is\n(x) no\n(/) yes", "Answer: f(x) is\n(x) no\n✓ yes"),
        ("bq. said *so*\n----\ntail", "> said so\n\ntail"),
    ],
)  # fmt: skip
def test_wiki_construct_becomes(source, markdown):
    assert _wiki(source) == markdown


def test_description_whose_line_ends_an_export_made_spaces_gets_its_lines_back():
    folded = (
        "h5.Steps    1. Open  it  2. Close    h5.Result  Fails  with:  {code}  a  # b  {code}    "
        "# first  # second    ||A||B||  |1|2|    Done.  Really"
    )
    assert _wiki(folded) == (
        "##### Steps\n\n1. Open  it\n2. Close\n\n##### Result\n\nFails  with:\n\n"
        "```\n  a  # b  \n```\n\n1. first\n2. second\n\n"
        "| A | B |\n| --- | --- |\n| 1 | 2 |\n\nDone.  Really"
    )


def test_description_with_line_ends_keeps_its_spaces():
    assert _wiki("a  - b  # c\nd    e") == "a  - b  # c\nd    e"


def _adf(*content: object) -> str:
    return to_markdown(parse_adf({"type": "doc", "content": list(content)}))


def _said(text: str, *marks: dict) -> dict:
    return {"type": "text", "text": text, "marks": list(marks)}


def test_adf_cells_over_rows_and_columns_keep_each_row_readable():
    def row(kind: str, *cells: tuple[str, dict]) -> dict:
        return _node(
            "tableRow", [_node(kind, [_node("paragraph", [_said(t)])], **a) for t, a in cells]
        )

    table = _node(
        "table",
        [
            row("tableHeader", ("Host", {"colspan": 2}), ("Port", {})),
            row("tableCell", ("eu", {"rowspan": 2}), ("a", {}), ("1", {})),
            row("tableCell", ("b", {}), ("2", {})),
        ],
    )
    assert _adf(table) == (
        "| Host |  | Port |\n| --- | --- | --- |\n| eu | a | 1 |\n| eu | b | 2 |"
    )


def test_adf_table_with_a_header_column_has_no_header_row():
    cells = [
        _node("tableHeader", [_node("paragraph", [_said("k")])]),
        _node("tableCell", [_node("paragraph", [_said("v")])]),
    ]
    assert _adf(_node("table", [_node("tableRow", cells)])) == "|  |  |\n| --- | --- |\n| k | v |"


@pytest.mark.parametrize(
    ("node", "markdown"),
    [
        (_node("mention", [], text="Ann"), "@Ann"),
        (_node("emoji", [], shortName=":+1:", text="👍"), "👍"),
        (_node("date", [], timestamp="1577836800000"), "2020-01-01"),
        (_node("status", [], text="DONE", color="green"), "DONE"),
        (_node("placeholder", [], text="Type here"), ""),
        (_node("inlineCard", [], url="https://x.org/1"), "https://x.org/1"),
        (_node("inlineCard", [], data={"url": "https://x.org", "name": "X"}), "[X](https://x.org)"),
        (_node("inlineExtension", [], extensionKey="jira",
               parameters={"macroParams": {"key": {"value": "XD-1"}}}), "XD-1"),
        (_said("10"), "10"),
        (_said("6", {"type": "subsup", "attrs": {"type": "sup"}}), "^6"),
        (_said("old", {"type": "strong"}, {"type": "strike"}), "~~old~~"),
        (_said("see", {"type": "link", "attrs": {"href": "https://x.org"}}), "[see](https://x.org)"),
    ],
)  # fmt: skip
def test_adf_inline_node_becomes(node, markdown):
    assert _adf(_node("paragraph", [node])) == markdown


def test_adf_block_nodes_keep_their_place():
    one = _node("paragraph", [_said("one")])
    tasks = _node(
        "taskList",
        [
            _node("taskItem", [_said("do")], state="TODO"),
            _node("taskList", [_node("taskItem", [_said("sub")], state="DONE")]),
        ],
    )
    assert _adf(tasks) == "- [ ] do\n  - [x] sub"
    assert _adf(_node("decisionList", [_node("decisionItem", [_said("go")])])) == "- go"
    assert _adf(_node("expand", [one], title="More")) == "More\n\none"
    assert _adf(_node("panel", [one], panelType="warning")) == "WARNING: one"
    assert _adf(_node("bodiedExtension", [one], extensionKey="excerpt")) == "one"
    assert _adf(_node("blockCard", [], url="https://a.b"), one) == "https://a.b\n\none"
    assert _adf({"type": "rule"}, one) == "one"
    media = _node("media", [], alt="chart", type="file", id="1")
    figure = _node("mediaSingle", [media, _node("caption", [_said("Fig 1")])])
    assert _adf(figure) == "![chart]()\n\nFig 1"
    columns = [_node("layoutColumn", [one]), _node("layoutColumn", [one])]
    assert _adf(_node("layoutSection", columns)) == "one\n\none"
    ordered = _node("orderedList", [_node("listItem", [one, _node("rule", [])])], order=3)
    assert _adf(ordered) == "3. one"


def _page(body: str) -> str:
    return to_markdown(parse_storage(body))


def _macro(kind: str, inner: str = "", /, **parameters: str) -> str:
    given = "".join(
        f'<ac:parameter ac:name="{k.strip("_")}">{v}</ac:parameter>' for k, v in parameters.items()
    )
    return f'<ac:structured-macro ac:name="{kind}">{given}{inner}</ac:structured-macro>'


@pytest.mark.parametrize(
    ("body", "markdown"),
    [
        (_macro("toc", maxLevel="3") + _macro("children", page="x"), ""),
        (f"<p>See {_macro('jira', server='s', key='XD-1')}.</p>", "See XD-1."),
        (_macro("jira", jqlQuery="project = XD"), "`project = XD`"),
        (_macro("include", _='<ac:link><ri:page ri:content-title="Shared"/></ac:link>'), "Shared"),
        (_macro("view-file", name='<ri:attachment ri:filename="p.docx"/>'), "p.docx"),
        (_macro("widget", url='<ri:url ri:value="https://y.org/1"/>'), "https://y.org/1"),
        (_macro("expand", _BODY.format("<p>in</p>"), title="More"), "More\n\nin"),
        (_macro("excerpt", _BODY.format("<p>in</p>")), "in"),
        (_macro("panel", _BODY.format("<p>in</p>"), title="P", bgColor="red"), "P\n\nin"),
        (_macro("tip", _BODY.format("<p>in</p>")), "TIP: in"),
        ('<p><ac:link><ri:user ri:username="joe"/></ac:link></p>', "@joe"),
        ('<ac:link><ri:attachment ri:filename="a.pdf"/></ac:link>', "a.pdf"),
        ('<p>10<sup>6</sup> <s>old</s> <ac:emoticon ac:name="tick"/></p>', "10^6 ~~old~~ ✓"),
        ('<p>by <time datetime="2020-01-02"/></p>', "by 2020-01-02"),
        ('<ac:image ac:alt="d"><ri:attachment ri:filename="d.png"/><ac:caption><p>Fig</p>'
         "</ac:caption></ac:image>", "![d](d.png) Fig"),
        ('<table><tr><th colspan="2">H</th></tr><tr><td rowspan="2">r</td><td>1</td></tr>'
         "<tr><td>2</td></tr></table>", "| H |  |\n| --- | --- |\n| r | 1 |\n| r | 2 |"),
        ("<ac:task-list><ac:task><ac:task-id>7</ac:task-id><ac:task-status>incomplete"
         "</ac:task-status><ac:task-body>do<ul><li>x</li></ul></ac:task-body></ac:task>"
         "</ac:task-list>", "- [ ] do\n  - x"),
        ('<ac:adf-extension><ac:adf-node type="panel"><ac:adf-attribute key="panel-type">warning'
         "</ac:adf-attribute><ac:adf-content><p>w</p></ac:adf-content></ac:adf-node>"
         "<ac:adf-fallback><p>w</p></ac:adf-fallback></ac:adf-extension>", "WARNING: w"),
        ("<p>&hellip;&rarr;&nbsp;&Eacute; a<ac:placeholder>type</ac:placeholder></p>", "…→ É a"),
        (_macro("code", "<ac:plain-text-body><![CDATA[a ]]]]><![CDATA[> b]]></ac:plain-text-body>",
                language="py", title="t.py"), "t.py\n\n```py\na ]]> b\n```"),
    ],
)  # fmt: skip
def test_storage_construct_becomes(body, markdown):
    assert normalise(_page(body)) == markdown


def test_table_that_claims_more_cells_than_memory_holds_keeps_its_own():
    cells = '<td colspan="60000" rowspan="60000">w</td>' * 3
    assert _page(f"<table><tr>{cells}</tr></table>").split("\n")[2] == "| w | w | w |"


def test_what_a_page_is_used_with_is_not_its_text():
    page = (
        "<html><body><nav><ul><li><a href='/'>Home</a></li></ul></nav><h1>Taps</h1>"
        "<noscript>Enable scripts</noscript><p>A tap <script>track()</script>listens.</p>"
        "<form><select><option>One</option></select><textarea>type</textarea>"
        "<button>Send</button></form></body></html>"
    )
    assert to_markdown(parse_html(page)) == "# Taps\n\nA tap listens."


def test_the_header_of_an_asciidoc_document_gives_its_attributes_to_all_of_it():
    source = """// licence
= Guide to {product}
Ann Lee <ann@example.org>
v1.0, 2020-01-01
:product: Spring XD
:toc:

== About {product}

Press kbd:[Ctrl+C] in {product}, not `{other}` {other}.
"""
    assert to_markdown(parse_asciidoc(source)) == (
        "# Guide to Spring XD\n\nAnn Lee <ann@example.org> v1.0, 2020-01-01\n\n"
        "## About Spring XD\n\nPress Ctrl+C in Spring XD, not `{other}` {other}."
    )
