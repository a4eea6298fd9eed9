"""Jira issue keys named in texts."""

from __future__ import annotations

import re

_JIRA_KEY = re.compile(r"(?<![\w-])([A-Z][A-Z0-9]{1,9}-[1-9]\d{0,6})(?![\w-])")
_IN_BRANCH = re.compile(r"(?<![A-Za-z0-9])([A-Z][A-Z0-9]{1,9}-[1-9]\d{0,6})(?![A-Za-z0-9])")
_NOT_JIRA = {"UTF", "SHA", "ISO", "RFC", "CVE", "MD", "HTTP", "JSR", "JDK", "IEEE", "AES", "X"}


def jira_keys(*texts: str, branch: str = "") -> list[str]:
    """Issue keys named in the texts, each once, in order; names like UTF-8 are none.

    A branch goes on behind its key: `feature/XD-12-taps`.
    """
    found = [key for text in texts for key in _JIRA_KEY.findall(text)]
    found += _IN_BRANCH.findall(branch)
    return list(dict.fromkeys(key for key in found if key.split("-")[0] not in _NOT_JIRA))
