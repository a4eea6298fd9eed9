from __future__ import annotations

import datetime as dt
import io
import zipfile

import docx
import openpyxl
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import CleaningSettings, Settings
from alchemy.connectors.sheets import TABLE_ROWS

patient = settings(deadline=None, max_examples=20)  # a busy machine is no failure

LINK = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"
FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"


def saved(file) -> bytes:
    stream = io.BytesIO()
    file.save(stream)
    return stream.getvalue()


def simple_docx() -> bytes:
    file = docx.Document()
    file.add_paragraph("Some words of a document.")
    return saved(file)


def simple_pptx() -> bytes:
    file = Presentation()
    file.slides.add_slide(file.slide_layouts[5]).shapes.title.text = "Plan"
    return saved(file)


def simple_xlsx() -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["Name", "Port"])
    return saved(book)


FILES = {"docx": simple_docx, "pptx": simple_pptx, "xlsx": simple_xlsx}


# --- Word -----------------------------------------------------------------------------------------


def test_word_structure_becomes_markdown(company):
    file = docx.Document()
    file.add_heading("Guide", 0)
    file.add_heading("Install", 2)
    file.add_paragraph("Run ").add_run("it now").bold = True
    for text, style in (
        ("one", "List Bullet"),
        ("deep", "List Bullet 2"),
        ("two", "List Bullet"),
        ("first", "List Number"),
        ("second", "List Number"),
    ):
        file.add_paragraph(text, style=style)
    table = file.add_table(2, 2)
    for cell, text in zip(table._cells, ("Name", "Port", "http", "9000"), strict=True):
        cell.text = text
    file.add_paragraph("int a;", style="macro")
    file.add_paragraph("  a = 1;", style="macro")
    file.add_paragraph("So they said", style="Quote")
    company.put("raw/documents/guide.docx", saved(file))
    document = company.document()
    assert document.title == "Guide"
    assert document.text == (
        "# Guide\n\n## Install\n\nRun it now\n\n- one\n  - deep\n- two\n\n1. first\n2. second\n\n"
        "| Name | Port |\n| --- | --- |\n| http | 9000 |\n\n"
        "```\nint a;\n  a = 1;\n```\n\n> So they said"
    )


def test_word_properties_give_title_and_dates(company):
    file = docx.Document()
    file.add_heading("Another", 1)
    file.core_properties.title = "The plan"
    file.core_properties.created = dt.datetime(2024, 1, 2, 3, 4, 5)
    file.core_properties.modified = dt.datetime(2024, 2, 3)
    company.put("raw/documents/plan.docx", saved(file))
    document = company.document()
    assert (document.title, document.created_at, document.updated_at) == (
        "The plan",
        "2024-01-02T03:04:05Z",
        "2024-02-03T00:00:00Z",
    )


def test_word_links_footnotes_insertions_and_text_boxes_are_there_and_deletions_are_not(company):
    file = docx.Document()
    relation = file.part.relate_to("https://x.org/a", LINK, is_external=True)
    paragraph = file.add_paragraph("See ")
    paragraph._p.append(
        parse_xml(
            f'<w:hyperlink {nsdecls("w", "r")} r:id="{relation}"><w:r><w:t>the site</w:t></w:r></w:hyperlink>'
        )
    )
    note = parse_xml(f'<w:r {nsdecls("w")}><w:footnoteReference w:id="2"/></w:r>')
    paragraph._p.append(note)
    paragraph._p.append(
        parse_xml(
            f'<w:ins {nsdecls("w")}><w:r><w:t xml:space="preserve"> and this</w:t></w:r></w:ins>'
        )
    )
    paragraph._p.append(
        parse_xml(f"<w:del {nsdecls('w')}><w:r><w:delText>not that</w:delText></w:r></w:del>")
    )
    box = f"<w:r {nsdecls('w')}><w:pict><w:txbxContent><w:p><w:r><w:t>In a box</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"
    file.add_paragraph("Beside")._p.append(parse_xml(box))
    control = f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>Controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    file.element.body.insert(2, parse_xml(control))
    footnotes = (
        f'<w:footnotes {nsdecls("w")}><w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>'
        '<w:footnote w:id="2"><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    from docx.opc.packuri import PackURI
    from docx.opc.part import Part

    part = Part(
        PackURI("/word/footnotes.xml"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml",
        footnotes.encode(),
        file.part.package,
    )
    file.part.relate_to(part, FOOTNOTES)
    company.put("raw/documents/a.docx", saved(file))
    assert company.document().text == (
        "See [the site](https://x.org/a)[1] and this\n\nBeside\n\nIn a box\n\nControlled\n\n[1] A note."
    )


def test_merged_cells_keep_the_columns_of_a_word_table(company):
    file = docx.Document()
    table = file.add_table(3, 3)
    for cell, text in zip(table._cells, "a b c d e f g h i".split(), strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0)).text = "both"
    table.cell(1, 1).merge(table.cell(1, 2)).text = "wide"
    company.put("raw/documents/a.docx", saved(file))
    assert company.document().text == (
        "| a | b | c |\n| --- | --- | --- |\n| both | wide |  |\n|  | h | i |"
    )


def test_numbering_of_a_paragraph_itself_has_its_depth(company):
    file = docx.Document()
    for text, depth in (("one", 0), ("deep", 1), ("deeper", 2), ("two", 0)):
        paragraph = file.add_paragraph(text, style="List Number")
        properties = paragraph._p.get_or_add_pPr().get_or_add_numPr()
        properties.get_or_add_ilvl().set(qn("w:val"), str(depth))
    company.put("raw/documents/a.docx", saved(file))
    assert company.document().text == "1. one\n   1. deep\n      1. deeper\n2. two"


# --- PowerPoint -----------------------------------------------------------------------------------


def test_slides_are_sections_and_pages(company):
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[1])
    slide.shapes.title.text = "Plan"
    frame = slide.placeholders[1].text_frame
    frame.text = "one"
    deep = frame.add_paragraph()
    deep.text, deep.level = "deep", 1
    run = frame.add_paragraph().add_run()
    run.text, run.hyperlink.address = "the site", "https://x.org"
    slide.notes_slide.notes_text_frame.text = "Say this."
    slide = file.slides.add_slide(file.slide_layouts[6])
    box = slide.shapes.add_group_shape().shapes.add_textbox(0, 0, Inches(1), Inches(1))
    box.text_frame.text = "Free text"
    table = slide.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(1)).table
    for cell, text in zip(table.iter_cells(), ("Name", "Port", "http", "9000"), strict=True):
        cell.text = text
    data = CategoryChartData()
    data.categories = ["Q1", "Q2"]
    data.add_series("Sales", (1.5, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.LINE, 0, 0, Inches(2), Inches(2), data)
    company.put("raw/documents/plan.pptx", saved(file))
    document = company.document()
    assert document.text == (
        "## Slide 1: Plan\n\n- one\n  - deep\n- [the site](https://x.org)\n\nNotes: Say this.\n\f\n"
        "## Slide 2\n\nFree text\n\n| Name | Port |\n| --- | --- |\n| http | 9000 |\n\n"
        "|  | Sales |\n| --- | --- |\n| Q1 | 1.5 |\n| Q2 | 2 |"
    )
    assert (document.title, document.extra["pages"]) == ("Plan", 2)
    assert [c.page for c in chunk_document(document, wordpiece(), 180)] == [1, 2]


# --- Excel ----------------------------------------------------------------------------------------


def test_sheets_are_sections_with_their_used_range(company):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Staff"
    sheet.append(["List of staff"])
    sheet.append([])
    sheet.append([None, "Name", "Since", "Pay", "Active"])
    sheet.append([None, "Ada | Co", dt.date(2020, 1, 2), 1000.5, True])
    sheet.append([None, "Bob", dt.datetime(2020, 1, 2, 3, 4), 7.0, False])
    book.create_sheet("Empty")
    book.create_sheet("More").append(["x", "y"])
    company.put("raw/documents/staff.xlsx", saved(book))
    document = company.document()
    assert document.title == "Staff"
    assert document.text == (
        "## Staff\n\nList of staff\n\n| Name | Since | Pay | Active |\n| --- | --- | --- | --- |\n"
        "| Ada \\| Co | 2020-01-02 | 1000.5 | TRUE |\n| Bob | 2020-01-02 03:04:00 | 7 | FALSE |\n\n"
        "## More\n\n| x | y |\n| --- | --- |"
    )


def test_merged_cells_belong_to_each_of_their_rows_and_percentages_are_shown(company):
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ["Team", "Name", "Share"],
        ["Core", "Ada", 0.256],
        [None, "Grace", 0.07],
        ["Web", "Tim", 1],
    ):
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    sheet.merge_cells("A6:B1048576")
    for row in (2, 3, 4):
        sheet.cell(row, 3).number_format = "0.00%"
    company.put("raw/documents/a.xlsx", saved(book))
    assert company.document().text.split("\n")[4:] == [
        "| Core | Ada | 25.6% |", "| Core | Grace | 7% |", "| Web | Tim | 100% |",
    ]  # fmt: skip


def test_long_sheets_repeat_their_header_and_lose_no_row(company):
    book = openpyxl.Workbook()
    book.active.append(["Number", "Square"])
    for number in range(3 * TABLE_ROWS + 1):
        book.active.append([number, number**2])
    company.put("raw/documents/numbers.xlsx", saved(book))
    text = company.document().text
    assert text.count("| Number | Square |\n| --- | --- |\n") == 4
    for number in range(3 * TABLE_ROWS + 1):
        assert text.count(f"| {number} | {number**2} |") == 1


def test_formulas_show_their_last_value_and_those_without_are_counted(company):
    book = openpyxl.Workbook()
    book.active.append(["Item", "Twice"])
    book.active.append([21, "=A2*2"])
    raw = saved(book)
    company.put("raw/documents/never.xlsx", raw)
    calculated = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(calculated, "w") as new:
        for part in old.namelist():
            new.writestr(
                part,
                old.read(part).replace(b"<v></v>", b"<v>42</v>").replace(b"<v />", b"<v>42</v>"),
            )
    company.put("raw/documents/once.xlsx", calculated.getvalue())
    never, once = company.documents()
    assert never.extra["formulas_without_value"] == 1
    assert "| 21 | 42 |" in once.text
    assert "formulas_without_value" not in once.extra


# --- what is no readable Office file --------------------------------------------------------------


@pytest.mark.parametrize("suffix", FILES)
def test_wrong_and_empty_files_are_quarantined(company, suffix):
    other = FILES["xlsx" if suffix == "docx" else "docx"]()
    part = {"docx": "word/document", "pptx": "ppt/presentation", "xlsx": "xl/workbook"}[suffix]
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    for raw, reason in (
        (b"", "not an Office file: it is no zip package"),
        (b"plain text", "not an Office file: it is no zip package"),
        (b"PK\x03\x04", "damaged or truncated package (BadZipFile)"),
        (other, f"not what its suffix says: the package has no {part}.xml"),
        (ole, "an old Office format under a new suffix: save it in the new format"),
        (
            ole + "EncryptedPackage".encode("utf-16-le"),
            "encrypted: a password is needed to read it",
        ),
    ):
        company.put(f"raw/documents/a.{suffix}", raw)
        assert company.quarantined() == [("file", reason)]


@pytest.mark.parametrize("suffix", FILES)
def test_files_without_text_are_quarantined(company, suffix):
    empty = {"docx": docx.Document, "pptx": Presentation, "xlsx": openpyxl.Workbook}[suffix]()
    company.put(f"raw/documents/a.{suffix}", saved(empty))
    assert company.quarantined() == [("file", "the file has no text")]


@pytest.mark.parametrize("suffix", FILES)
def test_bombs_are_quarantined_before_they_are_opened(company, suffix):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=200_000))
    stream = io.BytesIO(FILES[suffix]())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as package:
        package.writestr("media/image1.bin", bytes(30_000_000))
    company.put(f"raw/documents/a.{suffix}", stream.getvalue())
    ((_, reason),) = company.quarantined()
    assert reason.startswith("unpacks to more than")


@pytest.mark.parametrize("suffix", FILES)
def test_xml_entities_are_quarantined(company, suffix):
    stream = io.BytesIO(FILES[suffix]())
    with zipfile.ZipFile(stream, "a") as package:
        package.writestr(
            "extra.xml", '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
        )
    company.put(f"raw/documents/a.{suffix}", stream.getvalue())
    assert company.quarantined() == [
        ("file", "a part declares XML entities, which Office never does")
    ]


def test_a_sheet_that_claims_endless_rows_and_columns_costs_what_it_holds(company):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["B1"] = "Name", "Port"
    book.active["XFD400000"] = "far away"
    company.put("raw/documents/wide.xlsx", saved(book))
    assert company.document().text == (
        "## Sheet\n\n| Name | Port |  |\n| --- | --- | --- |\n|  |  | far away |"
    )


def test_more_cells_than_a_record_may_have_are_quarantined(company):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=50_000))
    book = openpyxl.Workbook()
    for _ in range(30):
        book.active.append(["x", *[None] * 3000, "y"])
    company.put("raw/documents/wide.xlsx", saved(book))
    ((_, reason),) = company.quarantined()
    assert reason == "it has more cells than fit cleaning.max_record_bytes"


@patient
@given(st.sampled_from(list(FILES)), st.floats(0, 0.99), st.integers(0, 255), st.booleans())
def test_truncated_and_damaged_files_never_raise(make_company, suffix, share, byte, cut):
    company = make_company()
    raw = bytearray(FILES[suffix]())
    place = int(share * len(raw))
    if cut:
        del raw[place:]
    else:
        raw[place : place + 8] = bytes([byte]) * 8
    company.put(f"raw/documents/a.{suffix}", bytes(raw))
    assert len(company.outcomes()) == 1
    if cut:
        assert company.quarantined()
