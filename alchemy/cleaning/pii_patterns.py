"""The patterns that find candidates for credentials, as `pii_finders` reads them.

A pattern begins with a literal or a character set wherever it can, before any look-around: the
engine then skips most of the text. What a candidate reads ahead is bounded, so that no text takes
more than linear time. Everything is matched in ASCII mode, because a Chinese character beside a
number is not part of it.
"""

from __future__ import annotations

import re

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

_USER_PASSWORD = r"[\"']?(?P<{}>[^\s:\"'/]+:[^\s\"']+)"


def _option(commands: str, option: str, group: str) -> str:
    """A password given to a command: `commands … option value`."""
    return rf"(?:{commands})\b[^\n|;]{{0,300}}?\s{option}[\"']?(?P<{group}>[^\s\"'|;]+)"


CREDENTIALS: tuple[tuple[str, tuple[str, ...], str], ...] = (
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
            *"curl mysql mariadb sshpass redis-cli helm ldap keytool jarsigner sqlcmd bcp".split(),
            *"mosquitto_ zip 7z mongo pass: smbclient rpcclient lftp htpasswd requirepass".split(),
            *("docker login", "podman login", "az login", "oc login", "net ", "echo ", "login"),
            "convertto-securestring",
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
        ("credential", "basic", "auth", "getconnection", "login"),
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
)


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
