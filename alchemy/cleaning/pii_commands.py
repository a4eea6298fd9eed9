"""The patterns of passwords given to commands and calls, as `pii_finders` reads them.

A candidate of `flag` stands where a command is known to take its password; one of `likely` stands
where passwords often do, and must look like one. Every alternative begins with one of the triggers.
"""

from __future__ import annotations

from alchemy.cleaning.pii_patterns import BARE_CHARS, QUOTE

_USER_PASSWORD = r"[\"']?(?P<{}>[^\s:\"'/]+:[^\s\"']+)"
_VALUE = r"[\"']?(?P<{}>[^\s\"'|;]+)"


def _option(commands: str, option: str, group: str) -> str:
    """A password given to a command: `commands … option value`."""
    return rf"(?:{commands})\b[^\n|;]{{0,300}}?\s{option}{_VALUE.format(group)}"


_OPTIONS = (
    rf"curl\b[^\n|;]{{0,400}}?\s(?:-[a-zA-Z]{{0,6}}?u|--user|--proxy-user|-U)[ =]?{_USER_PASSWORD.format('curl_v')}",
    r"(?:mysql|mariadb)\w*\b[^\n|;]{0,200}?\s-p(?P<mysql_v>[^\s\"'|;]+)",
    _option("sshpass|redis-cli|docker[ ]login|podman[ ]login|helm", "-[pa][ ]?", "pass_v"),
    _option("ldap(?:search|modify|add|delete|passwd)", "-w[ ]?", "ldap_v"),
    _option("keytool|jarsigner", r"-(?:store|key|deststore|srcstore)pass[ ]", "keytool_v"),
    _option(r"sqlcmd|isql|bcp|mosquitto_\w+|zip|unzip", "-P[ ]?", "upper_v"),
    _option(r"7z\w?", "-p", "seven_v"),
    _option(r"mongo\w*|az[ ]login|oc[ ]login|psexec|cqlsh|beeline", "-p[ ]", "mongo_v"),
    _option("openssl[ ]enc", "-k[ ]", "enc_v"),
    r"(?:smbclient|rpcclient|net)\b[^\n|;]{0,200}?\s-U[ ]?[\"']?[^\s%\"']+%(?P<smb_v>[^\s\"']+)",
    r"lftp\b[^\n|;]{0,200}?\s-u[ ]?[\"']?[^\s,\"']+,(?P<lftp_v>[^\s\"']+)",
    r"htpasswd[ ](?:-\w+[ ])*-\w*b\w*[ ]\S+[ ]\S+[ ][\"']?(?P<htpasswd_v>[^\s\"']+)",
    rf"snmp(?:walk|get|set|bulkwalk|trap)\b[^\n|;]{{0,200}}?\s-[cAX][ ]?{_VALUE.format('snmp_v')}",
)
_OPTION_TRIGGERS = (
    *"curl mysql mariadb sshpass redis-cli helm ldap keytool jarsigner sqlcmd isql bcp".split(),
    *"mosquitto_ zip 7z mongo psexec cqlsh beeline smbclient rpcclient lftp htpasswd snmp".split(),
    *("docker login", "podman login", "az login", "oc login", "openssl enc", "net "),
)

_COMMANDS = (
    _option("schtasks", "/rp[ ]", "task_v"),
    _option("xfreerdp", "/p:", "rdp_v"),
    r"\bpass:(?<=[\s\"']pass:)(?P<openssl_v>[^\s\"']+)",
    r"net[ ]user[ ][^\s/]+[ ](?P<net_v>[^\s/*][^\s]*)[ ]/add",
    r"net[ ]use[ ](?:\S+[ ])?\\\\\S+[ ](?P<share_v>[^\s/*]\S*)[ ]/(?i:user)",
    r"net[ ]use[ ][^\n]{0,200}?/(?i:user):\S+[ ](?P<shared_v>[^\s/*]\S*)",
    rf"rabbitmqctl[ ](?:add_user|change_password)[ ]\S+[ ]{_VALUE.format('rabbit_v')}",
    r"wpa_passphrase[ ](?:\"[^\"\n]{1,32}\"|\S+)[ ](?P<wpa_v>\S+)",
    rf"snmp-server[ ]community[ ]{_VALUE.format('community_v')}",
    rf"community(?<=r[ow]community)6?[ ]+{_VALUE.format('rocommunity_v')}",
    rf"com2sec[ ]+\S+[ ]+\S+[ ]+{_VALUE.format('com2sec_v')}",
    r"(?:requirepass|masterauth)[ ]+[\"']?(?P<redis_v>[^\s\"']+)",
    r"(?i:rootpw)[ ]+(?:--\w+[ ]+)+(?P<kickstart_v>[^\s-]\S*)",
    r"(?i:login)[ \t]+\S{1,64}[ \t]+(?i:password)[ \t]+(?P<netrc_v>[^\s\"']+)",
    r"(?i:ConvertTo-SecureString)[ ]+(?:-String[ ]+|-AsPlainText[ ]+|-Force[ ]+){0,3}[\"'](?P<power_v>[^\"'\n]+)",
    r"(?i:auth)[ ](?i:plain|login)[ ]+(?P<sasl_v>[A-Za-z0-9+/]{8,}={0,2})",
)
_COMMAND_TRIGGERS = (
    *"schtasks xfreerdp pass: rabbitmqctl wpa_passphrase community com2sec requirepass masterauth".split(),
    *("rootpw", "login", "net use", "auth plain", "auth login", "convertto-securestring"),
    "snmp-server",
)

_PIPED = (
    r"""echo[ ]+(?:-\w[ ]+)?[\"']?(?P<piped_v>[^\s\"'|]+)[\"']?[ ]*\|[ ]*
        (?:sudo[ ]+-\w*S|[^\n|]{0,80}[ ]--(?:password-)?stdin\b|(?:sudo[ ]+)?(?:kinit|cryptsetup)\b)""",
    r"echo[ ]+[\"']?[\w.-]+:(?P<chpasswd_v>[^\s\"'|]+)[\"']?[ ]*\|[ ]*(?:sudo[ ]+)?chpasswd",
    rf"(?:sudo|kinit|passwd|cryptsetup)\b[^\n|;<]{{0,80}}<<<[ ]*{_VALUE.format('here_v')}",
)

_ARGUMENT = rf"(?:[bru]?{QUOTE}[^\"'\n]{{0,128}}{QUOTE}|[$@]?[\w.>-]{{1,64}})\s*,\s*"
_CALL = r"(?:connect|mysqli|login|logon|auth(?:enticate)?|bind|create_?user|PDO|signin)\w*\s*\(\s*"
_LAST = rf"""[bru]?(?P<call_q>{QUOTE})(?P<call_v>[^"'\n]{{6,{BARE_CHARS}}}?)(?P=call_q)"""

_CALLS = (
    rf"{_CALL}{_ARGUMENT}{_ARGUMENT}{_LAST}",  # connect(host, user, password)
    rf"(?i:community)(?:(?<=[Ss][Nn][Mm][Pp][ ].........)[ ]|[ ]?[=:][ ]?|[ ]string(?:[ ]?[=:][ ]?|[ ](?:is[ ])?)){_VALUE.format('string_v')}",
    r"net[ ]user[ ][^\s/]+[ ](?P<account_v>[^\s/*]\S{5,})",
    r"\bAUTH[ ](?P<token_v>\S{6,128})",
    # what an `expect` script sends
    r"assword:?[\"']?[^\n]{0,20}\bsend[ ](?:--[ ])?\"(?P<sent_v>[^\"\\\n]{4,64})",
    r"send[ ](?:--[ ])?\"(?P<reply_v>[^\"\\\n]{6,64})\\[rn]\"",
)
_CALL_TRIGGERS = (
    *"connect mysqli login auth bind create pdo community assword".split(),
    *("logon", "signin", 'send "', "send -- ", "net user"),
)

_CREDENTIAL_CALL = rf"""(?:[Cc]redentials?(?:\.\w+)?|[Bb]asic_?[Aa]uth|UsernamePassword\w*|\bauth\s*=\s*|[Ll]ogin)\s*\(\s*
            (?:{QUOTE}[^"'\n]{{0,128}}{QUOTE}|[\w.]{{1,64}})\s*,\s*[bru]?(?P<args_q>{QUOTE})(?P<args_v>[^"'\n]{{1,{BARE_CHARS}}}?)(?P=args_q)
        |getConnection\(\s*[^,\n]{{1,256}},\s*[^,\n]{{1,128}},\s*(?P<conn_q>{QUOTE})(?P<conn_v>[^"'\n]{{1,{BARE_CHARS}}}?)(?P=conn_q)"""

COMMANDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("flag", _OPTION_TRIGGERS, "|".join(_OPTIONS)),
    ("command", _COMMAND_TRIGGERS, "|".join(_COMMANDS)),
    (
        "piped",
        ("<<<", "stdin", "sudo -", "chpasswd", "| kinit", "| cryptsetup"),
        "|".join(_PIPED),
    ),
    (
        "arguments",  # of calls that take a user and a password in this order
        ("credential", "basic", "usernamepassword", "auth", "getconnection", "login"),
        _CREDENTIAL_CALL,
    ),
    ("call", _CALL_TRIGGERS, "|".join(_CALLS)),
    (
        "call2",  # either of two arguments may be the password: each has its finder
        ("connect", "login", "logon", "auth", "bind", "signin"),
        rf"{_CALL}{_ARGUMENT}{_LAST}",
    ),
    (  # ada / …
        "pair",
        ("/",),
        r"/(?<=[\w.@ -]/)[ ]?(?P<pair_v>[^\s\"'`|,;<>()\[\]/=]{6,64})(?![^\s\"'`|,;.<>()\[\]])",
    ),
    (  # ada/…@db:1521
        "easyconnect",
        ("@",),
        r"/(?<=\w/)(?P<easy_v>[^\s@/\"']{6,64})@(?=//|\w[\w.-]*:\d|\w[\w.-]*/\w)",
    ),
    # … -u ada … -p …
    ("option", (" -p", " -P", " -w"), rf"-(?<=\s-)[pPw][ ]?{_VALUE.format('option_v')}"),
)
