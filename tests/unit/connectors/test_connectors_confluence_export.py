"""Space exports as Confluence Server and Data Center write them."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from xml.sax.saxutils import escape

import pytest

from alchemy.config import ArchiveSettings, CleaningSettings, Settings
from alchemy.types import Document, Quarantined

KEY = "raw/confluence/entities.xml"


def entity(kind: str, identity: str, /, **fields: object) -> str:
    """An object; a tuple is a reference, a list a collection of them."""
    lines = [f'<object class="{kind}" package="com.atlassian.confluence">']
    lines.append(f'<id name="id">{identity}</id>')
    for name, value in fields.items():
        if isinstance(value, tuple):
            lines.append(f'<property name="{name}" class="{value[0]}" package="p">'
                         f'<id name="id">{value[1]}</id>\n</property>')  # fmt: skip
        elif isinstance(value, list):
            elements = "".join(
                f'<element class="{c}" package="p"><id name="id">{k}</id>\n</element>'
                for c, k in value
            )
            lines.append(f'<collection name="{name}" class="java.util.Collection">{elements}\n'
                         "</collection>")  # fmt: skip
        else:
            text = str(value).replace("]]>", "]] >")
            lines.append(f'<property name="{name}"><![CDATA[{text}]]></property>')
    return "\n".join([*lines, "</object>"])


def export(*entities: str) -> str:
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', '<hibernate-generic datetime="2024-01-01">',
         *entities, "</hibernate-generic>"]
    )  # fmt: skip


SPACE = entity("Space", "1", name="Demo", key="DEMO")


def page(key: str, title: str, kind: str = "Page", **fields: object) -> str:
    about = {
        "space": ("Space", "1"), "version": 2, "contentStatus": "current",
        "creationDate": "2020-01-02 03:04:05.678", "lastModificationDate": "2021-01-02 03:04:05.000",
    }  # fmt: skip
    return entity(kind, key, title=title, **{**about, **fields})


def body(key: str, owner: str, text: str, **fields: object) -> str:
    return entity(
        "BodyContent", key, body=text, content=("Page", owner), **{"bodyType": 2, **fields}
    )


def test_pages_have_their_text_place_comments_labels_and_attachments(company):
    code = (
        '<p>See <b>below</b></p><ac:structured-macro ac:name="code"><ac:plain-text-body>'
        "<![CDATA[a < b]]></ac:plain-text-body></ac:structured-macro>"
    )
    company.put(
        KEY,
        export(
            body("91", "12", code),
            page("12", "Taps & streams", parent=("Page", "11")),
            page("11", "Guide", parent=("Page", "10")),
            page("10", "Home"),
            page("13", "Old taps", originalVersion=("Page", "12")),
            body("92", "13", "<p>superseded</p>"),
            body("93", "11", "<p>Guide text</p>"),
            entity("Comment", "20", containerContent=("Page", "12"), contentStatus="current",
                   creationDate="2020-02-03 00:00:00.000"),
            entity("Comment", "21", containerContent=("Page", "12"), contentStatus="deleted"),
            body("94", "20", "<p>Nice</p>"),
            body("95", "21", "<p>rude</p>"),
            entity("Attachment", "30", title="plan.pdf", containerContent=("Page", "12")),
            entity("Attachment", "31", title="plan.pdf", containerContent=("Page", "12"),
                   originalVersion=("Attachment", "30")),
            entity("Label", "40", name="howto", namespace="global"),
            entity("Label", "41", name="favourite", namespace="my"),
            entity("Labelling", "42", label=("Label", "40"), content=("Page", "12")),
            entity("Labelling", "43", label=("Label", "41"), content=("Page", "12")),
            SPACE,
        ),
    )  # fmt: skip
    taps, guide, home = company.documents()
    assert taps.id == "confluence:DEMO/12"
    assert taps.title == "Taps & streams"
    assert taps.text == (
        "See below\n\n```\na < b\n```\n\n## Comments\n\n### Comment 1 (2020-02-03)\n\nNice"
    )
    assert taps.extra == {
        "space": "DEMO", "ancestors": ["Home", "Guide"], "labels": ["howto"],
        "attachments": ["plan.pdf"],
    }  # fmt: skip
    assert (taps.created_at, taps.updated_at) == ("2020-01-02T03:04:05Z", "2021-01-02T03:04:05Z")
    numbers = ("versions", "child_pages", "attachments", "comment_count")
    assert [taps.metrics[name] for name in numbers] == [2.0, 0.0, 1.0, 1.0]
    assert guide.metrics["child_pages"] == 1.0
    assert (home.text, home.extra) == ("Home", {"space": "DEMO"})


def test_bodies_of_every_age_and_blog_posts_are_read(company):
    company.put(
        KEY,
        export(
            SPACE,
            page("10", "Wiki"),
            body("90", "10", "h2. Head\n* one", bodyType=0),
            page("11", "News", kind="BlogPost"),
            body("91", "11", "<p>posted</p>"),
        ),
    )
    wiki, post = company.documents()
    assert wiki.text == "## Head\n\n- one"
    assert (post.text, post.extra["type"]) == ("posted", "blogpost")


def test_pages_that_are_not_current_are_quarantined_and_the_rest_is_read(company):
    company.put(
        KEY,
        export(
            SPACE,
            page("10", "Draft", contentStatus="draft"),
            page("11", "Bin", contentStatus="deleted"),
            page("12", "Here"),
        ),
    )
    found = company.outcomes()
    assert [x.title for x in found if isinstance(x, Document)] == ["Here"]
    assert [(x.position, x.reason) for x in found if isinstance(x, Quarantined)] == [
        ("Page 10", "status is draft"),
        ("Page 11", "status is deleted"),
    ]


def restriction(owner: str, *named: dict[str, object], kind: str = "View") -> list[str]:
    return [
        entity("ContentPermissionSet", f"5{owner}", type=kind, owningContent=("Page", owner)),
        *(
            entity("ContentPermission", f"6{owner}{n}", type=kind,
                   owningSet=("ContentPermissionSet", f"5{owner}"), **one)
            for n, one in enumerate(named)
        ),
    ]  # fmt: skip


GROUPS = ({"groupName": "hr"}, {"userSubject": ("ConfluenceUserImpl", "k1")})


@pytest.mark.parametrize(
    ("more", "acl"),
    [
        ([], ("everyone",)),
        (restriction("11", *GROUPS), ("confluence-user:k1", "hr")),
        (restriction("10", *GROUPS), ("confluence-user:k1", "hr")),
        (restriction("11", *GROUPS, kind="Edit"), ("everyone",)),
        ([entity("SpacePermission", "70", type="VIEWSPACE", group="staff", space=("Space", "1"))],
         ("staff",)),
        ([entity("SpacePermission", "70", type="VIEWSPACE", group="staff", space=("Space", "1")),
          entity("SpacePermission", "71", type="VIEWSPACE", space=("Space", "1"))], ("everyone",)),
        ([entity("SpacePermission", "70", type="VIEWSPACE", group="staff", space=("Space", "1")),
          *restriction("11", *GROUPS)], ("confluence-user:k1", "hr")),
        ([entity("SpacePermission", "70", type="EDITSPACE", group="staff", space=("Space", "1"))],
         ("everyone",)),
    ],
)  # fmt: skip
def test_restrictions_of_pages_and_their_space_become_groups(company, more, acl):
    company.put(KEY, export(SPACE, page("10", "Up"), page("11", "T", parent=("Page", "10")), *more))
    assert company.documents()[1].acl == acl


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([page("11", "T", parent=("Page", "99"))],
         "a page above it, which may be restricted, is not in the export"),
        ([page("11", "T", parent=("Page", "11"))], "it is below itself"),
        ([page("11", "T", contentPermissionSets=[("ContentPermissionSet", "5")])],
         "the export lacks restrictions that it names"),
        ([page("11", "T"), *restriction("11")],
         "restrictions name nobody although the page is restricted"),
        ([page("11", "T"), body("90", "11", "x", bodyType=7)], "bodyType of its body is unknown"),
        ([page("", "T")], "id is not usable as an id"),
        ([page("11", "T", creationDate="yesterday")], "createdDate is not a time"),
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_placed_or_shown_is_quarantined(company, more, reason):
    company.put(KEY, export(SPACE, *more))
    ((_, found),) = company.quarantined()
    assert found == reason


def test_a_page_over_the_limit_is_quarantined_without_being_held(company):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=100_000))
    huge = escape("word " * 8_000_000)
    company.put(KEY, export(SPACE, page("10", "Big"), body("90", "10", huge), page("11", "Small")))
    tracemalloc.start()
    try:
        found = company.outcomes()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [type(x).__name__ for x in found] == ["Quarantined", "Document"]
    assert "max_record_bytes" in found[0].reason
    assert peak < 12_000_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not readable as XML at line 1: no element found"),
        ("<entity-engine-xml/>", "not a Confluence space export: its root is not hibernate-generic"),
        ("<hibernate-generic/>", "the export has no pages"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><hibernate-generic/>',
         "it declares a document type, which Confluence never does"),
        (export(SPACE, page("10", "T"))[:-40], "not readable as XML at line 16: unclosed token"),
        (export(SPACE, page("10", "T")).encode()[:-30] + b"\xff</x>", "not readable as XML at line"),
    ],
)  # fmt: skip
def test_what_is_no_whole_export_is_quarantined_as_a_file(company, content, reason):
    company.put(KEY, content)
    ((position, found),) = company.quarantined()
    assert position == "file"
    assert found.startswith(reason)


def test_control_characters_that_were_pasted_into_a_page_do_not_spoil_the_export(company):
    company.put(KEY, export(SPACE, page("10", "T"), body("90", "10", "<p>a\x0bb \x08c</p>")))
    assert company.document().text == "a b c"


def zipped(**members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_the_zip_of_an_export_is_read_in_place_and_inside_a_backup(company):
    inner = zipped(**{
        "exportDescriptor.properties": "exportType=space",
        "entities.xml": export(SPACE, page("10", "T")),
        "attachments/10/30/1": "bytes",
    })  # fmt: skip
    company.put("raw/confluence/DEMO-export.zip", inner)
    document = company.document()
    assert document.uri == "raw/confluence/DEMO-export.zip#DEMO/10"
    company.lake.delete("raw/confluence/DEMO-export.zip")
    company.put(
        "raw/archive/backup.zip", zipped(**{"wiki/entities.xml": export(SPACE, page("10", "T"))})
    )
    assert company.document().id == document.id


def test_a_zip_without_an_export_and_a_bomb_are_quarantined(company):
    company.put("raw/confluence/a.zip", zipped(**{"index.html": "<p>x</p>"}))
    company.put("raw/confluence/b.zip", b"PK\x03\x04 cut off")
    company.settings = Settings(archives=ArchiveSettings(max_member_bytes=2048))
    company.put("raw/confluence/c.zip", zipped(**{"entities.xml": export(SPACE) + " " * 5000}))
    assert [reason for _, reason in company.quarantined()] == [
        "the zip has no entities.xml: it is no space export in XML",
        "the zip has no directory: it is cut off or is no zip",
        "entities.xml is larger than archives.max_member_bytes (2048 bytes)",
    ]
