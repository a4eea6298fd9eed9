"""The patterns that find candidates for redaction, each with what must occur for it to be tried.

Most texts hold none of the literals of most patterns, and looking for a literal is a hundred times
cheaper than a regular expression: so each pattern has its triggers, and runs only where one occurs.
A pattern begins with a literal or a character set wherever it can, before any look-around: the
engine then skips most of the text. What a candidate reads ahead is bounded, so that no text takes
more than linear time. Everything is matched in ASCII mode, because a Chinese character beside a
number is not part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from alchemy.cleaning.pii_shapes import OTHER_SHAPES, SHAPE, SHAPE_LITERALS

BARE_CHARS = 512
"""Bounds what one candidate reads ahead, and so the time for a hostile text."""

_QUOTE = r"""(?:\\*["'`]|&quot;|&\#39;)"""
_MARK = r"(?:[*_]{1,3}|</?[a-z]{1,8}>)?"  # emphasis of Markdown and HTML
_NEXT_LINE = rf"\n[ \t>]*(?={_QUOTE}|[^\s:=]+[ \t]*(?:\n|\Z))"  # a value alone on its line

# keywords of assignments; the judge looks at the whole word for how sure it is
KEYWORD = r"""(?:
    [Pp](?i:ass(?:word|wort|wd|phrase|code)|wd|swd)
  | (?:[Pp](?<![A-Za-z]\w)|P(?<=[a-z]P))(?i:ass)(?![A-Za-z])
  | [SsKkRrAaUuDdFfMm](?i:(?:tore|ey|oot|dmin|ser|b|tp|ail)pass)(?![A-Za-z])
  | [Pp](?<![A-Za-z]\w)[Ww](?![A-Za-z])
  | [Ss](?i:ecret(?:[_. -]?(?:access[_.-]?)?key)?s?)
  | [Pp](?<![A-Za-z]\w)(?i:sk)(?![A-Za-z])
  | [Tt](?i:oken)
  | [Aa](?i:pi[_. -]?key|pp[_.-]?key|ccess[_.-]?key|ccount[_.-]?key|uth[_.-]?key)
  | [Pp](?i:rivate[_. -]?key)
  | [EeSsMmLlHhDd](?i:ncryption|igning|aster|hared|torage|ervice|icen[cs]e|mac|eploy|sh)[_.-]?[Kk](?i:ey)
  | [Cc](?i:redentials?|onsumer[_.-]?key|lient[_.-]?key)
  | [Ss](?i:ubscription[_.-]?key|ession(?:[_.-]?id)?)(?=["']?\]?[=:])
  | [JjPp](?i:sessionid|hpsessid)
  | [Ii](?i:dentified[ ]by)
  | 密码|密碼|口令|令牌|密钥|密鑰|私钥|凭证
)(?i:[_.-]?(?:value|text|plain|base|id|\d{1,2}))?"""

_SEPARATOR = rf"""(?:
    {_QUOTE}?\]?(?:[ ]?:[ ]?[A-Za-z_][\w.]{{0,40}}(?:\[\w*\])?(?=[ ]?=[ ]?["'brf]))?{_MARK}[ \t]{{0,8}}
        (?:=>|->|:=|!=|={{1,3}}|:(?!:)-?|—|–|-(?=[ ]))
        {_MARK}[ \t]{{0,8}}(?:[|>][-+]?[ \t]*\n(?:[ \t]+|(?=[\w"'$/+]))|\[\s*(?={_QUOTE})|{_NEXT_LINE})?(?:[\w.@-]{{1,64}}[ ]/[ ])?
  | {_QUOTE}[^<>\n]{{0,80}}?[ \t]+value[ \t]*=[ \t]*
  | {_QUOTE}[ \t]*,\s*(?:{_QUOTE}value{_QUOTE}\s*:\s*)?(?=[bru]?{_QUOTE})
  | {_QUOTE}?[ \t]*\n[ \t]*value:[ \t]*
  | {_QUOTE}?>\s*(?:<!\[CDATA\[\s*|<value>\s*)?(?=[^<>\n]{{1,{BARE_CHARS}}}(?:\]\]>)?\s*</)
  | </\w{{1,20}}>\s*<\w{{1,20}}>(?:<\w{{1,8}}>)?(?=[^<>\n]{{1,{BARE_CHARS}}}</)
  | (?:\.(?:equals|equalsIgnoreCase|contentEquals|compareTo|isEqualTo))?\(\s*(?={_QUOTE})
  | [ ]\((?=[^\s()]+\))
  | (?:[ ](?:for|of)[ ][\w.@-]{{1,40}}(?:[ ][\w.@-]{{1,40}})?)?[ \t]+(?:is|was|are|to)(?:[ \t]*\n[ \t>]*|[ \t:]+)
  | [ ](?:for|of)[ ][\w.@-]{{1,40}}(?:[ ][\w.@-]{{1,40}})?:[ ]
  | ['’]s[ ]
  | [ \t]*(?:[已被]?(?:更?改|设置?|重置|修改|更新|变更)?[成为為]了?|是)[ \t:]*
  | [ \t]*\|[ \t]*
  | [ \t]+
  | (?<=[码碼令牌钥鑰])(?=[A-Za-z0-9])
)"""

_LATIN = "A-Za-z0-9À-ÖØ-öø-ɏ"
_USER_PASSWORD = r"[\"']?(?P<{}>[^\s:\"'/]+:[^\s\"']+)"


def _option(commands: str, option: str, group: str) -> str:
    """A password given to a command: `commands … option value`."""
    return rf"(?:{commands})\b[^\n|;]{{0,300}}?\s{option}[\"']?(?P<{group}>[^\s\"'|;]+)"


PATTERNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "pem",
        ("-----begin ", "private-lines:"),
        r"""-----BEGIN[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
        (?: (?:(?!-----BEGIN)[\s\S])*?-----END[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
          | (?:(?:\s|\\[nr]|[>*|\#"'+,])*[A-Za-z0-9+/=]{16,})* )
        |Private-Lines:[ ]\d+(?:\s+[A-Za-z0-9+/=]{16,})*""",
    ),
    (
        "webhook",
        ("hooks.slack.com", "/api/webhooks", "webhook.office.com", "/bot/v2/hook", "webhook/send"),
        r"""(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks
          |webhook\.office\.com/webhookb2|/open-apis/bot/v2/hook|/cgi-bin/webhook/send\?key=)/?
          (?P<webhook_v>[A-Za-z0-9/_@-]{16,})""",
    ),
    (
        "userinfo",
        ("://",),
        r"""://(?P<userinfo_v>
            [^\s/:@"'<>\\]{0,256}:(?!\d{1,5}(?:[/?\#\s"'<>,;)\]]|\Z))[^\s"'<>]{0,512}?
          | [^\s/:@?\#"'<>\\]{1,512}
        )@(?=[A-Za-z0-9\[$%{][^\s@/"'<>]{0,512}(?:[/\s"'<>]|\Z))""",
    ),
    (
        "oracle",
        ("jdbc:oracle", "sqlplus"),
        r"(?:jdbc:oracle:\w+:|sqlplus[ ](?:-\w+[ ]){0,3}[\"']?)(?P<oracle_v>[^\s/@\"']{1,128}/[^\s@\"']{1,256})@",
    ),
    (
        "header",
        ("authorization",),
        r"""[Aa](?i:uthorization)\\*["']?(?:\s*[:=|,](?!:)\s*|\s+value\s*=\s*)\\*["']?
        (?P<header_scheme>(?i:basic|bearer|token|digest|apikey|negotiate)\s+)?
        (?P<header_v>[^\s"',\\]{6,})""",
    ),
    (
        "bearer",
        ("bearer", "basic"),
        r"[Bb](?i:earer|asic)[ ]+(?P<bearer_v>[A-Za-z0-9._~+/=-]{12,})",
    ),
    (
        "cookie",
        ("cookie:",),
        r"[Cc](?i:ookie):[ \t]*(?P<cookie_v>[A-Za-z0-9_.-]+=[^\s;\"']+(?:;[ ]*[A-Za-z0-9_.-]+=[^\s;\"']+)*)",
    ),
    (
        "flag",
        (
            *"curl mysql mariadb pass redis-cli docker podman ldap keytool jarsigner sqlcmd".split(),
            *"openssl mongo sudo 7z smbclient lftp wget mosquitto helm securestring".split(),
            *("net user ", "bcp ", "zip ", "az login", "oc login", "login "),
        ),
        "|".join(
            (
                rf"curl\b[^\n|;]{{0,400}}?\s(?:-[a-zA-Z]{{0,6}}?u|--user|--proxy-user|-U)[ =]?{_USER_PASSWORD.format('curl_v')}",
                r"(?:mysql|mariadb)\w*\b[^\n|;]{0,200}?\s-p(?P<mysql_v>[^\s\"'|;]+)",
                _option(
                    "sshpass|redis-cli|docker[ ]login|podman[ ]login|helm", "-[pa][ ]?", "pass_v"
                ),
                _option("ldap(?:search|modify|add|delete|passwd)", "-w[ ]?", "ldap_v"),
                _option(
                    "keytool|jarsigner", r"-(?:store|key|deststore|srcstore)pass[ ]", "keytool_v"
                ),
                _option("sqlcmd|bcp|mosquitto_\\w+|zip|unzip", "-P[ ]?", "upper_v"),
                _option("7z\\w?", "-p", "seven_v"),
                _option("mongo\\w*|az[ ]login|oc[ ]login", "-p[ ]", "mongo_v"),
                r"\bpass:(?<=[\s\"']pass:)(?P<openssl_v>[^\s\"']+)",
                r"(?:smbclient|rpcclient|net)\b[^\n|;]{0,200}?\s-U[ ]?[\"']?[^\s%\"']+%(?P<smb_v>[^\s\"']+)",
                r"lftp\b[^\n|;]{0,200}?\s-u[ ]?[\"']?[^\s,\"']+,(?P<lftp_v>[^\s\"']+)",
                r"echo[ ]+(?:-\w[ ]+)?[\"']?(?P<sudo_v>[^\s\"'|]+)[\"']?[ ]*\|[ ]*sudo[ ]+-\w*S",
                r"echo[ ]+[\"']?[\w.-]+:(?P<chpasswd_v>[^\s\"'|]+)[\"']?[ ]*\|[ ]*(?:sudo[ ]+)?chpasswd",
                r"htpasswd[ ](?:-\w+[ ])*-\w*b\w*[ ]\S+[ ]\S+[ ][\"']?(?P<htpasswd_v>[^\s\"']+)",
                r"net[ ]user[ ][^\s/]+[ ](?P<net_v>[^\s/*][^\s]*)[ ]/add",
                r"requirepass[ ]+[\"']?(?P<redis_v>[^\s\"']+)",
                r"(?i:login)[ \t]+\S{1,64}[ \t]+(?i:password)[ \t]+(?P<netrc_v>[^\s\"']+)",
                r"(?i:ConvertTo-SecureString)[ ]+(?:-String[ ]+)?[\"'](?P<power_v>[^\"'\n]+)",
            )
        ),
    ),
    (
        "pgpass",
        (":",),
        r"[A-Za-z0-9*](?<![\w:/.@-].)[\w.*-]{0,80}:(?:\d{4,5}|\*):[\w*-]{1,40}:[\w-]{1,40}:(?P<pgpass_v>[^\s:\"']{4,128})(?![^\s])",
    ),
    (
        "arguments",  # of calls that take a user and a password in this order
        ("credential", "auth", "getconnection", "login"),
        rf"""(?:[Cc]redentials?(?:\.\w+)?|[Bb]asic_?[Aa]uth|\bauth\s*=\s*|[Ll]ogin)\s*\(\s*
            (?:{_QUOTE}[^"'\n]{{0,128}}{_QUOTE}|[\w.]{{1,64}})\s*,\s*[bru]?(?P<args_q>{_QUOTE})(?P<args_v>[^"'\n]{{1,{BARE_CHARS}}}?)(?P=args_q)
        |getConnection\(\s*[^,\n]{{1,256}},\s*[^,\n]{{1,128}},\s*(?P<conn_q>{_QUOTE})(?P<conn_v>[^"'\n]{{1,{BARE_CHARS}}}?)(?P=conn_q)""",
    ),
    (
        "signature",
        ("sig",),
        r"[?&](?:sig|signature|X-Amz-Signature|X-Goog-Signature|Signature)=(?P<signature_v>[A-Za-z0-9%+/=_~-]{16,})",
    ),
    ("querykey", ("key=",), r"[?&](?<!ccc.)key=(?P<random_v>[A-Za-z0-9_-]{20,})"),
    (
        "dockerauth",
        ('"auth"',),
        r"\"auth\"\s*:\s*\"(?P<basic_v>[A-Za-z0-9+/]{8,}={0,2})\"",
    ),
    (
        "webkey",  # the private numbers of a JSON web key
        ('"kty"',),
        r"\"(?:d|p|q|dp|dq|qi|k)\"\s*:\s*\"(?P<webkey_v>[A-Za-z0-9_-]{22,})\"",
    ),
    (
        "awssecret",
        ("akia", "asia", "aws"),
        r"[A-Za-z0-9/+](?<![A-Za-z0-9/+=_.-].)[A-Za-z0-9/+]{39}(?![A-Za-z0-9/+=_-])",
    ),
    (
        "assign",
        (
            *"pass pwd pswd pw psk secret token key credential session sessid".split(),
            *"密码 密碼 口令 令牌 密钥 密鑰 私钥 凭证".split(),
            "identified by",
        ),
        rf"""(?P<assign_key>{KEYWORD})(?P<assign_sep>{_SEPARATOR})(?:
            (?<=[>\[\s])(?<=>)(?P<assign_xml>[^<>\n]{{1,{BARE_CHARS}}}?)(?=\s*(?:\]\]>)?\s*</)
          | (?<=CDATA\[)(?P<assign_cdata>[^<>\n]{{1,{BARE_CHARS}}}?)(?=\s*\]\]>)
          | [brfu@]?(?P<assign_q>{_QUOTE})(?P<assign_quoted>(?:(?!(?P=assign_q))(?:\\.|[^\\\n])){{1,{BARE_CHARS}}})(?P=assign_q)
          | [“‘「『](?P<assign_curly>[^“”‘’「」『』\n]+)[”’」』]
          | {_QUOTE}?(?P<assign_bare>[^\s"'`<>“”]{{1,{BARE_CHARS}}})
        )""",
    ),
    (
        "email",
        ("@", "%40"),
        rf"""[{_LATIN}](?<![{_LATIN}].)[{_LATIN}._%+'-]{{0,255}}(?:@|%40)
        (?:(?:[{_LATIN}](?:[{_LATIN}-]{{0,62}})\.)+[A-Za-z]{{2,24}}(?![A-Za-z0-9])
          |\[[0-9A-Fa-f.:]{{3,}}\]
          |[\u4e00-\u9fff]{{1,32}}\.(?:公司|中国|网络|广告|在线|中文网|网址|香港|台湾))""",
    ),
    (
        "iban",
        (),
        r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d\d(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
    ),
    (
        "passport",
        ("passport", "护照", "身份证"),
        r"(?:(?i:passport)|护照|身份证)(?i:[ ]?(?:no\.?|number|\#|号码|号))?[ \t]*[:=是为]?[ \t]*(?P<passport_v>\d{15}(?!\d)|\d{17}[\dXx]|[A-Z]{1,2}\d{7,8}|\d{9})(?![A-Za-z0-9])",
    ),
    (
        "ssn_named",
        ("ssn", "social security"),
        r"""[Ss](?i:sn|ocial[ ]security)(?i:[ ](?:number|no\.?))?\\*["']?[ \t]*[:\#=]?[ \t]*\\*["']?
         (?P<ssn_v>\d{3}[- ]?\d\d[- ]?\d{4})(?![A-Za-z0-9_])""",
    ),
    (
        "ipv6",
        (":",),
        r"""[0-9A-Fa-f:](?:(?<![A-Za-z0-9_:.].)|(?<=[^\W0-9a-fA-F_]:.)|(?<=[Vv]6:.))
        (?:(?<=:):(?:[0-9A-Fa-f]{1,4}:){0,7}|[0-9A-Fa-f]{0,3}:(?:[0-9A-Fa-f]{0,4}:){1,7})
        (?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?:%(?:25)?[A-Za-z0-9][A-Za-z0-9_-]*(?:\.\d+)?)?(?![A-Za-z0-9_:])""",
    ),
    ("shape", SHAPE_LITERALS, SHAPE),
    *((f"shape{number}", *other) for number, other in enumerate(OTHER_SHAPES)),
    # what follows is tried only in texts with a run of seven digits and separators
    (
        "phone",
        (),
        r"""[+(\d](?<![A-Za-z0-9_.+].)(?:
            (?<=\+)[\d(][\d()./ -]{6,24}(?<=\d)
          | (?<=\()(?:\d{3}\)[ ]?\d{3}[ .-]\d{4}|0\d{2,3}\)[ -]?\d{3,4}[ -]?\d{4}|\+?\d{1,3}\)[ -]?\d[\d -]{6,12}\d)
            (?![A-Za-z0-9_])
          | (?<=0)0[1-9]\d{0,2}[ -][\d(][\d(). -]{5,22}(?<=\d)
          | (?<=1)[ .-]\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=\d)\d\d-\d{3}-\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=[2-9])\d\d[ .]\d{3}[ .-]\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=1)[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=8)6[ -]1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![A-Za-z0-9_-]|\.\d)
          | (?<=0)(?:\d{2,3}-(?:\d{7,8}|\d{3,4}-\d{4})(?:-\d{1,6})?|\d{2,4}[ ]\d{3,4}[ ]\d{3,4}|\d{2,3}[ ]\d{7,8})
            (?![A-Za-z0-9_-]|\.\d)
        )""",
    ),
    (
        "digits",
        (),
        r"""[1-8](?<![A-Za-z0-9_].)(?<!\d\..)(?:
            \d{16}[\dXx] | \d{3}(?:[ \n.-]\d{4}){3}(?:[ -]?\d{3})? | \d{3}[ \n-]\d{6}[ \n-]\d{4,5} | \d{12,18}
        )(?![A-Za-z0-9_]|\.\d)""",
    ),
    ("ssn", ("-",), r"\d(?<![A-Za-z0-9_.-].)\d\d-\d\d-\d{4}(?![A-Za-z0-9_]|-\d)"),
    (
        "dialled",
        (
            *"phone tel mobile cell fax whatsapp call dial contact sms".split(),
            *"电话 電話 手机 手機 座机 传真 热线 致电 拨打 联系方式".split(),
        ),
        r"""(?:[PpTtMmCcFfDdSs](?<![A-Za-z].)(?i:hone|el|elephone|obile|ell|ax|all|ontact|ial|ms)|[Ww]hats[Aa]pp
          |电话|電話|手机|手機|座机|传真|热线|致电|拨打|联系方式)
        (?i:\.|[ _]?(?:no\.?|number|\#|号码|号|me|us|at))?\\*["']?[ \t]*[:=是为]?[ \t]*\\*["']?
        (?P<dialled_v>\+?[\d(][\d ()./-]{5,18}\d)(?![A-Za-z0-9_])""",
    ),
    ("ipv4", (".",), r"\d(?<![A-Za-z0-9_.].)\d{0,2}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)"),
    ("ipv4_name", ("ip-",), r"ip-(?:\d{1,3}-){3}\d{1,3}(?![A-Za-z0-9_])"),
)

_NUMERIC = frozenset({"phone", "digits", "ssn", "dialled", "ipv4_name", "iban"})
_SEVEN_DIGITS = re.compile(r"\d(?:[ .()/\n-]{0,3}[\dA-Z]){6}", re.ASCII)
_FOUR_NUMBERS = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d", re.ASCII)
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:", re.ASCII)


@dataclass(frozen=True)
class Finder:
    """One kind of candidate.

    Attributes:
        triggers: one of these must occur in the text (any, when empty).
        exact: the triggers' case counts.
    """

    name: str
    triggers: tuple[str, ...]
    exact: bool
    pattern: re.Pattern[str]


FINDERS = tuple(
    Finder(
        name,
        triggers,
        name.startswith("shape"),
        re.compile(pattern, re.ASCII | (0 if name.startswith("shape") else re.VERBOSE)),
    )
    for name, triggers, pattern in PATTERNS
)


def finders(text: str) -> list[Finder]:
    """The finders worth trying on a text, in order of precedence."""
    lower = text.lower()
    hopeless: set[str] = set()
    if not _SEVEN_DIGITS.search(text):
        hopeless |= _NUMERIC
    if not _TWO_COLONS.search(text):
        hopeless.add("ipv6")
    if not _FOUR_NUMBERS.search(text):
        hopeless.add("ipv4")
    found: list[Finder] = []
    for finder in FINDERS:
        if finder.name in hopeless:
            continue
        inside = text if finder.exact else lower
        for trigger in finder.triggers:
            if trigger in inside:
                found.append(finder)
                break
        else:
            if not finder.triggers:
                found.append(finder)
    return found


STRONG_KEYWORD = re.compile(
    r"pass(?:word|wort|wd|phrase|code)|pwd|pswd|(?<![a-z])psk(?![a-z])|[_-]pass(?![a-z])|(?-i:[a-z]Pass(?![a-z]))"
    r"|(?:store|key|root|admin|user|db|ftp|mail)pass(?![a-z])"
    r"|(?:api|app|access|account|auth|private|master|encryption|signing|shared|consumer|client|storage"
    r"|service|license|hmac|deploy|ssh|subscription)[_. -]?key"
    r"|(?:access|auth|refresh|bearer|session|csrf|bot|deploy|id|api|private|vault)[_-]?token"
    r"|secret|sessionid|phpsessid|identified|密|口令|令牌|私钥",
    re.IGNORECASE,
)
"""Keywords, with what stands before them in the same word, whose value is a secret as it stands."""
