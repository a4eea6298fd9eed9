"""Judging candidates for redaction: what of a match must go, if anything.

The pattern of `pii_patterns` finds anything that could be personal data or a credential by its
shape; here its context and checksums decide. When it is not clear whether something is a secret, it
is one.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable

from alchemy.cleaning.pii_patterns import BARE_CHARS, KEYWORD, STRONG_KEYWORD

KINDS = ("CARD", "EMAIL", "IP", "NATIONAL_ID", "PHONE", "SECRET")

_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})_\d+\]")
_KEYWORD = re.compile(KEYWORD, re.VERBOSE | re.ASCII)
_VARIABLE = re.compile(
    r"\\?[$#%@]?\{\{?[^{}]*\}?\}?|\$\(.*|\$?\$[A-Za-z_]\w*|%\w+%|<.*>?|\*+|[*•xX.…_-]{2,}|\[[A-Z_]+\d*\]|&\w+;",
    re.ASCII,
)
_WORD_VALUE = frozenset(
    "null none nil undefined true false yes no on off string str text varchar char int integer bool "
    "boolean object any bytes required optional default empty missing invalid expired unset redacted "
    "hidden masked env n/a changeit here must may can should will is are was the a an to and or for of "
    "in with if not this that your it as when be by from per which who".split()
)
_EXPRESSION = re.compile(
    r"(?:[A-Za-z_][\w.]*\(|(?:self|this|config|settings|env|process|os|request|req|props|properties"
    r"|user|args|options|opts|params|ctx|context|data|response|resp|res|json|cfg|conf|System|ENV)"
    r"[.\[]|new[ ]|await[ ])",
    re.ASCII,
)
_NOT_SECRET = re.compile(
    r"v?\d+(?:\.\d+)+(?:[.-]\w+)*|\d+[A-Za-z%]{0,3}|\d{4}-\d\d-\d\d.*|[a-z]+://.*|\.{0,2}~?/.*"
    r"|[A-Za-z_]+(?:\.[A-Za-z_]\w*)+",
    re.ASCII,
)
_IDENTIFIER_BEFORE = re.compile(r"[\w-]*\Z", re.ASCII)
_NO_PASSWORD = re.compile(r"[\[(]|[\w.-]+=.", re.ASCII)
_OPTION = re.compile(r"(?:^|[\s\"'])--?[\w-]*\Z", re.ASCII)
_BARE_REST = re.compile(r"[^\s\"'`<>]*")
_ASSIGNMENT_LINE = re.compile(
    r"(?:^|\n)[ \t]*(?:export[ ]|set[ ]|ENV[ ]|-[ ]|-[eD][ ]?|\$env:|\"|')*[\w.-]*\Z", re.ASCII
)
_FILE_TLDS = frozenset(
    "png jpg jpeg gif svg webp tgz jar css js class java py xml html json yml yaml "
    "properties txt csv log file input output".split()
)
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|version|release|build|rev|revision|section|sect|chapter|figure|table|clause|jdk"
    r"|jre|java|firmware|driver)[\s.:=#]{0,3}|[=~^<>]=[ ]?|(?:^|\n)#{1,6}[ ]|§[ ]?"
    r"|(?<!ip)(?<!host)(?<!node)(?<!server)(?<!addr)(?<=[a-z])-)\Z",
    re.IGNORECASE | re.ASCII,
)
_VERSION_AFTER = re.compile(r"[.-](?:[A-Za-z]|RC\d|M\d)", re.ASCII)
_NETWORK_BEFORE = re.compile(
    r"(?://|[@\[]|\b(?:ips?|hosts?|host ?name|addr\w*|servers?|nodes?|clients?|from|to|at|ping|dns"
    r"|nameservers?|gateway|proxy|subnet|peer|remote|listen\w*|bind|connect\w*|ssh)"
    r"[\s:=\"'(]{0,4}(?:(?:is|was|address|at|to|on|from)[\s:=]{1,2})?)\Z",
    re.IGNORECASE | re.ASCII,
)
_NETWORK_AFTER = re.compile(r":\d|/\d", re.ASCII)
_ISSUERS = (  # prefix → lengths in use; a longer number with the same start is an id of something
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("30[0-5]|3[689]"), (14, 16, 19)),  # Diners Club
    (re.compile("35(?:2[89]|[3-8])"), (16, 19)),  # JCB
    (re.compile("62|81"), (16, 17, 18, 19)),  # UnionPay
    (re.compile("6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile("50|5[6-9]|6"), (16, 19)),  # Maestro
)

Span = tuple[str, int, int]
"""Kind, start and end of what must go."""


def looks_secret(value: str) -> bool:
    """Whether a bare value has the look of a credential rather than of a word or a version."""
    if len(value) < 6 or _NOT_SECRET.fullmatch(value):
        return False
    letters = any(char.isalpha() for char in value)
    digits = any(char.isdigit() for char in value)
    symbols = any(not char.isalnum() and char not in "._-/:" for char in value)
    cased = not value.islower() and not value.isupper()
    return letters and (digits or symbols or (cased and len(value) >= 20))


def judge(match: re.Match[str]) -> tuple[Span | None, int]:
    """What of a candidate must go (None: nothing), and where to search on when nothing does."""
    name = match.lastgroup or ""
    if name == "assign":
        return _judge_assignment(match)
    span = _JUDGES[name](match)
    return span, match.start() + 1


def _value(match: re.Match[str], *names: str) -> tuple[str, int, int]:
    name = next(name for name in names if match.group(name) is not None)
    return match.group(name), match.start(name), match.end(name)


def _whole_secret(match: re.Match[str]) -> Span:
    return "SECRET", match.start(), match.end()


def _part(group: str) -> Callable[[re.Match[str]], Span | None]:
    def judge(match: re.Match[str]) -> Span | None:
        value, start, end = _value(match, group)
        return None if is_stand_in(value) else ("SECRET", start, end)

    return judge


def _judge_userinfo(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match, "userinfo_v")
    user, colon, password = value.partition(":")
    if colon:
        return None if is_stand_in(password) else ("SECRET", start, end)
    scheme = match.string[max(0, match.start() - 5) : match.start()].lower()
    web = scheme.endswith(("http", "https"))
    return ("SECRET", start, end) if web and user != "git" and not is_stand_in(user) else None


def _judge_header(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match, "header_v")
    if is_stand_in(value) or not (match.group("header_scheme") or looks_secret(value)):
        return None
    return "SECRET", start, end


def _judge_bearer(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match, "bearer_v")
    basic = match.group()[:5].lower() == "basic"
    if _holds_userinfo(value) if basic else looks_secret(value) and any(map(str.isdigit, value)):
        return "SECRET", start, end
    return None


def _holds_userinfo(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False


def _judge_flag(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match, "curl_v", "mysql_v", "pass_v")
    if value.replace(":", "").isdigit() or is_stand_in(value.rpartition(":")[2]):
        return None
    return "SECRET", start, end


def _judge_assignment(match: re.Match[str]) -> tuple[Span | None, int]:
    groups = ("assign_xml", "assign_quoted", "assign_curly", "assign_bare")
    name = next(name for name in groups if match.group(name) is not None)
    value, start = match.group(name), match.start(name)
    text, key = match.string, match.group("assign_key")
    separator = match.group("assign_sep").strip().strip("\"'`\\")
    key = _IDENTIFIER_BEFORE.findall(text[max(0, match.start() - 40) : match.start()])[0] + key
    strong = STRONG_KEYWORD.search(key) is not None
    if _PLACEHOLDER.match(value):
        return None, start
    bare = name == "assign_bare"
    if bare:
        value = _cut(value, text[max(0, match.start() - 80) : match.start()], separator)
    end = start + len(value)
    resume = start
    code = bare and match.group("assign_sep") != "="
    if not value or is_stand_in(value, code):
        return None, resume
    if bare and _EXPRESSION.match(value + text[end : end + 1]):
        return None, resume
    if bare and value.startswith("-") and match.group("assign_sep")[-1:].isspace():
        return None, resume  # the next option of a command line
    if match.group("assign_key").lower() == "pwd" and value.startswith(("/", "~")):
        return None, resume  # the working directory
    if name == "assign_xml" or (not bare and separator):
        prose = " " in value.strip() and (not strong or _KEYWORD.search(value) is not None)
        secret = not prose and (strong or len(value) >= 16 or looks_secret(value))
    elif separator in ("=", "==", "!=", "=>", ":="):
        secret = strong or looks_secret(value) or len(value) >= 16
    elif separator == ":" or separator.endswith("value:"):
        rest = text[end : end + 2].lstrip(",;.)}]\"'")
        prose = rest[:1] == " " and rest[1:2].isalnum()
        secret = looks_secret(value) or (strong and not prose)
    elif not bare:
        secret = looks_secret(value) or (strong and " " not in value)
    else:
        flag = _OPTION.search(text[max(0, match.start() - 64) : match.start()])
        worded = strong and any(map(str.isdigit, value)) and not _NO_PASSWORD.match(value)
        secret = (worded and looks_secret(value)) or (strong and flag is not None)
    if not secret:
        return None, resume
    if end - start == BARE_CHARS and (rest := _BARE_REST.match(text, end)):
        end = rest.end()  # the pattern stopped reading before the secret ended
    return ("SECRET", start, end), resume


def _cut(value: str, before: str, separator: str) -> str:
    """An unquoted value without the punctuation that follows it."""
    if separator in ("=", "==") and _ASSIGNMENT_LINE.search(before):
        return value
    cut = re.search(r"&(?=[\w.-]+=)|[,;](?=\Z|[\w ]+[=:])|\\[nrt\"']", value)
    if cut:
        value = value[: cut.start()]
    return value.rstrip(".,;:)}]\\")


def is_stand_in(value: str, code: bool = False) -> bool:
    """Whether a value only stands for a secret: a variable, a mask, a type, the keyword itself.

    Args:
        code: the value may be an expression, where `newPassword` is a variable.
    """
    stripped = value.strip().strip("\"'`\\").rstrip(",;.")
    if not stripped or _VARIABLE.fullmatch(stripped) or _PLACEHOLDER.search(value):
        return True
    if stripped.casefold() in _WORD_VALUE or _KEYWORD.fullmatch(stripped):
        return True
    return code and bool(_KEYWORD.search(stripped)) and re.sub("[_.-]", "", stripped).isalpha()


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
    if not text.startswith(("+", "00")):
        return "PHONE", start, match.end()
    end = digits = 0
    for group in re.finditer(r"\(?(\d+)\)?(?=([ .-]?)(.?))", text):
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
    value, start, end = _value(match, "dialled_v")
    digits = sum(char.isdigit() for char in value)
    if not 7 <= digits <= 15 or _is_date(value) or value.count(".") == 3:
        return None
    return "PHONE", start, end


def _is_date(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value[:10])
    except ValueError:
        return False
    return len(value) >= 10 and "-" in value


def _judge_digits(match: re.Match[str]) -> Span | None:
    value = match.group()
    if len(value) == 18 and is_resident_id(value):
        return "NATIONAL_ID", match.start(), match.end()
    return ("CARD", match.start(), match.end()) if is_card(value) else None


def is_card(value: str) -> bool:
    """Whether these digits are a payment card number: issuer range, length and Luhn checksum."""
    text = re.sub("[ -]", "", value)
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
    group = "ssn_v" if match.group("ssn_v") is not None else "ssn"
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
    return "IP", match.start(), match.end()


def _judge_ipv4(match: re.Match[str]) -> Span | None:
    value = match.group()
    octets = value.removeprefix("ip-").replace("-", ".").split(".")
    if any(int(octet) > 255 for octet in octets):
        return None
    if octets[0] in ("0", "127", "255"):
        return None  # any, loopback, netmask: nobody's address
    before = match.string[max(0, match.start() - 24) : match.start()]
    if all(len(octet) == 1 for octet in octets) and not (
        _NETWORK_BEFORE.search(before) or _NETWORK_AFTER.match(match.string, match.end())
    ):
        return None  # 2.2.4.2 with nothing about networks near it is a version
    if _VERSION_BEFORE.search(before) or _VERSION_AFTER.match(match.string, match.end()):
        return None
    return "IP", match.start(), match.end()


_JUDGES: dict[str, Callable[[re.Match[str]], Span | None]] = {
    "pem": _whole_secret,
    "shape": _whole_secret,
    "webhook": _part("webhook_v"),
    "userinfo": _judge_userinfo,
    "oracle": _part("oracle_v"),
    "header": _judge_header,
    "bearer": _judge_bearer,
    "cookie": _part("cookie_v"),
    "flag": _judge_flag,
    "signature": _part("signature_v"),
    "email": _judge_email,
    "phone": _judge_phone,
    "dialled": _judge_dialled,
    "digits": _judge_digits,
    "ssn": _judge_ssn,
    "ipv6": _judge_ipv6,
    "ipv4": _judge_ipv4,
}
