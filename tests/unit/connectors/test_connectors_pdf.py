from __future__ import annotations

import io
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import CleaningSettings, Settings

patient = settings(deadline=None, max_examples=20)  # a busy machine is no failure

KEY = "raw/documents/report.pdf"
PROSE = (
    "The committee meets every quarter and reviews all open risks of the company",
    "together with the owners of the systems. Each risk has one owner, who reports",
    "what was done since the last meeting.",
)


class Paper:
    """A PDF being drawn, line by line from the top of its first page."""

    def __init__(self, **options) -> None:
        self._file = io.BytesIO()
        self.canvas = Canvas(self._file, pagesize=A4, invariant=True, **options)
        self.y = 780.0

    def line(self, text: str, x: float = 60, size: float = 10, font: str = "Helvetica") -> None:
        self.canvas.setFont(font, size)
        self.canvas.drawString(x, self.y, text)
        self.y -= 1.25 * size

    def right(self, *cells: tuple[float, str]) -> None:
        """Cells that end at the given places, on one line."""
        self.canvas.setFont("Helvetica", 9)
        for x, text in cells:
            self.canvas.drawRightString(x, self.y, text)

    def gap(self, height: float = 14) -> None:
        self.y -= height

    def page(self) -> None:
        self.canvas.showPage()
        self.y = 780.0

    def done(self) -> bytes:
        self.canvas.save()
        return self._file.getvalue()


def prose(paper: Paper) -> None:
    for line in PROSE:
        paper.line(line)
    paper.gap()


def report() -> Paper:
    paper = Paper()
    paper.line("Risk report", size=20)
    paper.gap()
    prose(paper)
    return paper


def test_headings_by_size_and_paragraphs_without_their_line_breaks(company):
    paper = report()
    paper.line("Scope", size=14)
    paper.gap()
    prose(paper)
    paper.line("Exceptions", font="Helvetica-Bold")
    paper.gap(6)
    prose(paper)
    company.put(KEY, paper.done())
    document = company.document()
    whole = " ".join(PROSE)
    assert document.title == "Risk report"
    assert document.text == (
        f"# Risk report\n\n{whole}\n\n## Scope\n\n{whole}\n\n### Exceptions\n\n{whole}"
    )
    assert document.extra["pages"] == 1


def test_title_and_dates_come_from_the_files_own_data(company):
    paper = report()
    paper.canvas.setTitle("Quarterly risks")
    company.put(KEY, paper.done())
    document = company.document()
    assert document.title == "Quarterly risks"
    assert document.created_at == "2000-01-01T00:00:00Z"


@pytest.mark.parametrize("title", ["untitled", "Microsoft Word - x.docx", "0001018724-22-000023"])
def test_a_title_that_names_nothing_is_none(company, title):
    paper = report()
    paper.canvas.setTitle(title)
    company.put(KEY, paper.done())
    assert company.document().title == "Risk report"


def test_a_file_name_that_says_more_than_the_first_heading_is_the_title(company):
    paper = Paper()
    paper.line("Acme", size=20)
    prose(paper)
    company.put("raw/documents/Acme Leave Policy.pdf", paper.done())
    assert company.document().title == "Acme Leave Policy"


def test_a_word_broken_at_the_end_of_a_line_is_whole_and_a_hyphen_stays(company):
    paper = Paper()
    paper.line("All employees must keep the confidential infor-")
    paper.line("mation of clients and the long-term plans safe; what is long-")
    paper.line("term is for the board to say.")
    company.put(KEY, paper.done())
    text = company.document().text
    assert "confidential information of clients" in text
    assert "what is long-term is for" in text


def test_lists_keep_their_depth_and_wrapped_lines_their_item(company):
    paper = Paper()
    paper.line("\u2022 Laptops and desktops are kept for four years and are then given to")
    paper.line("schools of the town.", x=70)
    paper.line("\u2022 Phones", x=80)
    paper.line("\u2022 Servers")
    company.put(KEY, paper.done())
    assert company.document().text == (
        "- Laptops and desktops are kept for four years and are then given to schools of the town.\n"
        "  - Phones\n- Servers"
    )


def test_printed_marks_do_not_become_structure(company):
    paper = Paper()
    for text in ("# of employees", "| pipe", "``` fence"):
        paper.line(text)
        paper.gap()
    company.put(KEY, paper.done())
    assert company.document().text == "\\# of employees\n\n\\| pipe\n\n\\``` fence"


def test_running_headers_and_footers_go_and_pages_are_divided(company):
    paper = Paper()
    for number in range(1, 5):
        paper.line("Acme Inc. confidential", size=8)
        paper.gap()
        paper.line(f"Text of page {'one two three four'.split()[number - 1]} is here.")
        paper.gap()
        if number == 3:
            paper.line("Only on this page")
        paper.canvas.drawString(60, 40, f"Acme | page {number} of 4")
        paper.page()
    company.put(KEY, paper.done())
    document = company.document()
    pages = document.text.split("\n\f\n")
    assert pages[0] == "Text of page one is here."
    assert pages[2] == "Text of page three is here.\n\nOnly on this page"
    assert len(pages) == document.extra["pages"] == 4
    assert "Acme" not in document.text
    chunks = chunk_document(document, wordpiece(), 180)
    assert [chunk.page for chunk in chunks] == [1, 2, 3, 4]


def test_a_header_of_two_pages_of_many_stays(company):
    paper = Paper()
    for number in range(6):
        paper.line("Annex" if number < 2 else f"Section {'abcdef'[number]}")
        paper.gap()
        paper.line(f"What section {'abcdef'[number]} says.")
        paper.page()
    company.put(KEY, paper.done())
    assert company.document().text.count("Annex") == 2


def test_a_drawn_table_is_a_table_in_its_place_and_its_words_are_there_once(company):
    paper = report()
    table = Table([["Leave", "Days"], ["Casual", "12"], ["Sick", "10 | paid"]])
    table.setStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    table.wrapOn(paper.canvas, 300, 200)
    table.drawOn(paper.canvas, 60, paper.y - 60)
    paper.gap(90)
    paper.line("After the table.")
    company.put(KEY, paper.done())
    text = company.document().text
    assert (
        "\n\n| Leave | Days |\n| --- | --- |\n| Casual | 12 |\n| Sick | 10 \\| paid |\n\nAfter the"
    ) in text
    assert text.count("Casual") == 1


def test_a_table_that_goes_on_has_its_header_on_every_page(company):
    paper = Paper()
    for rows in ([["Term", "Meaning"], ["Asset", "a thing"]], [["Owner", "a person"], ["X", "y"]]):
        table = Table(rows, colWidths=[100, 200])
        table.setStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
        table.wrapOn(paper.canvas, 300, 200)
        table.drawOn(paper.canvas, 60, 700)
        paper.page()
    company.put(KEY, paper.done())
    assert company.document().text == (
        "| Term | Meaning |\n| --- | --- |\n| Asset | a thing |\n\f\n"
        "| Term | Meaning |\n| --- | --- |\n| Owner | a person |\n| X | y |"
    )


def financial(paper: Paper) -> None:
    """A statement as reports set it: no borders, headers over two columns, wrapped labels."""
    columns = (360, 420, 480, 540)
    paper.canvas.setFont("Helvetica", 9)
    paper.canvas.drawCentredString(390 - 15, paper.y, "Three Months Ended")
    paper.canvas.drawCentredString(510 - 15, paper.y, "Nine Months Ended")
    paper.gap(11)
    paper.right(*zip(columns, ["2023", "2022"] * 2, strict=True))
    paper.gap(13)
    for label, values in (
        ("Revenue:", ()),
        ("Products", ("19,442", "21,744", "79,082", "74,129")),
        ("Services and all other sources of income, net of", ()),
        ("tax", ("(721)", "188", "(1,102)", "\u2014")),
        ("Total revenue", ("18,721", "21,932", "77,980", "74,129")),
    ):
        paper.canvas.drawString(60, paper.y, label)
        paper.right(*zip(columns, values, strict=False))
        if label in ("Products", "Total revenue"):
            for x in columns:
                paper.canvas.drawString(x - 40, paper.y, "$")
        paper.gap(9.5 if label.startswith("Services") else 13)
    paper.gap()


def test_a_table_without_borders_is_found_and_every_value_has_its_whole_header(company):
    paper = report()
    financial(paper)
    paper.line("See the notes.")
    company.put(KEY, paper.done())
    text = company.document().text
    head = " | ".join(
        f"{months} Months Ended {year}" for months in ("Three", "Nine") for year in (2023, 2022)
    )
    assert text.endswith(
        f"|  | {head} |\n| --- | --- | --- | --- | --- |\n"
        "| Revenue: |  |  |  |  |\n"
        "| Products | $19,442 | $21,744 | $79,082 | $74,129 |\n"
        "| Services and all other sources of income, net of tax | (721) | 188 | (1,102) | — |\n"
        "| Total revenue | $18,721 | $21,932 | $77,980 | $74,129 |\n\n"
        "See the notes."
    )


def test_two_columns_are_read_one_after_the_other(company):
    paper = Paper()
    paper.line("On reading order", size=18)
    top = paper.y
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
    for x, side in ((60, "first"), (320, "second")):
        paper.y = top
        for word in words:
            start = "The" if word == "alpha" else "and the"
            paper.line(f"{start} {side} column says {word} in this line", x=x)
    company.put(KEY, paper.done())
    heading, left, right = company.document().text.split("\n\n")
    assert heading == "# On reading order"
    assert [w for w in left.split() if w in words] == words
    assert (left.count("second"), right.count("first")) == (0, 0)


def aligned(paper: Paper, places: tuple[float, ...], *rows: tuple[str, ...]) -> None:
    """Cells that begin at the given places, line by line; an empty row is space."""
    for row in rows:
        paper.canvas.setFont("Helvetica", 10)
        for x, cell in zip(places, row, strict=False):
            paper.canvas.drawString(x, paper.y, cell)
        paper.gap(12.5 if row else 6)


def table_of(company) -> list[str]:
    return [line for line in company.document().text.split("\n") if line.startswith("|")]


def test_words_in_aligned_columns_are_a_table(company):
    paper = report()
    aligned(
        paper, (60, 180, 300),
        ("Name", "Role", "City"), ("Ada", "Programmer", "London"),
        ("Grace", "Rear admiral", "New York"), ("Edsger", "", "Austin"),
    )  # fmt: skip
    paper.gap()
    prose(paper)
    company.put(KEY, paper.done())
    whole = " ".join(PROSE)
    assert company.document().text == (
        f"# Risk report\n\n{whole}\n\n| Name | Role | City |\n| --- | --- | --- |\n"
        "| Ada | Programmer | London |\n| Grace | Rear admiral | New York |\n"
        f"| Edsger |  | Austin |\n\n{whole}"
    )


def test_cells_of_several_lines_are_whole(company):
    paper = report()
    rows = [("Role", "Duty"), ("Owner", "answers for the risk"), ("", "and reports it"), ("Team", "keeps it"),
            ("Board", "decides what is"), ("", "to be done")]  # fmt: skip
    aligned(paper, (60, 180), *rows)
    company.put(KEY, paper.done())
    assert table_of(company) == [
        "| Role | Duty |", "| --- | --- |", "| Owner | answers for the risk and reports it |",
        "| Team | keeps it |", "| Board | decides what is to be done |",
    ]  # fmt: skip


def test_rows_set_apart_are_told_from_prose_in_columns(company):
    paper = report()
    for item in "abcdefg":
        aligned(
            paper, (60, 300),
            (f"Records of office {item} that", "Encrypted before they leave"),
            ("hold names of people", "the network of the company"), (),
        )  # fmt: skip
    company.put(KEY, paper.done())
    assert table_of(company)[2:] == [
        f"| Records of office {item} that hold names of people "
        "| Encrypted before they leave the network of the company |"
        for item in "abcdefg"
    ]


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("lines", [5, 12])
def test_prose_in_columns_is_never_a_table(company, columns, lines):
    start = "Each risk has one owner who"
    rest = (
        "reports what was done since",
        "the last meeting, and then",
        "what remains to be done is",
    )
    texts = [[start, *(rest[n % 3] for n in range(lines - 2)), "said."] for _ in range(columns)]
    paper = Paper()
    aligned(paper, (60, 230, 400), *zip(*texts, strict=True))
    company.put(KEY, paper.done())
    text = company.document().text
    assert "|" not in text
    assert text.replace("\n\n", " ") == " ".join(" ".join(column) for column in texts)


@pytest.mark.parametrize(
    "rows",
    [
        [("1.", "Keep the door shut"), ("2.", "Wear a badge"), ("3.", "Report what is lost")],
        [("\u2022", "Keep the door shut"), ("\u2022", "Wear a badge"), ("\u2022", "Report it")],
        [("Place, date", "Signature"), ("________", "________")],
    ],
)
def test_lists_and_single_lines_are_no_tables(company, rows):
    paper = report()
    aligned(paper, (60, 180), *rows)
    company.put(KEY, paper.done())
    assert table_of(company) == []


# --- what is no readable PDF ----------------------------------------------------------------------


def test_scanned_pages_are_quarantined_and_one_among_others_is_named(company):
    picture = Image.new("RGB", (40, 40), "gray")
    scanned = Paper()
    scanned.canvas.drawInlineImage(picture, 60, 400)
    company.put("raw/documents/scan.pdf", scanned.done())
    assert company.quarantined() == [
        ("file", "no text layer: the pages are pictures, run OCR on them first")
    ]
    mixed = report()
    mixed.page()
    mixed.canvas.drawInlineImage(picture, 60, 400)
    company.put("raw/documents/scan.pdf", mixed.done())
    assert company.document().extra["pages_without_text"] == [2]


def test_encrypted_files_are_quarantined(company):
    paper = Paper(encrypt=StandardEncryption("secret"))
    paper.line("Nobody reads this.")
    company.put(KEY, paper.done())
    assert company.quarantined() == [("file", "encrypted: a password is needed to read it")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not a PDF file: it has no PDF header"),
        (b"PK\x03\x04 zip", "not a PDF file: it has no PDF header"),
        (b"%PDF-1.7\n%%EOF", "not readable as PDF"),
    ],
)
def test_what_is_no_pdf_is_quarantined(company, raw, reason):
    company.put(KEY, raw)
    ((_, found),) = company.quarantined()
    assert found.startswith(reason)


@patient
@given(st.floats(0.01, 0.99))
def test_a_truncated_file_is_quarantined_wherever_it_ends(make_company, share):
    company = make_company()
    raw = report().done()
    company.put(KEY, raw[: int(share * (len(raw) - 40))])
    ((_, reason),) = company.quarantined()
    assert reason.startswith(("truncated", "not a PDF file"))


@patient
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=40))
def test_a_damaged_file_never_raises(make_company, changes):
    company = make_company()
    raw = bytearray(report().done())
    for place, byte in changes:
        raw[min(int(place * len(raw)), len(raw) - 1)] = byte
    company.put(KEY, bytes(raw))
    assert len(company.outcomes()) == 1


def with_stream(data: bytes, filters: str) -> bytes:
    """A page whose content is this stream."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources 5 0 R>>",
        b"<</Filter[%s]/Length %d>>\nstream\n%s\nendstream" % (filters.encode(), len(data), data),
        b"<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>",
    ]
    raw, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(raw))
        raw += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<</Root 1 0 R/Size 6>>\nstartxref\n%d\n%%%%EOF" % len(raw)
    return raw + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def lzw_of_zeros() -> bytes:
    """Longer and longer runs of zeros, each named by one code, until the table is full."""
    bits = f"{256:09b}{0:09b}"
    for code in range(258, 4096):
        width = 9 + sum(code >= limit for limit in (511, 1023, 2047))
        bits += f"{code:0{width}b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


BOMBS = {
    "/FlateDecode": zlib.compress(b"\0" * 50_000_000, 9),
    "/FlateDecode/FlateDecode": zlib.compress(zlib.compress(b"\0" * 50_000_000, 9), 9),
    "/LZWDecode": lzw_of_zeros(),
    "/RunLengthDecode": b"\x81\0" * 20_000,
    "/ASCIIHexDecode/RunLengthDecode": (b"\x81\0" * 20_000).hex().encode() + b">",
    "/RunLengthDecode/RunLengthDecode": b"\x81\x81" * 8_000,
}


@pytest.mark.parametrize("filters", BOMBS)
def test_a_stream_that_unpacks_without_bound_is_quarantined(company, filters):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=100_000))
    company.put(KEY, with_stream(BOMBS[filters], filters))
    assert company.quarantined() == [("file", "its streams unpack to more than 800000 bytes")]


def test_streams_of_every_filter_are_still_read(company):
    text = b"BT /F1 12 Tf 60 700 Td (Readable words) Tj ET"
    runs = bytes([len(text) - 1]) + text + b"\x80"
    packed = {
        "/FlateDecode": zlib.compress(text),
        "/RunLengthDecode": runs,
        "/ASCIIHexDecode/RunLengthDecode": runs.hex().encode() + b">",
        "/FlateDecode/RunLengthDecode": zlib.compress(runs),
    }
    for number, (filters, data) in enumerate(packed.items()):
        company.put(f"raw/documents/{number}.pdf", with_stream(data, filters))
    assert [document.text for document in company.documents()] == ["Readable words"] * 4


def test_a_file_that_takes_too_long_is_quarantined_and_the_next_one_is_read(company):
    company.settings = Settings(cleaning=CleaningSettings(pdf_timeout_s=3))
    endless = zlib.compress(b"1 0 0 1 0 0 cm " * 10_000_000, 9)
    company.put("raw/documents/a.pdf", with_stream(endless, "/FlateDecode"))
    company.put("raw/documents/b.pdf", report().done())
    started = time.monotonic()
    found = company.outcomes()
    assert time.monotonic() - started < 30
    assert [type(one).__name__ for one in found] == ["Quarantined", "Document"]
    assert found[0].reason == ("it takes longer to read than cleaning.pdf_timeout_s (3 seconds)")


def test_a_file_is_read_in_a_thread_as_well(company):
    company.put(KEY, report().done())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(company.document).result().title == "Risk report"


def test_more_text_than_a_record_may_have_is_quarantined(company):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=20_000))
    paper = Paper()
    for _ in range(12):
        for _ in range(50):
            paper.line("The same short line again and again. " * 2)
        paper.page()
    company.put(KEY, paper.done())
    ((_, reason),) = company.quarantined()
    assert reason == "its text is larger than cleaning.max_record_bytes (20000)"
