"""Text of files that do not say how they are encoded."""

from __future__ import annotations

import codecs
import re

from alchemy.connectors.fields import BadRecord

_MARKS = (
    # the mark of UTF-16 begins that of UTF-32, so the longer ones come first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w:.-]+)|<\?xml[^>]+encoding\s*=\s*[\"']([\w:.-]+)", re.I
)
_SAMPLE_BYTES = 1 << 16
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "utf-8"}
"""What is labelled with the first is written in the second; web browsers read it so, too."""
_UNITS = {"utf-16": 2, "utf-32": 4}
_MAX_CHAOS = 0.2
_MIN_COHERENCE = 0.1
"""Share of letters as a language would have them; below it several fitting encodings are a guess."""
_PREFERRED = (
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8-r"),
)
"""What files of companies are written in, the most frequent of its alphabet first: of two that give
the same language equally well it is the one. Fewer to choose from are fewer to confuse."""


def decode(raw: bytes, declared: bool = False) -> tuple[str, str]:
    """Text and encoding of a file: by its byte order mark, as UTF-8, by its own word, by its look.

    Args:
        declared: the format has a place where it names its encoding (HTML, XHTML).

    Raises:
        BadRecord: binary data, invalid in the encoding it claims, or not clear enough to decide.
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _strict(raw, name, "its byte order mark says"), name.removesuffix("-sig")
    if b"\0" in raw:
        return _unmarked_wide(raw)
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        broken = f"not valid UTF-8 at byte {error.start}"
    match = _DECLARED.search(raw[:4096]) if declared else None
    if match:
        name = _known((match[1] or match[2]).decode("ascii"))
        return _strict(raw, name, "it declares"), name
    return _looked_at(raw, broken)


def _known(name: str) -> str:
    try:
        plain = codecs.lookup(name).name
    except LookupError as error:
        raise BadRecord("the encoding it declares is unknown") from error
    return _SUPERSETS.get(plain, plain)


def _strict(raw: bytes, name: str, by: str) -> str:
    try:
        return raw.decode(name).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:  # LookupError: `base64` decodes no text
        raise BadRecord(f"not valid in the encoding {by}") from error


def _unmarked_wide(raw: bytes) -> tuple[str, str]:
    """UTF-16 without its mark, when every other byte of much of it is zero; else binary data."""
    sample = raw[:_SAMPLE_BYTES]
    for order, zeros, others in (
        ("utf-16-le", sample[1::2], sample[::2]),
        ("utf-16-be", sample[::2], sample[1::2]),
    ):
        if len(raw) % 2 == 0 and zeros.count(0) > 0.3 * len(zeros) and not others.count(0):
            try:
                text = raw.decode(order)
            except UnicodeDecodeError:
                continue
            if "\0" not in text:
                return text, order
    raise BadRecord("binary data, not text")


def _looked_at(raw: bytes, broken: str) -> tuple[str, str]:
    """The encoding in which the bytes look most like a language."""
    from charset_normalizer import from_bytes

    if sum(raw.count(byte) for byte in range(32) if byte not in b"\t\n\r\f\x0b\x1b") > 0:
        raise BadRecord(f"binary data, not text ({broken})")
    matches = list(from_bytes(raw, cp_isolation=list(_PREFERRED), threshold=_MAX_CHAOS))
    if not matches:
        raise BadRecord(f"{broken}, and no other encoding fits")
    best = matches[0]
    equal = [
        match
        for match in matches
        if match.chaos <= best.chaos + 0.01 and match.coherence >= best.coherence - 0.02
    ]
    if len(equal) > 1 and best.coherence < _MIN_COHERENCE:
        raise BadRecord(f"{broken}, and several other encodings fit")
    names = {codecs.lookup(name).name for m in equal for name in m.could_be_from_charset}
    name = next((x for x in _PREFERRED if x in names), codecs.lookup(best.encoding).name)
    return _strict(raw, name, "it looks like"), name
