"""What a value looks like: a credential, random characters, or a stand-in for one."""

from __future__ import annotations

import re

from alchemy.cleaning.pii_patterns import KEYWORD

KINDS = ("CARD", "EMAIL", "IBAN", "IP", "NATIONAL_ID", "PERSON", "PHONE", "SECRET")

HARMLESS_KEYS = frozenset("user username name type host port url id key".split())
"""What stands beside a secret under a key such as `credentials`."""
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})_\d+\]")
NAMES_SECRET = re.compile(KEYWORD, re.VERBOSE | re.ASCII)
_VARIABLE = re.compile(
    r"\\?[$#%@]?\{\{?[^{}]*\}?\}?|\$\(.*|[$#]\[.*|\$?\$[A-Za-z_]\w*|\$\d|%\w+%|%\(?\w*\)?s|@[\w.-]+@|<.*>?|\*+"
    r"|[*•xX.…_?-]{2,}|\?|\[[A-Za-z_ -]+\d*\]|&\w+;|&lt;.*&gt;|:[a-z_]+|![A-Za-z_]+|[\"']{2,}",
    re.ASCII,
)
_DEFAULT = re.compile(r"[$#]\{[\w.-]+:[-=]?([^{}]+)\}?")
_WORD_VALUE = frozenset(
    "null none nil undefined true false yes no on off string str text varchar char int integer bool "
    "boolean object any bytes required optional default empty missing invalid expired unset redacted "
    "hidden masked env n/a changeit changeme change_me change-me replaceme replace_me todo tbd fixme "
    "here must may can should will is are was the a an to and or for of in with if not this that your "
    "it as when be by from per which who mandatory minimum maximum length encrypted hashed plain "
    "plaintext cleartext description describe provided unknown unused disabled enabled wrong correct "
    "incorrect needed same placeholder example sample dummy secretkeyref valuefrom strong weak number "
    "field input label bearer basic type name value values user username email stdin prompt ask see "
    "public private 必填 可选 无 空 错误 正确 字符串".split()
)
_EXAMPLE = re.compile(
    r"(?:<|\[)?(?:your|my|the|some|insert|enter|put|replace|add|example|sample|change|fill)"
    r"(?:[-_ ]?(?:your|own|real|actual|db|api|auth|access|client|secret|private|user|admin|me|in|with|the"
    r"|this|new|here|pass(?:word|wd|phrase)?|token|key|value|it))+(?:>|\])?|(?:pass(?:word|wd)?|secret"
    r"|token)[-_ ](?:goes[-_ ])?here",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    r"h[1-6]\..*|v?\d+(?:\.\d+)+(?:[.-]\w+)*|\d+[A-Za-z%]{0,3}|\d{4}-\d\d-\d\d.*|[a-z][a-z+.-]*://.*"
    r"|[A-Za-z_]+(?:\.[A-Za-z_]\w*)+|[A-Za-z]:\\.*"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    re.ASCII,
)
_PATH = re.compile(r"\.{0,2}~?/")
_ROOTED = re.compile(
    r"(?:~|\.{1,2})/|/(?:tmp|mnt|home|var|etc|usr|opt|Users|run|root|data|srv|app|dev|proc|private|secrets?)/"
)
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+", re.ASCII)
_VOWEL = re.compile(r"[AEIOUYaeiouy]")
_UNSPEAKABLE = re.compile(r"[^aeiouyAEIOUY]{5}|[Qq](?!u)|[jvx][^aeiouy]")


def looks_secret(value: str) -> bool:
    """Whether a bare value has the look of a credential rather than of a word or a version."""
    if len(value) < 6 or _NOT_SECRET.fullmatch(value) or is_path(value):
        return False
    letters = any(char.isalpha() for char in value)
    digits = any(char.isdigit() for char in value)
    symbols = any(not char.isalnum() and char not in "._-/:" for char in value)
    cased = not value.islower() and not value.isupper()
    return letters and (digits or symbols or (cased and len(value) >= 20))


def is_words(value: str) -> bool:
    """Whether a value is words written together, as in `Base64EncoderFactory`."""
    lengths: list[int] = []
    for number, part in enumerate(_PART.findall(value)):
        if part.isdigit():
            word = 0 < number and len(part) <= 3
        elif part.isupper():
            word = len(part) <= 5 and (len(part) > 1 or number == 0)
        else:
            lengths.append(len(part))
            word = _VOWEL.search(part) and not _UNSPEAKABLE.search(part)
        if not word:
            return False
    return sum(lengths) >= 4 * len(lengths)


def is_path(value: str) -> bool:
    """Whether a value is a file's place; base64 may also begin with a slash."""
    if _ROOTED.match(value):
        return True
    parts = value.rstrip("=").split("/")
    return _PATH.match(value) is not None and len(parts) > 2 and not any(map(looks_random, parts))


def looks_random(value: str) -> bool:
    """Whether a value can only be random: all classes of characters, and no words inside."""
    return (
        len(value) >= 9
        and value.isascii()
        and any(map(str.isdigit, value))
        and any(map(str.islower, value))
        and any(map(str.isupper, value))
        and not _NOT_SECRET.fullmatch(value)
        and not is_words(value)
        and not re.search(r"[/\\(){}\[\]:;,.=<>]", value)
    )


def is_stand_in(value: str, code: bool = False) -> bool:
    """Whether a value only stands for a secret: a variable, a mask, a type, the keyword itself.

    Args:
        code: the value may be an expression, where `newPassword` is a variable.
    """
    stripped = value.strip().strip("\"'`\\()").rstrip(",;.")
    if not stripped or PLACEHOLDER.search(value):
        return True
    if default := _DEFAULT.fullmatch(stripped):
        return is_stand_in(default.group(1))
    if _VARIABLE.fullmatch(stripped) or _EXAMPLE.fullmatch(stripped):
        return True
    if stripped.casefold() in _WORD_VALUE or NAMES_SECRET.fullmatch(stripped):
        return True
    if _CONSTANT.fullmatch(stripped) and NAMES_SECRET.search(stripped):
        return True  # the name of a variable
    return code and bool(NAMES_SECRET.search(stripped)) and re.sub("[_.-]", "", stripped).isalpha()
