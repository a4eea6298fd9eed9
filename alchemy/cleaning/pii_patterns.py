"""The one pattern that finds candidates for redaction; `pii` judges what it finds.

Each alternative is a named group, so `match.lastgroup` is its name. Alternatives begin with a
literal or a character set wherever they can, before any look-around: the regular expression engine
then rejects most positions of ordinary text with one comparison. What a candidate reads ahead is
bounded, so that no text takes more than linear time. Everything is matched in ASCII
mode, because a Chinese character beside a number is not part of it.
"""

from __future__ import annotations

import re

BARE_CHARS = 512
"""Bounds what one candidate reads ahead, and so the time for a hostile text."""

_QUOTE = r"""(?:\\*["'`]|&quot;|&\#39;)"""

# keywords of assignments; the judge looks at the whole word for how sure it is
KEYWORD = r"""(?:
    [Pp](?i:ass(?:word|wd|phrase|code)|wd)
  | (?:[Pp](?<![A-Za-z]\w)|P(?<=[a-z]P))(?i:ass)(?![A-Za-z])
  | [Ss](?i:ecret(?:[_.-]?(?:access[_.-]?)?key)?)
  | [Tt](?i:oken)
  | [Aa](?i:pi[_. -]?key|ccess[_.-]?key|ccount[_.-]?key|uth[_.-]?key)
  | [Pp](?i:rivate[_.-]?key)
  | [EeSsMm](?i:ncryption|igning|aster|hared)[_.-]?[Kk](?i:ey)
  | [Cc](?i:redentials?|onsumer[_.-]?key|lient[_.-]?key)
  | [JjPp](?i:sessionid|hpsessid)
  | [Ii](?i:dentified[ ]by)
  | 密码|密碼|口令|令牌|密钥|密鑰
)(?i:[_.-]?(?:value|text|plain|id|\d{1,2}))?"""

_SEPARATOR = rf"""(?:
    {_QUOTE}?\]?[ \t]{{0,8}}(?:=>|:=|!=|={{1,2}}|:(?!:))[ \t]{{0,8}}(?:[|>][-+]?[ \t]*\n[ \t]+)?
  | {_QUOTE}[ \t]+value[ \t]*=[ \t]*
  | {_QUOTE}[ \t]*,\s*(?:{_QUOTE}value{_QUOTE}\s*:\s*)?(?={_QUOTE})
  | {_QUOTE}?[ \t]*\n[ \t]*value:[ \t]*
  | {_QUOTE}?>(?=[^<>\n]{{1,512}}</)
  | \(\s*(?={_QUOTE})
  | [ \t]+(?:is|was|are)[ \t:]+
  | [ \t]*[是为為][ \t:]*
  | [ \t]*\|[ \t]*
  | [ \t]+
)"""

_LATIN = "A-Za-z0-9À-ÖØ-öø-ɏ"

ALTERNATIVES = {
    "pem": r"""-----BEGIN[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
        (?: (?:(?!-----BEGIN)[\s\S])*?-----END[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
          | (?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,})* )""",
    # tokens whose shape alone gives them away
    "shape": r"""[ADGSadeghnpsrwxy\d](?<![A-Za-z0-9_]\w)(?:
            (?<=A)(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])
          | (?<=A)Iza[A-Za-z0-9_-]{30,}
          | (?<=A)C[a-f0-9]{32}(?![A-Za-z0-9])
          | (?<=S)(?:K[a-f0-9]{32}(?![A-Za-z0-9])|G\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})
          | (?<=g)(?:h[pousr]_[A-Za-z0-9]{20,}|ithub_pat_[A-Za-z0-9_]{20,}|lpat-[A-Za-z0-9_-]{16,})
          | (?<=x)(?:ox[abeoprs]-[A-Za-z0-9-]{10,}|app-\d-[A-Za-z0-9-]{10,})
          | (?<=[spr])k_(?:live|test)_[A-Za-z0-9]{8,}
          | (?<=s)k-(?=[A-Za-z_-]{0,64}\d)[A-Za-z0-9_-]{20,}
          | (?<=w)hsec_[A-Za-z0-9+/=]{16,}
          | (?<=y)a29\.[A-Za-z0-9_-]{20,}
          | (?<=h)f_[A-Za-z0-9]{20,}
          | (?<=n)pm_[A-Za-z0-9]{30,}
          | (?<=p)ypi-[A-Za-z0-9_-]{30,}
          | (?<=d)(?:o[opr]_v1_[a-f0-9]{32,}|ckr_pat_[A-Za-z0-9_-]{20,})
          | (?<=s)hp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}
          | (?<=e)yJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}
          | (?<=\d)\d{7,9}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])
        )""",
    "webhook": r"""(?:hooks\.slack\.com/(?:services|workflows)
          |discord(?:app)?\.com/api/webhooks)/(?P<webhook_v>[A-Za-z0-9/_-]{16,})""",
    "userinfo": r"""://(?P<userinfo_v>
            [^\s/:@"'<>\\]{0,256}:(?!\d{1,5}(?:[/?\#\s"'<>,;)\]]|\Z))[^\s"'<>]{0,512}?
          | [^\s/:@?\#"'<>\\]{1,512}
        )@(?=[A-Za-z0-9\[$%{][^\s@/"'<>]{0,512}(?:[/\s"'<>]|\Z))""",
    "oracle": r"""jdbc:oracle:\w+:(?P<oracle_v>[^\s/@"']{1,128}/[^\s@"']{1,256})@""",
    "header": r"""[Aa](?i:uthorization)\\*["']?\s*[:=]\s*\\*["']?
        (?P<header_scheme>(?i:basic|bearer|token|digest|apikey|negotiate)\s+)?
        (?P<header_v>[^\s"',\\]{6,})""",
    "bearer": r"""[Bb](?i:earer|asic)[ ]+(?P<bearer_v>[A-Za-z0-9._~+/=-]{12,})""",
    "cookie": r"""[Cc](?i:ookie):[ \t]*(?P<cookie_v>[A-Za-z0-9_.-]+=[^\s;"']+
        (?:;[ ]*[A-Za-z0-9_.-]+=[^\s;"']+)*)""",
    "flag": r"""curl\b[^\n|;]{0,400}?\s(?:-u|--user)[ =]?["']?(?P<curl_v>[^\s:"'/]+:[^\s"']+)
        |mysql\w*\b[^\n|;]{0,200}?\s-p(?P<mysql_v>[^\s"'|;]+)
        |(?:sshpass|redis-cli|docker[ ]login)\b[^\n|;]{0,200}?\s-[pa][ ]?["']?(?P<pass_v>[^\s"'|;]+)""",
    "signature": r"""[?&](?:sig|signature|X-Amz-Signature)=(?P<signature_v>[A-Za-z0-9%+/=_-]{16,})""",
    "assign": rf"""(?P<assign_key>{KEYWORD})(?P<assign_sep>{_SEPARATOR})(?:
            (?<=>)(?P<assign_xml>[^<>\n]{{1,512}})(?=</)
          | (?P<assign_q>{_QUOTE})(?P<assign_quoted>(?:(?!(?P=assign_q))(?:\\.|[^\\\n])){{1,{BARE_CHARS}}})(?P=assign_q)
          | [“‘「](?P<assign_curly>[^“”‘’「」\n]+)[”’」]
          | {_QUOTE}?(?P<assign_bare>[^\s"'`<>“”]{{1,{BARE_CHARS}}})
        )""",
    "email": rf"""[{_LATIN}](?<![{_LATIN}].)[{_LATIN}._%+'-]{{0,255}}(?:@|%40)
        (?:(?:[{_LATIN}](?:[{_LATIN}-]{{0,62}})\.)+[A-Za-z]{{2,24}}(?![A-Za-z0-9])
          |\[[0-9A-Fa-f.:]{{3,}}\])""",
    "phone": r"""[+(\d](?<![A-Za-z0-9_.+].)(?:
            (?<=\+)[\d(][\d(). -]{6,24}(?<=\d)
          | (?<=\()(?:\d{3}\)[ ]?\d{3}[ .-]\d{4}|0\d{2,3}\)[ -]?\d{7,8}|\+?\d{1,3}\)[ -]?\d[\d -]{6,12}\d)
            (?![A-Za-z0-9_])
          | (?<=0)0\d{1,3}[ -][\d(][\d(). -]{5,22}(?<=\d)
          | (?<=1)[ .-]\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=\d)\d\d-\d{3}-\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=[2-9])\d\d[ .]\d{3}[ .-]\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=1)[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=0)(?:\d{2,3}-\d{7,8}(?:-\d{1,6})?|\d{2,4}[ ]\d{3,4}[ ]\d{3,4})(?![A-Za-z0-9_-]|\.\d)
        )""",
    "dialled": r"""(?:[PpTtMmCcFf](?<![A-Za-z].)(?i:hone|el|elephone|obile|ell|ax)|[Ww]hats[Aa]pp|电话|電話|手机|手機|座机|传真)
        (?i:[ _]?(?:no\.?|number|\#|号码|号))?\\*["']?[ \t]*[:=]?[ \t]*\\*["']?
        (?P<dialled_v>\+?[\d(][\d ().-]{5,18}\d)(?![A-Za-z0-9_])""",
    "digits": r"""[1-8](?<![A-Za-z0-9_].)(?<!\d\..)(?:
            \d{16}[\dXx] | \d{3}(?:[ -]\d{4}){3}(?:[ -]?\d{3})? | \d{3}[ -]\d{6}[ -]\d{4,5} | \d{12,18}
        )(?![A-Za-z0-9_]|\.\d)""",
    "ssn": r"""\d(?<![A-Za-z0-9_.-].)\d\d-\d\d-\d{4}(?![A-Za-z0-9_]|-\d)
        |[Ss](?i:sn|ocial[ ]security)(?i:[ ](?:number|no\.?))?\\*["']?[ \t]*[:\#=]?[ \t]*\\*["']?
         (?P<ssn_v>\d{3}[- ]?\d\d[- ]?\d{4})(?![A-Za-z0-9_])""",
    "ipv6": r"""[0-9A-Fa-f:](?<![A-Za-z0-9_:.].)
        (?:(?<=:):(?:[0-9A-Fa-f]{1,4}:){0,7}|[0-9A-Fa-f]{0,3}:(?:[0-9A-Fa-f]{0,4}:){1,7})
        (?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?:%[A-Za-z0-9]+)?(?![A-Za-z0-9_:])""",
    "ipv4": r"""\d(?<![A-Za-z0-9_.].)\d{0,2}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)
        |ip-(?:\d{1,3}-){3}\d{1,3}(?![A-Za-z0-9_])""",
}

CANDIDATE = re.compile(
    "|".join(f"(?P<{name}>{pattern})" for name, pattern in ALTERNATIVES.items()),
    re.VERBOSE | re.ASCII,
)

STRONG_KEYWORD = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|[_-]pass(?![a-z])|(?-i:[a-z]Pass(?![a-z]))"
    r"|(?:api|access|account|auth|private|master|encryption|signing|shared|consumer|client)[_. -]?key"
    r"|(?:access|auth|refresh|bearer|session|csrf|bot|deploy|id|api)[_-]?token"
    r"|secret|sessionid|phpsessid|identified|密|口令|令牌",
    re.IGNORECASE,
)
"""Keywords, with what stands before them in the same word, whose value is a secret as it stands."""
