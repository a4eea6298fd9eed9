from __future__ import annotations

import pytest


def test_markdown_keeps_its_text_with_headings_in_one_form(company):
    company.put(
        "raw/documents/docs/Guide.md",
        "\ufeffContributor Guide\r\n=====\r\n\r\nText here\r\n\r\nPart\r\n----\r\n\r\n"
        "```\nnot a heading\n-----\n```\n\n| a |\n| --- |\n\n- item\n---\n",
    )
    document = company.document()
    assert document.id == "documents:docs/Guide.md"
    assert document.uri == "raw/documents/docs/Guide.md"
    assert document.title == "Contributor Guide"
    assert document.text.startswith("# Contributor Guide\n\nText here\n\n## Part\n")
    assert "not a heading\n-----" in document.text
    assert document.metrics["headings"] == 2.0


def test_asciidoc_becomes_markdown(company):
    company.put(
        "raw/documents/Taps.adoc",
        "// a comment\n[[taps]]\n== Taps ==\n\nSee http://x.org/a[the site], xref:B#c[b] and `code`.\n\n"
        "[source,bash]\n----\n== not a heading\n----\n\nNOTE: Mind\nthis.\n\n"
        '[options="header"]\n|===\n|Name|Port\n\n|http\n|9000\n|===\n\n'
        "* one\n** deep\n* two\n+\nattached\n\n.Options\n$$port$$:: $$the port$$ *($$int$$, default: `9000`)*\n",
    )
    document = company.document()
    assert document.title == "Taps"
    assert document.text == (
        "## Taps\n\nSee [the site](http://x.org/a), b and `code`.\n\n"
        "```bash\n== not a heading\n```\n\nNOTE: Mind this.\n\n"
        "| Name | Port |\n| --- | --- |\n| http | 9000 |\n\n"
        "- one\n  - deep\n\n- two\n\n  attached\n\nOptions\n\n- port: the port (int, default: `9000`)"
    )


def test_html_page_with_declared_encoding(company):
    page = (
        "<html><head><meta charset='iso-8859-1'><title>Caf\u00e9</title><script>x()</script></head>"
        "<body><h1>Menu</h1><p>Cr\u00eape<br>Th\u00e9</p><dl><dt>Port</dt><dd>9000</dd></dl>"
        "<pre><code class='language-java'>int  a;\n</code></pre></body></html>"
    )
    company.put("raw/documents/menu.html", page.encode("iso-8859-1"))
    document = company.document()
    assert document.title == "Café"
    assert document.text == "# Menu\n\nCrêpe\nThé\n\n- Port: 9000\n\n```java\nint  a;\n```"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.adoc", "= T\n\nSee xref:guide/Jobs#run[jobs], <<below>> and https://x.org[x]."),
        ("a.html", '<h1>T</h1><p><a href="guide/Jobs#run">j</a> <a href="below">b</a></p>'),
    ],
)
def test_a_file_names_the_files_it_refers_to(company, path, text):
    company.put(f"raw/documents/{path}", text.encode())
    assert company.document().extra["references"] == ["guide/Jobs#run", "below"]


def test_text_without_a_heading_is_named_by_its_file(company):
    company.put("raw/documents/release_notes.txt", "Fixed.\x1b[31m Red\x1b[0m\x07")
    document = company.document()
    assert (document.title, document.text) == ("release notes", "Fixed. Red")


def test_front_matter_gives_title_and_dates_and_is_no_text(company):
    company.put(
        "raw/documents/post.md",
        "---\ntitle: 'Deploying: a guide'\ndate: 2024-03-01\nlastmod: 2024-03-02T10:00:00+02:00\n"
        "tags: [ops, java]\nweight: 3\n---\n\n# Deploy\n\nRun it.\n",
    )
    document = company.document()
    assert document.title == "Deploying: a guide"
    assert (document.created_at, document.updated_at) == (
        "2024-03-01T00:00:00Z",
        "2024-03-02T08:00:00Z",
    )
    assert document.text == "# Deploy\n\nRun it."
    assert document.extra["front_matter"] == {"tags": ["ops", "java"], "weight": 3}


def test_what_only_looks_like_front_matter_stays_text(company):
    for name, text in {
        "rule": "---\n\nJust a rule.\n\n---\n\nMore.",
        "broken": "---\ntitle: [unclosed\n---\n\nText.",
        "date": "---\ndate: 2024-06-31\n---\n\nText.",
    }.items():
        company.put(f"raw/documents/{name}.md", text)
    for document in company.documents():
        assert document.text.startswith("---\n")


def test_front_matter_with_aliases_does_not_grow(company):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    company.put("raw/documents/bomb.md", f"---\n{bomb}---\n\nText.")
    document = company.document()
    assert document.text == "Text."
    assert len(document.to_json()) < 100_000


def test_form_feeds_in_text_divide_its_pages(company):
    company.put("raw/documents/rfc.txt", "Page one\r\n\f\r\nPage two\r\n\f")
    assert company.document().text == "Page one\n\f\nPage two\n\f"


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        ("doc", "the Word 97 format is not readable: convert the file to .docx"),
        ("ppt", "the PowerPoint 97 format is not readable: convert the file to .pptx"),
        ("xls", "the Excel 97 format is not readable: convert the file to .xlsx"),
    ],
)
def test_old_office_formats_are_quarantined_with_the_remedy(company, suffix, reason):
    company.put(f"raw/documents/old.{suffix}", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    assert company.quarantined() == [("file", reason)]


def test_unusable_files_are_quarantined(company):
    company.put("raw/documents/a.pages", b"PK")
    company.put("raw/documents/b.md", b"ok \xff\xfe")
    company.put("raw/documents/c.md", "  \n\n")
    company.put("raw/documents/d.txt", "\f\n\f")
    company.put("raw/documents/noext", "x")
    assert company.quarantined() == [
        ("file", "no reader for .pages"),
        ("file", "not valid UTF-8 at byte 3, and several other encodings fit"),
        ("file", "the file has no text"),
        ("file", "the file has no text"),
        ("file", "no reader for a file without suffix"),
    ]
