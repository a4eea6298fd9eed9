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

QUOTE = r"""(?:\\*["'`]|&quot;|&\#39;)"""
_MARK = r"(?:[*_]{1,3}|</?[a-z]{1,8}>)?"  # emphasis of Markdown and HTML
_NEXT_LINE = rf"\n{{1,2}}[ \t>]*(?={QUOTE}|[^\s:=]+[ \t]*(?:\n|\Z))"  # a value alone on its line

# keywords of assignments; the judge looks at the whole word for how sure it is
KEYWORD = r"""(?:
    [Pp](?i:ass(?:[_.-]?word|wort|wd|phrase|code)|wd|swd|assw0rd)
  | (?:[Pp](?<![A-Za-z]\w)|P(?<=[a-z]P))(?i:ass)(?![A-Za-z])
  | [SsKkRrAaUuDdFfMm](?i:(?:tore|ey|oot|dmin|ser|b|tp|ail|equire)pass|ootpw|enha)(?![A-Za-z])
  | (?i:kennwort|wachtwoord|contraseña|mot[ ]de[ ]passe)
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
  | 密码|密碼|口令|令牌|密钥|密鑰|秘钥|私钥|凭证|凭据|授权码|暗号|[Пп]ароль|パスワード|비밀번호
)(?i:[_.-]?(?:value|text|plain|base|id|\d{1,2}))?"""

_TYPE = r"""[ ]?:[ ]?[&*]?[A-Za-z_][\w.]{0,40}(?:\[\w*\])?(?=[ ]?=[ ]?["'brf])|[ ]string(?=[ ]?=[ ]?["`])|\[\w{0,4}\](?=[ ]?=)"""
_TAG = r"(?:!{1,2}\w[\w/.-]{0,30}[ ]|&\w{1,30}[ ])?"  # of YAML
_CALL = rf"(?:[A-Za-z_][\w.]{{0,40}}\()+(?=[bru]?{QUOTE})"
_LINK = "(?:is|was|are|to|be|been|has|have|had|will|should|must|now|set|changed|reset|updated|equals|of|from|as)"

_SEPARATOR = rf"""(?:
    {QUOTE}?\]?(?:{_TYPE})?{_MARK}[ \t]{{0,8}}
        (?:=>|->|:=|!=|={{1,3}}|:{{1,2}}(?![\w:])-?|:(?!:)-?|—|–|→|(?<![ ])~|~(?=[ ])|-(?=[ ]))
        {_MARK}[ \t]{{0,8}}(?:<[a-z]{{1,8}}>)?{_TAG}(?:[|>][-+]?[ \t]*\n(?:[ \t]+|(?=[\w"'$/+]))|\[\s*(?={QUOTE})|{_NEXT_LINE}|{_CALL})?(?:""(?=")|''(?='))?(?:[\w.@-]{{1,64}}[ ]/[ ])?
  | (?:{QUOTE}[^<>\n]{{0,80}}?)?[ \t]+value[ \t]*=[ \t]*
  | {QUOTE}[ \t]*,\s*(?:{QUOTE}(?i:value|val|text|content|default){QUOTE}\s*:\s*|\w{{1,16}}:[ ])?(?=[bru]?{QUOTE})
  | {QUOTE}?[ \t]*\n[ \t]*value:[ \t]*
  | (?:{QUOTE}|[ ][^<>\n]{{1,80}})?>\s*(?:<!\[CDATA\[\s*|<value>\s*)?(?=[^<>\n]{{1,{BARE_CHARS}}}(?:\]\]>)?\s*</)
  | </\w{{1,20}}>\s*<\w{{1,20}}>(?:<\w{{1,8}}>)?(?=[^<>\n]{{1,{BARE_CHARS}}}</)
  | (?:\.(?:equals|equalsIgnoreCase|contentEquals|compareTo|isEqualTo))?\(\s*(?={QUOTE})
  | \w{{0,24}}(?:{QUOTE}?\){{0,2}}\.\w{{1,24}})?\(\s*(?={QUOTE})
  | (?:\(\))?[ ]*(?:\{{|\bor[ ]|\|\||\?\?)[ ]*(?={QUOTE})
  | (?:[ ]|(?<=[码碼令牌钥鑰据證证]))\((?=[^\s()]+\))
  | [ ]?(?=[【「『（《][A-Za-z0-9])[【「『（《]
  | (?:[ ](?:for|of)[ ][\w.@-]{{1,40}}(?:[ ][\w.@-]{{1,40}})?)?[ \t]+(?:{_LINK}[ \t]+){{0,3}}(?:{_LINK})(?:[ \t]*\n[ \t>]*|[ \t:]+)
  | [ ](?:for|of)[ ][\w.@-]{{1,40}}(?:[ ][\w.@-]{{1,40}})?:[ ]
  | ['’]s[ ]
  | [ \t]*(?:[已被]?(?:更?改|设置?|重置|修改|更新|变更)?[成为為]了?|是)[ \t:]*
  | [ \t]*\|{{1,2}}[ \t]*
  | [ \t]*\n\n?(?:[ ]*:[ ]+|(?=`))
  | [ ]+\d[ ]+
  | [ \t]+
  | (?<=[码碼令牌钥鑰据證证])(?=[A-Za-z0-9])
)"""

CREDENTIALS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "pem",
        ("---- begin ", "-----begin ", "private-lines:"),
        r"""-----?[ ]?BEGIN[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?[ ]?-----?
        (?: (?:(?!-----?[ ]?BEGIN)[\s\S])*?-----?[ ]?END[ ](?:[A-Z0-9]+[ ])*PRIVATE[ ]KEY(?:[ ]BLOCK)?[ ]?-----?
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
        (?P<header_scheme>(?i:basic|bearer|token|digest(?!\s+\w+=)|apikey|negotiate)\s+)?
        (?P<header_v>[^\s"',\\]{6,})""",
    ),
    (
        "digest",
        ("digest",),
        r"""[Dd](?i:igest)\s(?:[^\n]{0,1000}?[,\s])?response\s?=\s?\\?["']?(?P<digest_v>[0-9a-fA-F]{32,128})\b""",
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
        "pgpass",
        (":",),
        r"[A-Za-z0-9*](?<![\w:/.@-].)[\w.*-]{0,80}:(?:\d{4,5}|\*):[\w*-]{1,40}:[\w-]{1,40}:(?P<pgpass_v>[^\s:\"']{4,128})(?![^\s])",
    ),
    (
        "signature",
        ("sig",),
        r"[?&](?:sig|signature|X-Amz-Signature|X-Goog-Signature|Signature)=(?P<signature_v>[A-Za-z0-9%+/=_~-]{8,})",
    ),
    ("querykey", ("key=",), r"[?&](?<!ccc.)key=(?P<random_v>[A-Za-z0-9_-]{20,})"),
    (
        "dockerauth",
        ('"auth"', "_auth"),
        r"(?:\"auth\"\s*:\s*\"|_auth[ ]?=[ ]?\"?)(?P<basic_v>[A-Za-z0-9+/]{8,}={0,2})",
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
            *"pass pwd pswd pw psk secret token key credential session sessid kennwort wachtwoord contraseña senha".split(),
            *"密码 密碼 口令 令牌 密钥 密鑰 秘钥 私钥 凭证 凭据 授权码 暗号 пароль パスワード 비밀번호".split(),
            "identified by",
        ),
        rf"""(?P<assign_key>{KEYWORD})(?P<assign_sep>{_SEPARATOR})(?:
            (?<=[>\[\s])(?<=>)(?P<assign_xml>[^<>\n]{{1,{BARE_CHARS}}}?)(?=\s*(?:\]\]>)?\s*</)
          | (?<=CDATA\[)(?P<assign_cdata>[^<>\n]{{1,{BARE_CHARS}}}?)(?=\s*\]\]>)
          | [brfu@]?(?P<assign_q>{QUOTE})(?P<assign_quoted>(?:(?!(?P=assign_q))(?:\\.|[^\\\n])){{1,{BARE_CHARS}}})(?P=assign_q)
          | [“‘「『](?P<assign_curly>[^“”‘’「」『』\n]+)[”’」』]
          | {QUOTE}?(?P<assign_bare>[^\s"'`<>“”]{{1,{BARE_CHARS}}})
        )""",
    ),
    (
        "anykey",  # whatever it opens: its randomness tells
        ("key",),
        r"[Kk](?i:ey)s?\\*[\"']?(?:[ ]?[=:]|[ ]\d)[ ]?\\*[\"']?(?P<anykey_v>[A-Za-z0-9+/_-]{16,}={0,2})(?![A-Za-z0-9.])",
    ),
)


STRONG_KEYWORD = re.compile(
    r"pass(?:[_.-]?word|wort|wd|phrase|code)|passw0rd|pwd|pswd|(?<![a-z])psk(?![a-z])|[_-]pass(?![a-z])|(?-i:[a-z]Pass(?![a-z]))"
    r"|(?:store|key|root|admin|user|db|ftp|mail|require)pass(?![a-z])|rootpw|kennwort|wachtwoord|contrase|senha"
    r"|(?:api|app|access|account|auth|private|master|encryption|signing|shared|consumer|client|storage"
    r"|service|license|hmac|deploy|ssh|subscription)[_. -]?key"
    r"|(?:access|auth|refresh|bearer|session|csrf|bot|deploy|id|api|private|vault)[_-]?token"
    r"|secret|sessionid|phpsessid|identified|[密秘]|口令|令牌|私钥|凭据|暗号|授权码|пароль|パスワード|비밀번호|mot de passe",
    re.IGNORECASE,
)
"""Keywords, with what stands before them in the same word, whose value is a secret as it stands."""
