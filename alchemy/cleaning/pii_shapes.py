"""Tokens that their prefix gives away, whoever issues them, as one pattern."""

from __future__ import annotations

import re

_W = "[A-Za-z0-9_-]"
_A = "[A-Za-z0-9]"
_H = "[a-f0-9]"

# prefix → what follows it; the issuers' documentation and secret scanners name these
_PREFIXES: dict[str, str] = {
    # AWS, Alibaba, Tencent
    **dict.fromkeys(
        ("AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA", "AGPA", "ANPA", "ANVA", "AIPA"),
        rf"[A-Z0-9]{{16}}(?!{_A})",
    ),
    "LTAI": rf"{_A}{{12,26}}(?!{_A})",
    "AKID": rf"{_A}{{32}}(?!{_A})",
    # GitHub, GitLab, Bitbucket, Atlassian
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), rf"{_A}{{20,}}"),
    "github_pat_": r"[A-Za-z0-9_]{20,}",
    **dict.fromkeys(
        ("glpat-", "gldt-", "glptt-", "glrt-", "glcbt-", "glsoat-", "glft-", "glagent-", "glimt-"),
        r"[A-Za-z0-9_.-]{16,}",
    ),
    **dict.fromkeys(("ATATT3", "ATCTT3", "ATBB"), r"[A-Za-z0-9_=-]{20,}"),
    # Slack, Stripe, Square, Shopify
    **dict.fromkeys([f"xox{letter}-" for letter in "abceoprs"], r"[A-Za-z0-9-]{10,}"),
    "xoxe.": r"[A-Za-z0-9.-]{20,}",
    "xapp-": r"\d-[A-Za-z0-9-]{10,}",
    **dict.fromkeys([f"{a}k_{b}_" for a in "spr" for b in ("live", "test")], rf"{_A}{{8,}}"),
    "whsec_": r"[A-Za-z0-9+/=]{16,}",
    **dict.fromkeys(("sq0atp-", "sq0csp-", "sq0idp-"), rf"{_W}{{20,}}"),
    **dict.fromkeys(("shpat_", "shpss_", "shpca_", "shppa_"), r"[a-fA-F0-9]{32}"),
    # Google, Azure, Facebook
    "AIza": rf"{_W}{{30,}}",
    "ya29.": rf"{_W}{{20,}}",
    "GOCSPX-": rf"{_W}{{20,}}",
    "1//0": rf"{_W}{{30,}}",
    "EAACEdEose0cBA": rf"{_A}+",
    # models
    "sk-": rf"(?=[A-Za-z_-]{{0,64}}\d){_W}{{20,}}",
    "hf_": rf"{_A}{{20,}}",
    "gsk_": rf"{_A}{{30,}}",
    "r8_": rf"{_A}{{30,}}",
    # packages, containers, clouds
    "npm_": rf"{_A}{{30,}}",
    "pypi-": rf"{_W}{{30,}}",
    "rubygems_": rf"{_H}{{40,}}",
    "oy2": r"[a-z0-9]{43}(?![a-z0-9])",
    "AKCp": rf"{_A}{{60,}}",
    "cmVmdGtu": rf"{_A}{{50,}}",
    **dict.fromkeys(("dckr_pat_", "dckr_oat_"), rf"{_W}{{20,}}"),
    **dict.fromkeys(("dop_v1_", "doo_v1_", "dor_v1_"), rf"{_H}{{32,}}"),
    "dapi": rf"{_H}{{32}}(?:-\d)?(?!{_A})",
    "HRKU-": rf"{_W}{{30,}}",
    **dict.fromkeys(("hvs.", "hvb.", "hvr."), rf"{_W}{{20,}}"),
    "pul-": rf"{_H}{{40}}",
    **dict.fromkeys(("sbp_", "pscale_tkn_", "pscale_pw_", "tfp_"), r"[A-Za-z0-9_.-]{20,}"),
    "fo1_": rf"{_W}{{30,}}",
    "tskey-": rf"{_W}{{16,}}",
    # monitoring, work, mail
    "glsa_": r"[A-Za-z0-9_]{32,}",
    "glc_": r"[A-Za-z0-9+/=]{32,}",
    **dict.fromkeys(("NRAK-", "NRJS-", "NRII-"), rf"{_W}{{16,}}"),
    "dt0c01.": r"[A-Z0-9.]{24,}",
    "sntrys_": r"[A-Za-z0-9_+/=-]{32,}",
    **dict.fromkeys(("dp.pt.", "dp.st.", "dp.ct."), r"[A-Za-z0-9._]{30,}"),
    "PMAK-": rf"{_H}{{20,}}-{_H}+",
    **dict.fromkeys(("lin_api_", "secret_", "ntn_"), rf"{_A}{{32,}}"),
    "figd_": rf"{_W}{{30,}}",
    "SG.": rf"{_W}{{16,}}\.{_W}{{16,}}",
    "key-": rf"{_H}{{32}}(?!{_A})",
    **dict.fromkeys(("sqp_", "squ_", "sqa_", "bkua_", "gta_", "rnd_"), rf"{_A}{{32,}}"),
    **dict.fromkeys(
        ("access-sandbox-", "access-production-", "pat-na1-", "pat-eu1-"), r"[a-f0-9-]{36}"
    ),
    **dict.fromkeys(("FLWSECK-", "FLWSECK_TEST-"), r"[A-Za-z0-9-]{20,}"),
    **dict.fromkeys(("fm1_", "fm2_", "fm1a_", "fm1r_"), r"[A-Za-z0-9+/=_-]{40,}"),
    "CFPAT-": rf"{_W}{{40,}}",
    "p8e-": rf"{_A}{{32,}}",
    "cio": rf"{_A}{{32}}(?!{_A})",
    "EAAA": rf"{_W}{{56,}}",
    "AGE-SECRET-KEY-1": r"[A-Z0-9]{40,}",
    # JSON web tokens and encrypted ones; public SSH keys name their owner
    "eyJ": rf"{_W}{{8,}}\.{_W}{{4,}}(?:\.{_W}*){{0,3}}",
    "AAAAB3NzaC1": r"[A-Za-z0-9+/]{24,}={0,2}",
    "AAAAC3NzaC1": r"[A-Za-z0-9+/]{24,}={0,2}",
    "AAAAE2VjZHNh": r"[A-Za-z0-9+/]{24,}={0,2}",
}

# without a prefix of their own: (literals of which one must occur, pattern)
OTHER_SHAPES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Q~",), rf"(?<!{_A}){_A}{{3}}\dQ~[A-Za-z0-9_~.-]{{31,36}}"),  # Azure AD
    ((":AA",), rf"(?<!{_A})\d{{8,10}}:AA{_W}{{33}}(?!{_W})"),  # Telegram
    (
        (".",),
        rf"[MNO](?<![A-Za-z0-9_.].){_W}{{23,27}}\.{_W}{{6}}\.{_W}{{27,40}}(?!{_W})",
    ),  # Discord
    ((".atlasv1.",), rf"(?<!{_A}){_A}{{14}}\.atlasv1\.{_W}{{60,}}"),  # Terraform
    (("-us",), rf"(?<!{_A}){_H}{{32}}-us\d\d?(?!{_A})"),  # Mailchimp
    (("AC", "SK"), rf"[AS](?<!{_A}.)[CK]{_H}{{32}}(?!{_A})"),  # Twilio
    # any issuer's: a short prefix, then characters of all kinds
    (
        ("_",),
        rf"[a-z](?<![A-Za-z0-9_/.-].)[a-z]{{1,7}}_(?=[A-Z_-]{{0,40}}[a-z0-9]*[A-Z])(?=[a-zA-Z]{{0,40}}\d){_A}{{32,128}}(?!{_W})",
    ),
    # HashiCorp Vault before 1.10
    (
        ("s.",),
        rf"s(?<![A-Za-z0-9_.].)\.(?=[a-zA-Z]{{0,20}}\d)(?=[a-z0-9]{{0,20}}[A-Z]){_A}{{24}}(?![A-Za-z0-9_.(])",
    ),
    (("{S",), r"\{S(?:SHA|HA|MD5|SHA\d{3})\}[A-Za-z0-9+/]{24,}={0,2}"),
    (  # hashes of passwords
        ("$",),
        r"\$(?<![A-Za-z0-9_$].)(?:(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
        r"|[56y7]\$[./A-Za-z0-9$=]{1,40}\$[./A-Za-z0-9]{40,}|2[abxy]\$\d\d\$[./A-Za-z0-9]{53}"
        r"|argon2id?\$[A-Za-z0-9+/$=,]{40,}|pbkdf2-sha\d+\$[./A-Za-z0-9$]{30,})",
    ),
)


def _shape() -> str:
    """One alternation, in groups by first character, those with the same rest together."""
    groups: dict[str, dict[str, list[str]]] = {}
    for prefix, rest in _PREFIXES.items():
        groups.setdefault(prefix[0], {}).setdefault(rest, []).append(re.escape(prefix[1:]))
    branches = "|".join(
        f"(?<={first})(?:{'|'.join(f'(?:{chr(124).join(heads)}){rest}' for rest, heads in rests.items())})"
        for first, rests in groups.items()
    )
    # the set of first characters lets the engine skip what cannot begin a token
    return rf"[{''.join(groups)}](?<![A-Za-z0-9_].)(?:{branches})"


SHAPE = _shape()
