from __future__ import annotations

import pytest

STORAGE = """
<h1>Taps &amp; streams</h1><p>A&nbsp;tap <strong>listens</strong>, see
<ac:link><ri:page ri:content-title="Streams"/></ac:link> or <a href="https://x.org/a?b=1&amp;c=2">the
site</a>.</p>
<ac:structured-macro ac:name="code"><ac:parameter ac:name="language">bash</ac:parameter>
<ac:plain-text-body><![CDATA[xd:> stream create &nbsp; <a>
  two]]></ac:plain-text-body></ac:structured-macro>
<ac:structured-macro ac:name="warning"><ac:parameter ac:name="title">Mind</ac:parameter>
<ac:rich-text-body><p>Taps stay.</p></ac:rich-text-body></ac:structured-macro>
<ul><li>one<ol><li>deep</li></ol></li><li><p>two</p></li></ul>
<table><tbody><tr><th>Name</th><th>Port</th></tr><tr><td><p>http</p></td><td>9000 | 9001</td></tr>
</tbody></table>
<ac:task-list><ac:task><ac:task-status>complete</ac:task-status>
<ac:task-body>ship</ac:task-body></ac:task></ac:task-list>
<p>Status: <ac:structured-macro ac:name="status"><ac:parameter ac:name="title">DONE</ac:parameter>
</ac:structured-macro></p>
"""

MARKDOWN = """# Taps & streams

A tap listens, see Streams or [the site](https://x.org/a?b=1&c=2).

```bash
xd:> stream create &nbsp; <a>
  two
```

WARNING: Mind

Taps stay.

- one
  1. deep
- two

| Name | Port |
| --- | --- |
| http | 9000 \\| 9001 |

- [x] ship

Status: DONE"""


def test_storage_format_page_becomes_light_markdown(company):
    company.put_json(
        "raw/confluence/page.json",
        {
            "id": "42",
            "title": "Taps",
            "space": {"key": "XD"},
            "ancestors": [{"title": "Guide"}],
            "body": {"storage": {"value": STORAGE, "representation": "storage"}},
            "history": {"createdDate": "2015-01-02T03:04:05.000Z"},
            "version": {"when": "2016-01-02T03:04:05.000Z"},
            "_links": {"base": "https://wiki.example.org", "webui": "/x/42"},
        },
    )
    document = company.document()
    assert document.text == MARKDOWN
    assert document.id == "confluence:XD/42"
    assert document.uri == "https://wiki.example.org/x/42"
    assert document.created_at == "2015-01-02T03:04:05Z"
    assert document.updated_at == "2016-01-02T03:04:05Z"
    assert document.extra == {"space": "XD", "ancestors": ["Guide"], "references": ["Streams"]}
    assert document.metrics == {"chars": float(len(MARKDOWN)), "headings": 1.0, "links": 1.0}


def test_a_page_names_what_it_and_its_comments_refer_to(company):
    link = '<ac:link {anchor}><ri:page ri:content-title="{title}" {space}/></ac:link>'
    body = "".join(
        (
            link.format(title="Streams", space="", anchor='ac:anchor="tap"'),
            link.format(title="Home", space='ri:space-key="OPS"', anchor=""),
            '<ac:link ac:anchor="below"/><a href="/x/7">seven</a><a href="https://x.org/">x</a>',
            '<ac:link><ri:user ri:username="ana"/></ac:link>',
        )
    )
    comment = f"<p>{link.format(title='Jobs', space='', anchor='')}</p>"
    page = {
        **{"title": "T", "space": "S", "body": f"<p>{body}</p>"},
        "children": {"comment": {"results": [{"body": {"storage": {"value": comment}}}]}},
    }
    company.put_lines("raw/confluence/p.jsonl", page)
    document = company.document()
    assert document.extra["references"] == ["Streams", "OPS:Home", "/x/7", "Jobs"]
    assert "Streams" in document.text and "OPS" not in document.text


def test_an_empty_link_leaves_nothing_behind(company):
    body = "<p>before <ac:link/><ac:link><ac:link-body/></ac:link> after</p>"
    company.put_lines("raw/confluence/p.jsonl", {"title": "T", "space": "S", "body": body})
    document = company.document()
    assert document.text.split() == ["before", "after"] and "references" not in document.extra


def test_storage_that_is_not_well_formed_keeps_its_text(company):
    body = "<p>open <b>bold</p><ac:structured-macro ac:name='code'><ac:plain-text-body>" + (
        "<![CDATA[if a < b]]></ac:plain-text-body></ac:structured-macro> & tail"
    )
    company.put_lines("raw/confluence/p.jsonl", {"title": "T", "space": "S", "body": body})
    text = company.document().text
    assert "open bold" in text
    assert "```\nif a < b\n```" in text
    assert "& tail" in text


def test_flat_page_is_named_by_its_title_and_keeps_markdown(company):
    body = "# Head\n\n```xml\n<p>shown</p>\n```\nUse `<h1></h1>`."
    company.put_lines(
        "raw/confluence/p.jsonl",
        {"title": "Réseau: How to", "body": body, "space": "XD", "created_at": None},
    )
    document = company.document()
    assert document.id == "confluence:XD/réseau-how-to"
    assert document.text == body


def test_entities_of_a_page_are_not_expanded(company):
    bomb = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><p>before &a; after</p>'
    company.put_lines("raw/confluence/p.jsonl", {"title": "T", "space": "S", "body": bomb})
    text = company.document().text
    assert "before" in text
    assert "after" in text
    assert "root:" not in text


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"space": "XD", "body": "text"}, "the page has neither id nor title"),
        ({"title": "T", "space": 3, "body": "x"}, "space is a number, not a string or an object"),
        ({"title": "T", "space": "XD", "body": {}},
         "body has no storage, view, export_view or atlas_doc_format value"),
        ({"title": "T", "space": "XD", "body": 1}, "body is a number, not an object"),
    ],
)  # fmt: skip
def test_unusable_page_is_quarantined(company, record, reason):
    company.put_lines("raw/confluence/p.jsonl", record)
    assert company.quarantined() == [("line 1", reason)]


def _restriction(groups: tuple[str, ...] = (), users: tuple[str, ...] = ()) -> dict:
    def listed(entries: list[dict]) -> dict:
        return {"results": entries, "size": len(entries)}

    named = {
        "group": listed([{"type": "group", "name": name} for name in groups]),
        "user": listed(
            [{"type": "known", "accountId": key, "displayName": "Ann"} for key in users]
        ),
    }
    return {"read": {"operation": "read", "restrictions": named}}


PAGE = {"id": "1", "title": "T", "space": {"key": "S"}, "body": {"storage": {"value": "<p>x</p>"}}}


@pytest.mark.parametrize(
    ("restrictions", "above", "acl"),
    [
        (_restriction(), [], ("everyone",)),
        (_restriction(groups=("hr", "board")), [], ("board", "hr")),
        (_restriction(users=("5b1",)), [], ("confluence-user:5b1",)),
        (_restriction(("hr",), ("5b1",)), [], ("confluence-user:5b1", "hr")),
        (_restriction(("hr", "it")), [_restriction(("it",))], ("it",)),
        (_restriction(), [_restriction(("it",)), _restriction()], ("it",)),
    ],
)
def test_restrictions_of_a_page_and_its_ancestors_become_its_groups(
    company, restrictions, above, acl
):
    ancestors = [{"title": "Up", "restrictions": one} for one in above]
    company.put_lines(
        "raw/confluence/p.jsonl", {**PAGE, "restrictions": restrictions, "ancestors": ancestors}
    )
    document = company.document()
    assert document.acl == acl
    assert "Ann" not in document.to_json()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "trashed"}, "status is trashed"),
        ({"status": "draft"}, "status is draft"),
        ({"status": "archived"}, "status is archived"),
        ({"status": "my secret"}, "status is not current"),
        ({"restrictions": []}, "restrictions is a list, not an object"),
        ({"restrictions": {"read": {"restrictions": {"group": {"results": [{}]}}}}},
         "a restriction's group has no name"),
        ({"restrictions": {"read": {"restrictions": {"group": {"size": 2}}}}},
         "restrictions name nobody although the page is restricted"),
        ({"restrictions": _restriction(("a",)), "ancestors": [{"restrictions": _restriction(("b",))}]},
         "the page and its ancestors are restricted to no common group or user"),
    ],
)  # fmt: skip
def test_page_that_may_not_be_shown_is_quarantined(company, more, reason):
    company.put_lines("raw/confluence/p.jsonl", {**PAGE, **more})
    assert company.quarantined() == [("line 1", reason)]


def test_blog_post_with_comments_children_and_versions(company):
    comment = {"body": {"storage": {"value": "<p>Nice</p>"}}, "version": {"when": "2020-01-02"}}
    company.put_json(
        "raw/confluence/page.json",
        {
            **PAGE,
            "type": "blogpost",
            "status": "current",
            "version": {"number": 4},
            "ancestors": [{"title": "A"}, {"title": "B"}],
            "children": {
                "comment": {"results": [comment]},
                "page": {"results": [{"title": "Child"}], "size": 3},
                "attachment": {"results": [{"title": "plan.pdf"}]},
            },
        },
    )
    document = company.document()
    assert document.text == "x\n\n## Comments\n\n### Comment 1 (2020-01-02)\n\nNice"
    assert document.extra == {
        "space": "S", "ancestors": ["A", "B"], "type": "blogpost", "attachments": ["plan.pdf"],
    }  # fmt: skip
    numbers = ("versions", "child_pages", "attachments", "comment_count")
    assert [document.metrics[name] for name in numbers] == [4.0, 3.0, 1.0, 1.0]


def test_pages_that_name_their_parent_only_are_placed_below_the_pages_of_their_file(company):
    body = {"storage": {"value": "<p>x</p>"}}
    company.put_json(
        "raw/confluence/pages.json",
        {
            "results": [
                {"id": "3", "title": "Leaf", "parentId": "2", "body": body},
                {"id": "2", "title": "Branch", "parentId": "1", "body": body,
                 "restrictions": _restriction(("it",))},
                {"id": "1", "title": "Root", "parentId": None, "body": body},
                {"id": "5", "title": "Loop", "parentId": "5", "body": body},
            ]
        },
    )  # fmt: skip
    found = {document.title: document for document in company.documents()}
    assert found["Leaf"].extra["ancestors"] == ["Root", "Branch"]
    assert found["Leaf"].acl == ("it",)
    assert found["Root"].extra.get("ancestors") is None


def test_a_flat_page_may_name_the_pages_above_it_by_title(company):
    company.put_lines(
        "raw/confluence/p.jsonl",
        {"title": "T", "space": "S", "body": "x", "ancestors": ["Home", " Guide "]},
    )
    assert company.document().extra["ancestors"] == ["Home", "Guide"]
