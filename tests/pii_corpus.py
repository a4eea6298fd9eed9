"""A seeded corpus for redaction: documents with planted secrets, in many syntaxes.

Every value is made for its seed, so a rule cannot know one by heart. `pii_look_alikes` makes the
texts that must stay.
"""

from __future__ import annotations

import base64
import json
import string
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pii_values import ALNUM, B64, HEX, URLSAFE, Maker, luhn_sum


@dataclass(frozen=True)
class Planted:
    """A document with secrets in it.

    Attributes:
        syntax: group the case belongs to.
        hidden: strings no part of the redacted document may contain.
    """

    syntax: str
    text: str
    hidden: tuple[str, ...]
    title: str = "Title"
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


Case = Callable[[Maker], Planted]


def _template(syntax: str, *templates: str, value: str = "password") -> Case:
    """One secret in one of the templates, at `@@`; `%u` and `%h` become a user and a host."""

    def make(m: Maker) -> Planted:
        secret = getattr(m, value)()
        text = m.pick(*templates).replace("%u", m.user()).replace("%h", m.host())
        return Planted(syntax, text.replace("@@", secret), (secret,))

    return make


def _json(m: Maker) -> Planted:
    secret = m.password()
    key = m.pick("password", "db_password", "apiKey", "client_secret", "accessToken", "passphrase")
    body = m.pick(
        {"user": "ada", key: secret, "port": 5432},
        {"auth": {"user": "ada", key: secret}},
        {"name": "DB_PASSWORD", "value": secret},
    )
    text = json.dumps(body, indent=m.pick(None, 2))
    text = m.pick(text, f"```json\n{text}\n```", json.dumps({"body": json.dumps(body)}))
    return Planted("json", text, (secret,))


def _env(m: Maker) -> Planted:
    secret = m.password()
    key = m.pick("DB_PASSWORD", "API_KEY", "SECRET_KEY", "AUTH_TOKEN", "MYSQL_PWD", "SMTP_PASS")
    line = m.pick(
        f"{key}={secret}", f"export {key}={secret}", f"{key}='{secret}'", f'set {key}="{secret}"',
        f"ENV {key} {secret}", f"ENV {key}={secret}", f'$env:{key} = "{secret}"',
        f"docker run -e {key}={secret} app",
    )  # fmt: skip
    return Planted("env", f"APP_NAME=shop\n{line}\nPORT=8080", (secret,))


def _yaml(m: Maker) -> Planted:
    secret = m.plain_password()
    text = m.pick(
        f"auth:\n  user: ada\n  password: {secret}\n  host: db",
        f'db:\n  password: "{secret}"',
        f"- name: DB_PASSWORD\n  value: {secret}",
        f"- name: API_TOKEN\n  value: '{secret}'",
        f"client_secret: >-\n  {secret}\nnext: 1",
        f"data:\n  password: {base64.b64encode(secret.encode()).decode()}",
        f"stringData: {{password: {secret}, user: ada}}",
        f"password:\n  {secret}\nuser: ada",
    )
    encoded = base64.b64encode(secret.encode()).decode()
    return Planted("yaml", text, (secret, encoded))


def _url(m: Maker) -> Planted:
    raw = m.password() + m.pick("", "@", "/", "#", ":")
    secret = urllib.parse.quote(raw, safe="")
    scheme = m.pick(
        "postgres", "https", "http", "ftp", "amqp", "redis", "mongodb+srv", "mysql", "ldap"
    )
    host = m.pick("db.internal:5432", "cache", "repo.example.org", "10.1.2.3:5672", "[2001:db8::7]")
    url = f"{scheme}://{m.user()}:{secret}@{host}/app"
    text = m.pick(
        url, f"see {url}.", f"[link]({url})", f"<{url}>", f'url = "{url}"', f"访问{url}即可"
    )
    return Planted("url credentials", text, (secret,))


def _connection(m: Maker) -> Planted:
    secret = m.plain_password()
    key = m.of(B64, 86) + "=="
    text, hidden = m.pick(
        (f"jdbc:mysql://db:3306/app?user=ada&password={secret}&useSSL=false", secret),
        (f"jdbc:postgresql://db/app?password={secret}", secret),
        (f"jdbc:oracle:thin:scott/{secret}@db:1521:orcl", secret),
        (f"jdbc:sqlserver://db;user=sa;password={secret};encrypt=true", secret),
        (f"Driver={{ODBC Driver 18}};Server=db;UID=sa;PWD={secret};Encrypt=yes", secret),
        (f"Server=db;User Id=sa;Password={secret};Timeout=30", secret),
        (f"Data Source=db;User ID=sa;Pwd='{secret}'", secret),
        (f"amqp://app:{secret}@mq1:5672/%2F", secret),
        (f"mongodb://app:{secret}@m1:27017,m2:27017/db?replicaSet=rs0", secret),
        (f"host=db port=5432 dbname=app user=ada password={secret} sslmode=require", secret),
        (f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={key};", key),
        (f"Endpoint=sb://x.servicebus.windows.net/;SharedAccessKey={key[:43]}=", key[:43]),
        (f"https://x.blob.core.windows.net/c/f?sv=2020-08-04&se=2025-01-01&sig={key[:40]}%3D", key[:40]),
        (f"db.internal:5432:app:ada:{secret}", secret),
        (f"machine git.internal login ada password {secret}", secret),
        (f"redis-cli -h cache -a {secret} ping", secret),
    )  # fmt: skip
    return Planted("connection string", text, (hidden,))


def _authorization(m: Maker) -> Planted:
    user, password = m.user(), m.password()
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    scheme, value = m.pick(
        ("Basic", basic),
        ("Bearer", m.of(URLSAFE, 40)),
        ("Bearer", m.jwt()),
        ("Token", m.of(HEX, 40)),
    )
    text = m.pick(
        f"GET / HTTP/1.1\nAuthorization: {scheme} {value}\nHost: x",
        f"curl -H 'Authorization: {scheme} {value}' https://x.io",
        f'headers = {{"Authorization": "{scheme} {value}"}}',
        f'req.setHeader("Authorization", "{scheme} {value}");',
        f"Proxy-Authorization: {scheme} {value}",
        f"authorization={scheme} {value}",
        f"<header name='Authorization' value='{scheme} {value}'/>",
        f"| Authorization | {scheme} {value} |",
    )
    return Planted("authorization", text, (value,))


def _headers(m: Maker) -> Planted:
    secret = m.of(ALNUM, 32)
    text = m.pick(
        f"X-Api-Key: {secret}", f"PRIVATE-TOKEN: {secret}", f"X-Auth-Token: {secret}",
        f"Ocp-Apim-Subscription-Key: {secret}", f"X-Vault-Token: {secret}", f"apikey: {secret}",
        f"Cookie: JSESSIONID={secret}; Path=/", f"Set-Cookie: session={secret}; HttpOnly",
        f"GET /login?user=ada&access_token={secret}&next=1", f"https://x.io/cb?api_key={secret}#top",
        f"POST /hook?token={secret}",
    )  # fmt: skip
    return Planted("header or query", text, (secret,))


def _jwt(m: Maker) -> Planted:
    token = m.jwt()
    text = m.pick("{}", "id_token={}", "got {} back", "“{}”", "令牌{}已过期", "<t>{}</t>", "`{}`")
    return Planted("jwt", text.format(token), tuple(token.split(".")))


def _shape(m: Maker) -> Planted:
    token = m.token()
    text = m.pick(
        "{}", "key {} leaked", "see:{},", "“{}”", "密钥{}泄露", "| id | {} |", "`{}`", "({})",
        "https://x.io/?k={}", "x = '{}'", "- {}", "//npm.acme.internal/:_authToken={}", "<a>{}</a>",
    )  # fmt: skip
    return Planted("token shape", text.format(token), (token, token[-12:]))


def _aws(m: Maker) -> Planted:
    key, secret = f"AKIA{m.of(string.ascii_uppercase + '234567', 16)}", m.secret_key()
    text = m.pick(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}",
        f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}",
        f'new BasicAWSCredentials("{key}", "{secret}")',
        f"{key} / {secret}",
        f"key: {key}, secret: {secret}",
        f'{{"AccessKeyId": "{key}", "SecretAccessKey": "{secret}"}}',
        f"<accessKey>{key}</accessKey>\n<secretKey>{secret}</secretKey>",
        f"| {key} | {secret} |",
    )
    return Planted("aws", text, (key, secret))


def _pem(m: Maker) -> Planted:
    lines, hidden = m.pem()
    text = m.pick(
        lambda: "\n".join(lines),
        lambda: "key: |\n" + "\n".join("  " + line for line in lines),
        lambda: json.dumps({"private_key": "\n".join(lines) + "\n"}),
        lambda: "KEY = (\n" + "\n".join(f'    "{line}\\n"' for line in lines) + "\n)",
        lambda: "\n".join("> " + line for line in lines),
        lambda: "```\n" + "\n".join(lines[:-1]) + "\n```",
        lambda: "KEY=" + " ".join(lines),
        lambda: "\n".join("* " + line for line in lines),
    )()
    return Planted("pem", text, hidden)


def _ssh(m: Maker) -> Planted:
    blob = m.of(B64, 200)
    name, head = m.pick(("ssh-rsa", "AAAAB3NzaC1yc2E"), ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAA"))
    text = f"{name} {head}{blob} ada@laptop"
    return Planted("ssh key", m.pick(text, f"authorized_keys:\n{text}"), (blob, blob[:40]))


def _xml(m: Maker) -> Planted:
    secret = m.plain_password()
    text = m.pick(
        f"<password>{secret}</password>", f'<property name="password" value="{secret}"/>',
        f'<entry key="client_secret">{secret}</entry>', f"<db:password>{secret}</db:password>",
        f'<user name="ada" password="{secret}" roles="admin"/>',
        f'<add key="ApiKey" value="{secret}" />', f"<password><![CDATA[{secret}]]></password>",
        f"<password>\n  {secret}\n</password>", f'<string name="api_key">{secret}</string>',
        f"<key>password</key>\n<string>{secret}</string>",
        f"&lt;password&gt;{secret}&lt;/password&gt;",
        f'<input type="password" name="pw" value="{secret}">',
        f"<name>password</name>\n<value>{secret}</value>",
    )  # fmt: skip
    return Planted("xml", text, (secret,))


def _code(m: Maker) -> Planted:
    secret = m.plain_password() + m.pick("", "!", "$")
    text = m.pick(
        f'String password = "{secret}";', f"client.setPassword(\"{secret}\");",
        f"password: str = '{secret}'", f'const apiKey: string = "{secret}";',
        f"connect(host='db', password='{secret}')", f'private_key := "{secret}"',
        f":password => '{secret}',", f"os.environ['DB_PASSWORD'] = '{secret}'",
        f'os.getenv("DB_PASSWORD", "{secret}")', f'System.setProperty("db.password", "{secret}");',
        f'auth=("ada", "{secret}")', f'new UsernamePasswordCredentials("ada", "{secret}")',
        f'DriverManager.getConnection(url, "sa", "{secret}")', f'db_password="${{DB_PW:-{secret}}}"',
        f'$pw = ConvertTo-SecureString "{secret}" -AsPlainText', f"PASSWORD = b'{secret}'",
        f'password = r"{secret}"', f'@Value("${{db.password:{secret}}}")', f'#define API_KEY "{secret}"',
        f'static final String SECRET_KEY="{secret}";', f"define('DB_PASSWORD', '{secret}');",
        f"CREATE USER app IDENTIFIED BY '{secret}'", f"ALTER ROLE app WITH PASSWORD '{secret}';",
        f'if (password.equals("{secret}")) {{', f'HTTPBasicAuth("ada", "{secret}")',
    )  # fmt: skip
    return Planted("code", m.pick(text, f"```\n{text}\n```", f"run `{text}` first"), (secret,))


def _shell(m: Maker) -> Planted:
    secret = m.plain_password()
    text = m.pick(
        f"curl -u admin:{secret} https://repo.internal/x", f"curl --user 'admin:{secret}' https://x.io",
        f"curl -sS -X POST -uadmin:{secret} https://x.io", f"mysql -h db -u root -p{secret} app",
        f"mysqldump --password={secret} app", f"sshpass -p {secret} ssh root@db",
        f"sshpass -p'{secret}' scp a b:", f"docker login -u ada -p {secret} registry.x.io",
        f"login --user ada --password {secret} --host x", f"PGPASSWORD={secret} psql -h db",
        f"ldapsearch -x -D cn=admin -w {secret} -b dc=x", f"redis-cli -a {secret}",
        f"keytool -genkey -storepass {secret} -keypass {secret}", f"sqlcmd -S db -U sa -P {secret} -Q x",
        f"openssl rsa -in k.pem -passin pass:{secret}", f"mongo -u ada -p {secret} admin",
        f"sqlplus scott/{secret}@orcl", f"echo '{secret}' | sudo -S ls", f"unzip -P {secret} a.zip",
        f"echo root:{secret} | chpasswd", f"requirepass {secret}", f"smbclient -U ada%{secret} //h/s",
        f"wget --http-user=ada --http-password={secret} http://x.io",
        f"curl -d 'grant_type=password&username=ada&password={secret}' https://x.io",
        f"curl --data '{{\"password\":\"{secret}\"}}' https://x.io", f"htpasswd -b f ada {secret}",
        f"svn co --username ada --password {secret} http://x", f"java -Dkey.password={secret} -jar a",
    )  # fmt: skip
    return Planted("shell", m.pick(text, f"```bash\n{text}\n```", f"$ {text}"), (secret,))


def _properties(m: Maker) -> Planted:
    secret = m.plain_password()
    text = m.pick(
        f"spring.datasource.password = {secret}", f"spring.datasource.password={secret}",
        f"smtp.auth.token: {secret}", f"[db]\nuser=ada\npasswd={secret}", f"mail.pass={secret}",
        f"ssl.keystore.password   {secret}", f"jwt.secret={secret}", f"# old\n#db.password={secret}",
    )  # fmt: skip
    return Planted("properties", text, (secret,))


def _markdown(m: Maker) -> Planted:
    secret = m.plain_password()
    text = m.pick(
        f"| user | password |\n|---|---|\n| ada | {secret} |",
        f"| Host | User | Password | Note |\n| :-- | --- | --- | --- |\n| db | ada | `{secret}` | x |",
        f"| password | {secret} |", f"**Password:** {secret}", f"**Password**: `{secret}`",
        f"- Password: `{secret}`", f"the password is `{secret}`", f"*API key* - `{secret}`",
        f"user,password,host\nada,{secret},db\n", f"||Login||Password||\n|ada|{secret}|",
        f"> password: {secret}", f"1. token: {secret}", f"Password — {secret}",
        f"- user / password: ada / {secret}",
    )  # fmt: skip
    return Planted("markdown", text, (secret,))


def _sentence(m: Maker) -> Planted:
    secret = m.of(ALNUM, m.int(9, 18))
    text = m.pick(
        f"the password is {secret}, please change it", f"Login with admin and password {secret}.",
        f"my api key is {secret}", f"use password '{secret}' to log in", f"pw: {secret}",
        f"the new password for root is {secret}.", f"password ({secret})", f"credentials: ada / {secret}",
        f"I set the password to {secret} yesterday", f"user ada pass {secret}",
        f"Use the token {secret} for the API.", f'The secret was "{secret}".',
    )  # fmt: skip
    return Planted("sentence", text, (secret,))


def _chinese(m: Maker) -> Planted:
    secret = m.of(ALNUM, m.int(9, 18))
    phone, mail, card = f"1{m.int(30, 99)}{m.int(10**7, 10**8 - 1)}", m.email(), m.card()
    rid, ip = m.resident_id(), m.ipv4()
    text, hidden = m.pick(
        (f"密码：{secret}", secret), (f"数据库密码是{secret}，请勿外传", secret),
        (f"口令为“{secret}”", secret), (f"访问令牌: {secret}。", secret), (f"密钥={secret}", secret),
        (f"管理员密码改成了{secret}", secret), (f"用户名admin，密码{secret}", secret),
        (f"请联系{phone}处理", phone), (f"手机：{phone}", phone), (f"邮箱{mail}已失效", mail),
        (f"身份证号{rid}核验失败", rid), (f"银行卡{card}已冻结", card), (f"服务器{ip}宕机", ip),
        (f"账号：ada 密码：{secret}", secret), (f"座机010-{phone[1:9]}转8001", phone[1:9]),
    )  # fmt: skip
    return Planted("chinese", text, (hidden,))


def _personal(m: Maker) -> Planted:
    name = m.pick("email", "phone", "card", "iban", "ssn", "resident_id")
    value = getattr(m, name)()
    text = m.pick(
        "{}", "call or write {} today.", "({})", "a: {}, b", "| contact | {} |", '"x": "{}"', "<td>{}</td>",
        "x={};", "联系{}谢谢", "`{}`", "- {}\n- next", "From: {}\nTo: x", "“{}”", "**{}**",
    )  # fmt: skip
    return Planted(name, text.format(value), (value,))


def _network(m: Maker) -> Planted:
    four, six = m.ipv4(), m.ipv6()
    text, value = m.pick(
        (f"connect to {four}:5432 failed", four), (f"http://{four}:8080/x", four), (f"ip={four}", four),
        (f"{four} - - [10/Oct/2000:13:55:36] GET /", four), (f"subnet {four}/24", four),
        (f"ping {six}", six), (f"addr {six}/64 scope", six), (f"http://[{six}]:8080/", six),
        (f"inet6 addr:{six}", six), (f"IPv6: {six}", six), (f"listen [{six}]:80;", six), (f"{six},", six),
        (f"ip-{four.replace('.', '-')}.ec2.internal", four.replace(".", "-")), (f"({four})", four),
        (f"host {six} unreachable", six), (f'"address": "{six}"', six), (f"地址{six}不可达", six),
    )  # fmt: skip
    return Planted("network", text, (value.partition("%")[0],))


def _obfuscated(m: Maker) -> Planted:
    name, host, tld = (
        f"jane{m.int(10, 9999)}",
        m.pick("example", "firma", "corp"),
        m.pick("org", "com", "de"),
    )
    entities = "".join(f"&#{ord(c)};" for c in f"{name}@{host}.{tld}")
    percent = "".join(f"%{ord(c):02x}" for c in f"{name}@{host}.{tld}")
    text = m.pick(
        f"{name} [at] {host} [dot] {tld}", f"{name}(at){host}.{tld}", f"{name} AT {host} DOT {tld}",
        f"{name}&#64;{host}.{tld}", f"{name}&#x40;{host}&#46;{tld}", f"<a href='mailto:{entities}'>x</a>",
        f"mailto:{name}%40{host}.{tld}", f"mailto:{percent}", f"{name}\\u0040{host}.{tld}",
        f"{name}@{host}[.]{tld}", f"mailto:{name}@{host}.{tld}?subject=x", f"[{name}@{host}.{tld}](x)",
        f"{name}＠{host}.{tld}", f"{name} @ {host}.{tld}",
    )  # fmt: skip
    return Planted("obfuscated mail", text, (name, entities, percent))


def _split(m: Maker) -> Planted:
    secret = m.of(ALNUM, 24)
    one, two = secret[:11], secret[11:]
    token = f"ghp_{m.of(ALNUM, 36)}"
    jwt, wide = m.jwt(), m.base64_lines(90, 48)
    card = [str(m.int(1000, 9999)) for _ in range(3)]
    while luhn_sum("4111" + "".join(card)):
        card = [str(m.int(1000, 9999)) for _ in range(3)]
    mail = f"jane{m.int(10, 9999)}"
    text, hidden = m.pick(
        (f"PASSWORD={one}\\\n{two}\nNEXT=1", (one, two)), (f"password = {one}\\\n    {two}", (one, two)),
        (f"password=3D{one}=\n{two}\nrest", (one, two)), (f"token {token[:20]}=\n{token[20:]}", (token[20:],)),
        (f'key = ("{token[:18]}"\n       "{token[18:]}")', (token[18:],)),
        (f'password = "{one}" +\n    "{two}";', (one, two)), (f'apiKey = "{one}" + "{two}"', (one, two)),
        (f"{jwt[:60]}\n{jwt[60:]}", (jwt[60:],)),
        (f"Authorization: Bearer {jwt[:50]}\n {jwt[50:]}", (jwt[50:],)),
        ("private_key: |\n  " + "\n  ".join(wide), tuple(wide)),
        ("client_secret=" + "\n".join(wide), tuple(wide)),
        (f"card 4111 {card[0]}\n{card[1]} {card[2]}", (f"{card[1]} {card[2]}",)),
        (f"write to {mail}@\nexample.org", (mail,)), (f"curl \\\n  -u admin:{secret} \\\n  https://x.io", (secret,)),
        (f'"password":\n    "{secret}"', (secret,)), (f"password:\n{secret}", (secret,)),
        (f"mysql -u root \\\n  -p{secret} app", (secret,)), (f"the password is\n{secret}", (secret,)),
        (f"--password \\\n  {secret}", (secret,)), (f"+1 415\n{m.int(200, 999)}-{card[0]} call", (f"-{card[0]}",)),
    )  # fmt: skip
    return Planted("split across lines", text, hidden)


def _elsewhere(m: Maker) -> Planted:
    secret, mail = m.plain_password(), m.email()
    return m.pick(
        Planted("title", "see title", (secret,), title=f"Login fails with password={secret}"),
        Planted("title", f"it was {secret}", (secret,), title=f"password: {secret}"),
        Planted("title", "x", (mail,), title=f"Mail from {mail} bounced"),
        Planted("extra", "x", (secret,), extra={"password": secret}),
        Planted("extra", "x", (secret,), extra={"fields": [{"apiToken": secret, "count": 3}]}),
        Planted("extra", "x", (secret,), extra={"env": {"name": "DB_PASSWORD", "value": secret}}),
        Planted("extra", "x", (secret,), extra={"credentials": {"user": "ada", "value": secret}}),
        Planted("extra", "x", (mail,), extra={"watchers": [mail], "n": {mail: 1}}),
        Planted("extra", f"again {secret}", (secret,), extra={"note": f"token={secret}"}),
        Planted("extra", "x", (secret,), extra={"secrets": [secret, "x"]}),
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    _json, _env, _yaml, _url, _connection, _authorization, _headers, _jwt, _shape, _shape, _aws, _pem,
    _ssh, _xml, _code, _shell, _properties, _markdown, _sentence, _chinese, _personal, _personal,
    _network, _obfuscated, _split, _elsewhere,
)  # fmt: skip
_AROUND = (
    "{}", "Steps to reproduce:\n\n{}\n\nThen restart the server.", "{}\n", "h3. Setup\n{}\n----\nDone.",
    "The build 1.2.3 fails since 2015-10-07.\n{}",
)  # fmt: skip


def planted(seed: int, count: int = 400) -> list[Planted]:
    """`count` documents with secrets, each syntax about equally often."""
    m = Maker(seed)
    found: list[Planted] = []
    for number in range(count):
        case = CASES[number % len(CASES)](m)
        text = m.pick(*_AROUND).replace("{}", case.text)
        found.append(Planted(case.syntax, text, case.hidden, case.title, case.extra))
    return found
