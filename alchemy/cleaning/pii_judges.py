"""Judging candidates for credentials: what of a match must go, if anything.

A pattern of `pii_patterns` finds anything that could be a credential by its shape; here its context
decides. When it is not clear whether something is a secret, it is one.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Callable

from alchemy.cleaning.pii_looks import (
    NAMES_SECRET,
    PLACEHOLDER,
    is_path,
    is_stand_in,
    is_words,
    looks_random,
    looks_secret,
)
from alchemy.cleaning.pii_numbers import NUMBER_JUDGES, Span
from alchemy.cleaning.pii_patterns import BARE_CHARS, STRONG_KEYWORD

Judge = Callable[[re.Match[str]], Span | None]

_EXPRESSION = re.compile(
    r"(?:[A-Za-z_][\w.]*\(|[+&][ ]?[A-Za-z_]+[);,\s]?\Z|(?:self|this|config|settings|env|process|os|request|req|props|properties"
    r"|user|args|options|opts|params|ctx|context|data|response|resp|res|json|cfg|conf|System|ENV|secrets"
    r"|vars?|inputs|event|body|form|session|state|item|row|account)"
    r"[.\[]|(?:ConvertTo|Get|Read|New)-[A-Z]|new[ ]|await[ ]|lambda\b|function\b)",
    re.ASCII,
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PARSED = re.compile(
    r"(?:unexpected|invalid|illegal|unknown|expected|parse|next|last|first|near|bad|end|start|this|that|open)[ ]\Z",
    re.IGNORECASE,
)
_PHRASE = re.compile(r"[\"'][^\"'\n]*[ ]\Z")
_GLUED = re.compile(r"\s*[+&]\s*[A-Za-z_]")
_OPENED = re.compile(r"[\"'][^\"'\s]*\Z")
_LINKED = re.compile(
    r"\s*(?:is|was|are|to|be|has|will|should|must|now|set|changed|of|from|as|equals)\b"
)
_CALLED = re.compile(r"\w\(\s*\Z|(?:\bor|\|\||\?\?)\s*\Z")
_IDENTIFIER_BEFORE = re.compile(r"[\w-]*\Z", re.ASCII)
_NO_PASSWORD = re.compile(r"[\[(]|[\w.-]+=.", re.ASCII)
_OPTION = re.compile(r"(?:^|[\s\"'])--?[\w.-]*\Z", re.ASCII)
_DIRECTIVE = re.compile(r"(?:^|\n)[ \t]*ENV[ ][\w.-]*\Z")
_USER_BEFORE = re.compile(
    r"\b(?:user(?:name)?|login|account|log ?in (?:as|with))[\s:=]+\S{1,64}(?:[\s,;/]|and|with)+\Z",
    re.IGNORECASE,
)
_LOGIN_BEFORE = re.compile(
    r"(?:(?<![A-Za-z])(?:log(?:in|[ ]in|on|[ ]on)|sign(?:ed)?[ ](?:in|on)|connect(?:ed)?|cred(?:ential)?s"
    r"|us(?:e|ing)|sqlplus|sqlldr|rman|(?:imp|exp)(?:dp)?)(?:[ ]-\w+){0,3}(?:[ ](?:as|with|to|via|using|user|the|are|is)){0,2}(?:[ ]?[:：][ ]?|[ ])"
    r"|(?:登[录陆]|[账帐]号|用户)(?:密码)?[：:用为是]?[ ]?)[A-Za-z][\w.@-]{0,63}[ ]?\Z",
    re.IGNORECASE,
)
_ACCOUNT_BEFORE = re.compile(
    r"(?<![\w./@\\-])(?:admin(?:istrator)?|root|system|scott|postgres|guest|test)[ ]?\Z",
    re.IGNORECASE,
)
_USER_ALONE = re.compile(r"(?:^|[\s\"'(:=])\w{1,30}\Z")
_USER_OPTION = re.compile(r"\s-[uUn][ ]?[\w.@\\-]{1,64}[ ](?:[^\n|;]{0,100}\s)?\Z")
_NUMBERED_WORD = re.compile(r"[A-Za-z]?[a-z]+\d{1,2}", re.ASCII)
_BLOCK = re.compile(r"[|>][-+]?[ \t]*\n([ \t]+)\Z")
_BARE_REST = re.compile(r"[^\s\"'`<>]*")
_ASSIGNMENT_LINE = re.compile(
    r"(?:^|\n)[ \t]*(?:export[ ]|set[ ]|ENV[ ]|-[ ]|-[eD][ ]?|\$env:|\"|')*[\w.-]*\Z", re.ASCII
)
_CUT = re.compile(
    r"&(?=[\w.-]+=)|[,;](?=\Z|[\w ]+[=:]|[^\x00-\x7f])|\\[nrt\"']|[，。；、！？】」』）》]"
)
_HAN = re.compile("[\u2014\u3000-\u30ff\u3400-\u9fff]")


def judge(name: str, match: re.Match[str]) -> tuple[Span | None, int]:
    """What of a finder's match must go (None: nothing), and where to search on when nothing does."""
    if name == "assign":
        return _judge_assignment(match)
    return _JUDGES[name](match), match.start() + 1


def _whole_secret(match: re.Match[str]) -> Span:
    return "SECRET", match.start(), match.end()


def _value(match: re.Match[str]) -> tuple[str, int, int]:
    """The one group `…_v` that matched."""
    name = next(n for n in match.re.groupindex if n.endswith("_v") and match.group(n) is not None)
    return match.group(name), match.start(name), match.end(name)


def _judge_part(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    return None if is_stand_in(value) else ("SECRET", start, end)


def _judge_userinfo(match: re.Match[str]) -> Span | None:
    value, start, end = match.group(1), match.start(1), match.end(1)
    user, colon, password = value.partition(":")
    if colon:
        return None if is_stand_in(password) else ("SECRET", start, end)
    scheme = match.string[max(0, match.start() - 5) : match.start()].lower()
    web = scheme.endswith(("http", "https"))
    return ("SECRET", start, end) if web and user != "git" and not is_stand_in(user) else None


def _judge_header(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    if is_stand_in(value) or not (match.group("header_scheme") or looks_secret(value)):
        return None
    return "SECRET", start, end


def _judge_bearer(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    if match.group()[:5].lower() == "basic":
        secret = _holds_userinfo(value)
    else:
        secret = looks_secret(value) and any(map(str.isdigit, value))
    return ("SECRET", start, end) if secret else None


def _holds_userinfo(value: str) -> bool:
    try:
        bare = value.rstrip("=")
        raw = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in raw and raw.isascii()


def _judge_flag(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    if len(value) < 3 or value.replace(":", "").isdigit() or is_stand_in(value.rpartition(":")[2]):
        return None
    return "SECRET", start, end


def _judge_likely(match: re.Match[str]) -> Span | None:
    value, start, _ = _value(match)
    value = value.rstrip(".,;:!?")
    if not looks_secret(value) or not any(map(str.isdigit, value)) or is_stand_in(value):
        return None
    if NAMES_SECRET.search(value) or _NUMBERED_WORD.fullmatch(value):
        return None  # what is named after a secret; `latin1`
    return "SECRET", start, start + len(value)


def _judge_pair(match: re.Match[str]) -> Span | None:
    span = _judge_likely(match)
    before = match.string[max(0, match.start() - 120) : match.start()]
    return (
        span if span and (_LOGIN_BEFORE.search(before) or _ACCOUNT_BEFORE.search(before)) else None
    )


def _judge_easy_connect(match: re.Match[str]) -> Span | None:
    before = match.string[max(0, match.start() - 40) : match.start()]
    return _judge_likely(match) if _USER_ALONE.search(before) else None


def _judge_option(match: re.Match[str]) -> Span | None:
    span = _judge_likely(match)
    before = match.string[max(0, match.start() - 200) : match.start()]
    return span if span and _USER_OPTION.search(before) else None


def _judge_any_key(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    plain = re.sub("[/+=_-]", "0", value)
    return (
        ("SECRET", start, end)
        if looks_random(plain) and len(re.findall(r"\d", value)) > 1
        else None
    )


def _judge_query_key(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    return ("SECRET", start, end) if looks_random(value) else None


def _judge_docker_auth(match: re.Match[str]) -> Span | None:
    value, start, end = _value(match)
    return ("SECRET", start, end) if _holds_userinfo(value) else None


def _judge_aws_secret(match: re.Match[str]) -> Span | None:
    value = match.group()
    paired = "AKIA" in match.string or "ASIA" in match.string
    if not looks_random(re.sub("[/+]", "0", value)) or (
        not paired and sum(map(str.isdigit, value)) < 2
    ):
        return None
    share = [count / len(value) for count in Counter(value).values()]
    bits = -sum(part * math.log2(part) for part in share)
    return ("SECRET", match.start(), match.end()) if bits > 4.2 else None


def _judge_assignment(match: re.Match[str]) -> tuple[Span | None, int]:
    groups = ("assign_xml", "assign_cdata", "assign_quoted", "assign_curly", "assign_bare")
    name = next(name for name in groups if match.group(name) is not None)
    value, start = match.group(name), match.start(name)
    text, key, gap = match.string, match.group("assign_key"), match.group("assign_sep")
    separator = gap.strip().strip("\"'`\\")
    before = text[max(0, match.start() - 80) : match.start()]
    key = _IDENTIFIER_BEFORE.findall(before[-40:])[0] + key
    strong = STRONG_KEYWORD.search(key) is not None
    directive = _DIRECTIVE.search(before) is not None
    if PLACEHOLDER.match(value):
        return None, start
    bare = name == "assign_bare"
    if bare:
        # a value may begin like emphasised text: PASSWORD=_x,y
        value = _cut(value, before, separator.rstrip("*_"))
    end = start + len(value)
    resume = start
    code = bare and gap != "="
    if len(value) < 3 or not any(map(str.isalnum, value)) or is_stand_in(value, code):
        return None, resume
    if is_path(value) or (separator == "," and _PHRASE.search(before)):
        return None, resume  # the file that holds it; one of several quoted phrases
    if value.startswith("-") and not separator and not directive:
        return None, resume
    if key.lower().endswith("publickeytoken") or _is_glue(match, before, value):
        return None, resume  # names a .NET assembly; the code between two string literals
    if key.lower().startswith("identified") and gap.endswith("`"):
        return None, resume
    if not strong and (_PARSED.search(before) or re.match(r"[A-Za-z]\w*[{@]", value)):
        return None, resume  # a parser's token; the print of an object
    if bare and _EXPRESSION.match(value + text[end : end + 1]):
        return None, resume
    if bare and value.startswith("-") and gap[-1:].isspace() and not directive:
        return None, resume  # the next option of a command line
    if key.lower() == "pwd" and value.startswith(("/", "~/")):
        return None, resume  # the working directory
    if not _is_secret(name, key, gap, value, strong, before, text[end : end + 2]):
        return None, resume
    if end - start == BARE_CHARS and (rest := _BARE_REST.match(text, end)):
        end = rest.end()  # the pattern stopped reading before the secret ended
    if block := _BLOCK.search(gap):  # the block of YAML goes on with its indentation
        rest = re.compile(rf"(?:\n{block.group(1)}[^\s:]+(?![^\n]))*").match(text, end)
        end = rest.end() if rest else end
    return ("SECRET", start, end), resume


def _is_glue(match: re.Match[str], before: str, value: str) -> bool:
    """Whether a "value" is the code between two strings: `'token='+token+'&x=1'`."""
    return bool(
        match.group("assign_quoted") and _GLUED.match(value) and _OPENED.search(before)
        and match.group("assign_sep") == "="
    )  # fmt: skip


def _is_secret(
    name: str, key: str, gap: str, value: str, strong: bool, before: str, after: str
) -> bool:
    """Whether a value is a secret, by how it is tied to its keyword."""
    bare = name == "assign_bare"
    separator = gap.strip().strip("\"'`\\*_]")
    weak_tie = ("\n" in gap or "(" in gap or separator[:1] in ("—", "–", "-")) and bare
    if key.lower().endswith(("session", "session_id", "session-id", "session.id")):
        counted = value.startswith("0x")  # ZooKeeper's sessions are numbers
        return looks_random(value) or (
            len(value) >= 12 and any(map(str.isdigit, value)) and not counted
        )
    if gap.startswith((" for ", " of ", "'s", "’s")):
        return strong and looks_secret(value) and any(map(str.isdigit, value))
    if weak_tie and not separator.endswith("value:"):
        return looks_secret(value) and (strong or looks_random(value))
    if not strong and (_LINKED.match(gap) or not separator) and not any(map(str.isdigit, value)):
        return False
    if _CALLED.search(gap) and not gap.startswith(
        (".equals", ".contentEquals", ".compare", ".isE")
    ):
        return (
            looks_secret(value) and any(map(str.isdigit, value)) and not NAMES_SECRET.search(value)
        )
    if name in ("assign_xml", "assign_cdata") or (not bare and separator):
        prose = " " in value.strip() and (not strong or NAMES_SECRET.search(value) is not None)
        return not prose and (strong or len(value) >= 16 or looks_secret(value))
    if separator in ("=", "==", "===", "!=", "=>", "->", ":="):
        return strong or looks_secret(value) or (len(value) >= 16 and not is_words(value))
    if (separator[:1] in tuple(":~→【「『（《") and separator) or separator.endswith("value:"):
        rest = after.lstrip(",;.)}]\"'")
        prose = rest[:1] == " " and (rest[1:2].isalnum() or rest[1:2] == "-")
        return looks_secret(value) or (strong and not prose)
    if not bare:
        return looks_secret(value) or (strong and " " not in value)
    if not value.isascii():
        return False
    if _DIRECTIVE.search(before):
        return strong or looks_secret(value)
    option = _OPTION.search(before) is not None and value[0] not in "([<"
    strong = strong or _USER_BEFORE.search(before) is not None  # user ada pass …
    worded = strong and any(map(str.isdigit, value)) and not _NO_PASSWORD.match(value)
    return (
        (worded and (looks_secret(value) or _UUID.fullmatch(value) is not None))
        or (strong and option)
        or looks_random(value)
    )


def _cut(value: str, before: str, separator: str) -> str:
    """An unquoted value without the punctuation that follows it."""
    if separator in ("=", "==", "===") and _ASSIGNMENT_LINE.search(before) and value.isascii():
        return value
    if value[0].isascii() and (han := _HAN.search(value)):
        value = value[: han.start()]  # the sentence goes on in Chinese
    if cut := _CUT.search(value):
        value = value[: cut.start()]
    while value and value[-1] in ".,;:)}]\\*|":
        opening = {")": "(", "}": "{", "]": "["}.get(value[-1])
        if opening and opening in value:
            break
        value = value[:-1]
    return value


_JUDGES: dict[str, Judge] = {
    **NUMBER_JUDGES,
    **dict.fromkeys(("pem", "shape", *(f"shape{n}" for n in range(16))), _whole_secret),
    **dict.fromkeys(("webhook", "oracle", "cookie", "signature", "webkey", "digest"), _judge_part),
    **dict.fromkeys(("arguments", "pgpass"), _judge_part),
    "userinfo": _judge_userinfo,
    "header": _judge_header,
    "bearer": _judge_bearer,
    "flag": _judge_flag,
    "command": _judge_flag,
    "piped": _judge_flag,
    "call": _judge_likely,
    "call2": _judge_likely,
    "pair": _judge_pair,
    "easyconnect": _judge_easy_connect,
    "option": _judge_option,
    "anykey": _judge_any_key,
    "awssecret": _judge_aws_secret,
    "querykey": _judge_query_key,
    "dockerauth": _judge_docker_auth,
}
