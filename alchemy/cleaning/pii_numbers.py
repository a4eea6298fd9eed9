"""Judging addresses and numbers: e-mail, phones, cards, accounts, national ids, IP addresses.

What a pattern found by its shape goes only when its checksum, its ranges and what stands before it
allow.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable

_FILE_TLDS = frozenset(
    "png jpg jpeg gif svg webp tgz jar css js class java py xml html json yml yaml "
    "properties txt csv log file input output".split()
)
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|version|release|build|rev|revision|section|sect|chapter|figure|table|clause|jdk"
    r"|jre|java|firmware|driver)[\s.:=#]{0,3}|版本号?[：:]?[ ]?|[=~^<>]=[ ]?|(?:^|\n)#{1,6}[ ]|§[ ]?"
    r"|(?<!ip)(?<!host)(?<!node)(?<!server)(?<!addr)(?<=[a-z])-)\Z",
    re.IGNORECASE | re.ASCII,
)
_PRODUCT_BEFORE = re.compile(r"(?:^|[\s(,;])[A-Za-z][\w.+-]*/\Z", re.ASCII)  # curl/7.1.10.2
_VERSION_AFTER = re.compile(r"[.-](?:[A-Za-z]|RC\d|M\d)", re.ASCII)
_VERSION_WORD_AFTER = re.compile(r"[ ](?:release|version|build|update|patch|GA)\b", re.IGNORECASE)
_NAME_BEFORE = re.compile(r"\b[A-Z][A-Za-z]+[ ]\Z")
_NETWORK_BEFORE = re.compile(
    r"(?://|[@\[]|\b(?:ips?|hosts?|host ?name|addr\w*|servers?|nodes?|clients?|from|to|at|ping|dns"
    r"|nameservers?|gateway|proxy|subnet|peer|remote|listen\w*|bind|connect\w*|ssh)"
    r"[\s:=\"'(]{0,4}(?:(?:is|was|address|at|to|on|from)[\s:=]{1,2})?)\Z",
    re.IGNORECASE | re.ASCII,
)
_HARDWARE = re.compile(r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
_FILE_AFTER = re.compile(r"[.-](?:log|txt|json|xml|csv|conf|cfg|pcap|local|gz|out|yaml|yml)\b")
_NUMBERED_BEFORE = re.compile(
    r"(?:\b(?:tickets?|cases?|orders?|issues?|bugs?|invoices?|ref(?:erence)?|incidents?|requests?|po|builds?"
    r"|jobs?|tasks?|tracking|serial|part|sku|model|isbn|issn|doi|id|ids)(?:[ ]?(?:no\.?|numbers?|ids?|nr\.?))?[\s:#=.]{0,3}"
    r"|#|(?:工单|订单|编号|单号|流水|序列|货号)(?:编号|号码?)?[\s:#]*)\Z",
    re.IGNORECASE | re.ASCII,
)
_DIGITS_BEFORE = re.compile(r"\d[ -]\Z", re.ASCII)  # part of a longer number
_UUID_BEFORE = re.compile(r"[0-9A-Fa-f]{4}-\Z")
_ROUND = re.compile(r"(?:\d+00[ .-]){2}\d+00", re.ASCII)
_CENTS_AFTER = re.compile(r",\d\d(?!\d)", re.ASCII)
_DATE = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)", re.ASCII)
_DIGITS_AFTER = re.compile(r"[ -]\d{4}(?!\d)", re.ASCII)
_NETWORK_AFTER = re.compile(r":\d|/\d", re.ASCII)
_ISSUERS = (  # prefix → lengths in use; a longer number with the same start is an id of something
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("30[0-5]|3[689]"), (14, 16, 19)),  # Diners Club
    (re.compile("35(?:2[89]|[3-8])"), (16, 19)),  # JCB
    (re.compile("62|81"), (16, 19)),  # UnionPay; 18 digits are ids of all kinds
    (re.compile("6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile("50|5[6-9]|6"), (16, 19)),  # Maestro
)

Span = tuple[str, int, int]
"""Kind, start and end of what must go."""


def _judge_email(match: re.Match[str]) -> Span | None:
    local, _, domain = match.group().replace("%40", "@").rpartition("@")
    labels = domain.split(".")
    while labels[-1].lower() in _FILE_TLDS:  # ada@example.org.json, but logo@2x.png
        labels.pop()
        if len(labels) < 2:
            return None
    if local == "git" and match.string[match.end() : match.end() + 1] in (":", "/"):
        return None  # the address of a repository
    return "EMAIL", match.start(), match.end() - len(domain) + len(".".join(labels))


def _judge_phone(match: re.Match[str]) -> Span | None:
    start, text = match.start(), match.group()
    before = match.string[max(0, start - 32) : start]
    if text[0] != "+" and _UUID_BEFORE.search(before):
        return None
    if not text.startswith(("+", "00")):
        if _ROUND.fullmatch(text) or (
            "." in text and _CENTS_AFTER.match(match.string, match.end())
        ):
            return None  # a range, an amount
        byte_count = text.isdigit() and int(text) % (1 << 20) == 0  # of memory, in round numbers
        longer = (
            byte_count
            or _DIGITS_BEFORE.search(before)
            or _DIGITS_AFTER.match(match.string, match.end())
        )
        return None if longer or _NUMBERED_BEFORE.search(before) else ("PHONE", start, match.end())
    if text[0] == "0" and _DIGITS_BEFORE.search(match.string[max(0, start - 2) : start]):
        return None
    end = digits = 0
    for group in re.finditer(r"\(?(\d+)\)?(?=([ ./-]?)(.?))", text):
        if digits + len(group.group(1)) > 15:
            break
        digits += len(group.group(1))
        end = group.end()
        if group.group(2) and not (group.group(3).isdigit() or group.group(3) == "("):
            break  # two separators in a row: another number begins
    after = match.string[start + end : start + end + 1]
    if digits < 8 or (after.isascii() and (after.isalnum() or after == "_")):
        return None
    return "PHONE", start, start + end


def _judge_dialled(match: re.Match[str]) -> Span | None:
    value, start, end = match.group("dialled_v"), match.start("dialled_v"), match.end("dialled_v")
    digits = sum(char.isdigit() for char in value)
    if not 7 <= digits <= 15 or _DATE.search(value) or value.count(".") == 3:
        return None
    return "PHONE", start, end


def _judge_digits(match: re.Match[str]) -> Span | None:
    value = match.group().replace("\n", " ")
    if len(value) == 18 and is_resident_id(value):
        return "NATIONAL_ID", match.start(), match.end()
    return ("CARD", match.start(), match.end()) if is_card(value) else None


def is_card(value: str) -> bool:
    """Whether these digits are a payment card number: issuer range, length and Luhn checksum."""
    text = re.sub("[ .-]", "", value)
    if not (text.isascii() and text.isdigit()):
        return False
    lengths = next((lengths for issuer, lengths in _ISSUERS if issuer.match(text)), ())
    if len(text) not in lengths:
        return False
    digits = [int(char) for char in text]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_resident_id(value: str) -> bool:
    """Whether these 18 characters are a Chinese resident id: birth date and checksum."""
    if not (value[:17].isdigit() and value[17:].upper() in tuple("0123456789X")):
        return False
    try:
        datetime.date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(char) * weight for char, weight in zip(value, weights, strict=False))
    return "10X98765432"[total % 11] == value[17].upper() and 1800 < int(value[6:10]) < 2200


def _judge_ssn(match: re.Match[str]) -> Span | None:
    group = "ssn_v" if "ssn_v" in match.re.groupindex else 0
    digits = re.sub(r"\D", "", match.group(group))
    if (
        digits[:3] in ("000", "666")
        or digits[0] == "9"
        or "00" == digits[3:5]
        or digits[5:] == "0000"
    ):
        return None
    return "NATIONAL_ID", match.start(group), match.end(group)


def _judge_ipv6(match: re.Match[str]) -> Span | None:
    value = match.group().partition("%")[0]
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified:
        return None
    if not any(char.isdigit() for char in value) and value.count(":") < 4:
        return None  # a scope operator between two words that happen to be hexadecimal
    if len(value.replace(":", "")) < 3:
        return None  # 8:: is a mark in some log
    if _HARDWARE.fullmatch(value):
        return None  # eight pairs: the address of an interface or a fingerprint
    return "IP", match.start(), match.end()


def _judge_ipv4(match: re.Match[str]) -> Span | None:
    value = match.group()
    octets = value.removeprefix("ip-").replace("-", ".").split(".")
    if any(int(octet) > 255 for octet in octets):
        return None
    if octets[0] in ("0", "127", "255"):
        return None  # any, loopback, netmask: nobody's address
    before = match.string[max(0, match.start() - 32) : match.start()]
    if value.startswith("ip-"):
        return "IP", match.start(), match.end()
    if all(len(octet) == 1 for octet in octets) and not (
        _NETWORK_BEFORE.search(before) or _NETWORK_AFTER.match(match.string, match.end())
    ):
        return None  # 2.2.4.2 with nothing about networks near it is a version
    if _VERSION_BEFORE.search(before) or _PRODUCT_BEFORE.search(before):
        return None
    networked = _NETWORK_BEFORE.search(before) or _NETWORK_AFTER.match(match.string, match.end())
    if not networked and _VERSION_WORD_AFTER.match(match.string, match.end()):
        return None
    if not _is_private(octets):
        small = "0" in octets and all(len(octet) < 3 for octet in octets)
        if small and not networked and _NAME_BEFORE.search(before):
            return None  # Oracle 11.2.0.4
        in_path = re.search(r"[A-Za-z]/\Z", before) and "//" not in before.split()[-1]
        if in_path or (value.endswith(".0.0") and not networked):
            return None  # boost/1.55.0.1/lib and 12.0.0.0 are versions
    if _VERSION_AFTER.match(match.string, match.end()):
        addressed = _is_private(octets) and _FILE_AFTER.match(match.string, match.end())
        return ("IP", match.start(), match.end()) if addressed else None
    return "IP", match.start(), match.end()


def _is_private(octets: list[str]) -> bool:
    return ipaddress.IPv4Address(".".join(str(int(octet)) for octet in octets)).is_private


def _judge_iban(match: re.Match[str]) -> Span | None:
    """The longest prefix that passes the checksum: a word in capitals may follow the number."""
    text = match.group()
    for length in range(len(text), 14, -1):
        value = text[:length].replace(" ", "")
        if text[length - 1] == " " or len(value) < 15:
            continue
        after = match.string[match.start() + length : match.start() + length + 1]
        if after.isascii() and after.isalnum():
            continue
        digits = "".join(str(int(char, 36)) for char in value[4:] + value[:4])
        if int(digits) % 97 == 1:
            return "IBAN", match.start(), match.start() + length
    return None


def _judge_passport(match: re.Match[str]) -> Span:
    return "NATIONAL_ID", match.start("passport_v"), match.end("passport_v")


NUMBER_JUDGES: dict[str, Callable[[re.Match[str]], Span | None]] = {
    "email": _judge_email,
    "iban": _judge_iban,
    "passport": _judge_passport,
    "ssn_named": _judge_ssn,
    "dialled": _judge_dialled,
    "ipv6": _judge_ipv6,
    "phone": _judge_phone,
    "digits": _judge_digits,
    "ssn": _judge_ssn,
    "ipv4": _judge_ipv4,
    "ipv4_name": _judge_ipv4,
}
