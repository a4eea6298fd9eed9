from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

patient = settings(deadline=None, max_examples=25)  # a busy machine is no failure

CHINESE = "数据流的部署方法：请先安装软件包，然后启动服务。配置文件位于目录中。\n"
JAPANESE = "データの配置方法について説明します。まずソフトウェアをインストールしてください。\n"
KOREAN = "데이터 배포 방법을 설명합니다. 먼저 소프트웨어를 설치하십시오.\n"
RUSSIAN = "Сначала установите пакет, затем запустите службу. Настройки находятся в каталоге.\n"
FRENCH = "Le café est fermé à Noël, déjà réservé par l’équipe française pour l’été.\n"
POLISH = "Zażółć gęślą jaźń; proszę sprawdzić ustawienia w katalogu głównym.\n"


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (KOREAN, "euc_kr", "euc_kr"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "koi8_r", "koi8-r"),
        (FRENCH, "cp1252", "cp1252"),
        (POLISH, "cp1250", "cp1250"),
        (CHINESE, "utf-8", None),
        (CHINESE, "utf-8-sig", None),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-32", "utf-32"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "utf-16-be", "utf-16-be"),
    ],
)
@pytest.mark.parametrize("repeats", [1, 40])
def test_text_is_read_in_the_encoding_it_was_written_in(company, text, encoding, named, repeats):
    company.put("raw/documents/notes.txt", (text * repeats).encode(encoding))
    document = company.document()
    assert document.text == (text * repeats).strip()
    assert document.extra.get("encoding") == named


@pytest.mark.parametrize("name", ["notes.md", "notes.adoc", "notes.html"])
def test_every_format_made_of_text_has_its_encoding_found(company, name):
    company.put(f"raw/documents/{name}", CHINESE.encode("gb18030"))
    document = company.document()
    assert document.text == CHINESE.strip()
    assert document.extra["encoding"] == "gb18030"


def test_html_is_read_in_the_encoding_it_declares_even_when_another_would_fit(company):
    company.put(
        "raw/documents/page.html",
        '<meta http-equiv="Content-Type" content="text/html; charset=gb2312"><p>数据流𠀀</p>'.encode(
            "gb18030"
        ),
    )
    company.put(
        "raw/documents/page.xhtml",
        "<?xml version='1.0' encoding='iso-8859-1'?><html><body><p>Crêpe</p></body></html>".encode(
            "latin-1"
        ),
    )
    assert [(d.text, d.extra["encoding"]) for d in company.documents()] == [
        ("数据流𠀀", "gb18030"),
        ("Crêpe", "cp1252"),
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0", "binary data, not text"),
        (bytes(range(256)), "binary data, not text"),
        (b"\x7fELF\x02\x01\x01\x99\x98 text", "binary data, not text (not valid UTF-8 at byte 7)"),
        ("数据流".encode("gb18030"), "not valid UTF-8 at byte 0, and several other encodings fit"),
        (codecs.BOM_UTF16_LE + b"abc", "not valid in the encoding its byte order mark says"),
    ],
)
def test_what_is_no_text_or_not_clear_is_quarantined(company, raw, reason):
    company.put("raw/documents/notes.txt", raw)
    assert company.quarantined() == [("file", reason)]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("x-unknown", "the encoding it declares is unknown"),
        ("base64", "not valid in the encoding it declares"),
        ("shift_jis", "not valid in the encoding it declares"),
    ],
)
def test_a_wrong_declaration_is_quarantined(company, declared, reason):
    page = f"<meta charset={declared}><p>".encode() + b"\xff\xfe\xfd</p>"
    company.put("raw/documents/page.html", page)
    assert company.quarantined() == [("file", reason)]


@patient
@given(st.binary(max_size=400))
def test_any_bytes_become_a_document_or_are_quarantined(make_company, raw):
    company = make_company()
    for suffix in ("txt", "md", "adoc", "html"):
        company.put(f"raw/documents/file.{suffix}", raw)
    assert len(company.outcomes()) == 4


@patient
@given(st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=1, max_size=60))
def test_marked_text_comes_back_whatever_it_says(make_company, text):
    company = make_company()
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        company.put(f"raw/documents/{encoding}.txt", f"{text}\r\n".encode(encoding))
    assert len({document.text for document in company.documents()}) == 1
