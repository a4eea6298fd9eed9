"""A seeded corpus for redaction: planted secrets in many syntaxes, and look-alikes that must stay.

Every value is made for its seed, so a rule cannot know one by heart. Checksums (Luhn, IBAN, the
Chinese resident id) are computed here by other means than in the redactor.
"""

from __future__ import annotations

import base64
import datetime
import json
import random
import string
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
B64 = ALNUM + "+/"


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


@dataclass(frozen=True)
class LookAlike:
    """A text that redaction must not change."""

    kind: str
    text: str


class Maker:
    """Random values of the shapes that matter."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def of(self, alphabet: str, length: int) -> str:
        """Random characters; digits, upper and lower case all occur where the alphabet has them."""
        while True:
            value = "".join(self.rng.choices(alphabet, k=length))
            classes = (str.isdigit, str.isupper, str.islower)
            if all(any(map(c, value)) for c in classes if any(map(c, alphabet))) or length < 8:
                return value

    def pick(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def int(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def password(self) -> str:
        word = self.pick("hunter", "Winter", "dragon", "Sommer", "falcon", "monkey", "Quartz")
        return self.pick(
            lambda: self.of(ALNUM, self.int(10, 24)),
            lambda: self.of(ALNUM, self.int(9, 14)) + self.pick("!", "#", "$", "%", "^", "~"),
            lambda: f"{word}{self.int(10, 9999)}{self.pick('!', '', '?', '_x', '$$')}",
            lambda: self.of(ALNUM + "!#*+-.~^_", self.int(12, 20)) + "7x",
            lambda: f"{word}-{self.pick('horse', 'battery', 'staple')}-{self.int(10, 99)}",
        )()

    def plain_password(self) -> str:
        """Without characters that some syntaxes give a meaning."""
        return self.of(ALNUM, self.int(10, 22))

    def user(self) -> str:
        return self.pick("ada", "svc_app", "root", "deploy", "jane.roe", "admin")

    def host(self) -> str:
        return self.pick("db", "cache-01", "mq.internal", "repo.corp.example", "pg-main.prod.local")

    # --- personal data

    def ipv4(self) -> str:
        first = self.pick(10, 172, 192, 203, 198, 85, 34)
        return f"{first}.{self.int(16, 254)}.{self.int(0, 254)}.{self.int(1, 254)}"

    def ipv6(self) -> str:
        groups = [f"{self.int(0x100, 0xFFFF):x}" for _ in range(8)]
        tail = f"{self.int(1, 9)}{self.int(0x10, 0xFFF):x}"
        return self.pick(
            ":".join(groups),
            f"2001:db8::{tail}",
            f"fd{groups[0][:2].zfill(2)}:{groups[1]}::{groups[2]}:{tail}",
            f"fe80::{groups[0]}:{tail}%{self.pick('eth0', 'en1', 'wlan0', 'ens192', '3')}",
            f"2a02:{groups[3]}:{groups[4]}::{tail}",
            f"::ffff:{self.ipv4()}",
        )

    def phone(self) -> str:
        n = self.int
        return self.pick(
            f"+1 ({n(201, 989)}) {n(200, 999)}-{n(1000, 9999)}",
            f"+1-{n(201, 989)}-{n(200, 999)}-{n(1000, 9999)}",
            f"+1{n(201, 989)}{n(200, 999)}{n(1000, 9999)}",
            f"({n(201, 989)}) {n(200, 999)}-{n(1000, 9999)}",
            f"{n(201, 989)}-{n(200, 999)}-{n(1000, 9999)}",
            f"{n(201, 989)}.{n(200, 999)}.{n(1000, 9999)}",
            f"1-800-{n(200, 999)}-{n(1000, 9999)}",
            f"+44 20 {n(7000, 8999)} {n(1000, 9999)}",
            f"020 {n(7000, 8999)} {n(1000, 9999)}",
            f"+49 {n(30, 89)} {n(100000, 99999999)}",
            f"+49 (0){n(30, 89)} {n(1000000, 9999999)}",
            f"+33 {n(1, 7)} {n(10, 99)} {n(10, 99)} {n(10, 99)} {n(10, 99)}",
            f"0049 {n(30, 89)} {n(100000, 999999)}",
            f"+91 {n(70000, 99999)} {n(10000, 99999)}",
            f"+86 1{n(30, 99)} {n(1000, 9999)} {n(1000, 9999)}",
            f"+86-1{n(30, 99)}{n(10000000, 99999999)}",
            f"1{n(30, 99)}{n(10000000, 99999999)}",
            f"1{n(30, 99)}-{n(1000, 9999)}-{n(1000, 9999)}",
            f"1{n(30, 99)} {n(1000, 9999)} {n(1000, 9999)}",
            f"0{n(10, 29)}-{n(20000000, 89999999)}",
            f"0{n(311, 999)}-{n(2000000, 8999999)}",
            f"(0{n(10, 29)}) {n(20000000, 89999999)}",
            f"400-{n(600, 999)}-{n(1000, 9999)}",
        )

    def card(self) -> str:
        prefix, length = self.pick(
            ("4", 16), (str(self.int(51, 55)), 16), ("37", 15), ("6011", 16), ("62", 16), ("3566", 16)
        )
        body = prefix + "".join(self.rng.choices("0123456789", k=length - len(prefix) - 1))
        number = next(body + d for d in "0123456789" if luhn_sum(body + d) == 0)
        if length == 15:
            spaced = (number[:4], number[4:10], number[10:])
        else:
            spaced = tuple(number[i : i + 4] for i in range(0, 16, 4))
        return self.pick(number, " ".join(spaced), "-".join(spaced))

    def iban(self) -> str:
        country, length = self.pick(("DE", 18), ("FR", 23), ("GB", 18), ("NL", 14), ("CH", 17))
        if country in ("GB", "NL"):
            bban = self.of(string.ascii_uppercase, 4) + "".join(
                self.rng.choices(string.digits, k=length - 4)
            )
        else:
            bban = "".join(self.rng.choices(string.digits, k=length))
        number = int("".join(str(int(c, 36)) for c in bban + country + "00"))
        whole = f"{country}{98 - number % 97:02d}{bban}"
        return self.pick(whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4)))

    def ssn(self) -> str:
        return f"{self.int(101, 665)}-{self.int(10, 99)}-{self.int(1000, 9999)}"

    def resident_id(self) -> str:
        area = self.pick("110105", "310104", "440308", "510107", "330106")
        born = datetime.date(1950, 1, 1) + datetime.timedelta(self.int(0, 20_000))
        body = f"{area}{born:%Y%m%d}{self.int(1, 999):03d}"
        total = sum(int(d) * pow(2, 17 - i, 11) for i, d in enumerate(body))
        return body + "0123456789X"[(12 - total % 11) % 11]

    def email(self) -> str:
        name = self.pick("ada", "jane.roe", "o.brien", "j_smith", "li.wei", "marie-claire")
        name += str(self.int(1, 9999))
        domain = self.pick("example.org", "mail.example.co.uk", "corp.example.com", "firma.de")
        return self.pick(
            f"{name}@{domain}",
            f"{name}+{self.pick('news', 'jira', 'ci')}@{domain}",
            f"josé{self.int(1, 999)}@exämple.de",
            f"{name.upper()}@{domain}",
        )

    # --- tokens with a shape

    def jwt(self) -> str:
        def part(value: dict[str, Any]) -> str:
            raw = json.dumps(value, separators=(",", ":")).encode()
            return base64.urlsafe_b64encode(raw).decode().rstrip("=")

        head = part({"alg": self.pick("HS256", "RS256"), "typ": "JWT"})
        body = part({"sub": str(self.int(10**9, 10**10)), "iat": self.int(10**9, 2 * 10**9)})
        return f"{head}.{body}.{self.of(URLSAFE, 43)}"

    def token(self) -> str:
        o = self.of
        return self.pick(
            lambda: f"{self.pick('AKIA', 'ASIA')}{o(string.ascii_uppercase + '234567', 16)}",
            lambda: f"{self.pick('ghp', 'gho', 'ghs', 'ghu')}_{o(ALNUM, 36)}",
            lambda: f"github_pat_{o(ALNUM, 22)}_{o(ALNUM, 59)}",
            lambda: f"glpat-{o(URLSAFE, 20)}",
            lambda: f"xoxb-{self.int(10**11, 10**12)}-{self.int(10**11, 10**12)}-{o(ALNUM, 24)}",
            lambda: f"xoxp-{self.int(10**11, 10**12)}-{self.int(10**11, 10**12)}-{o(HEX, 32)}",
            lambda: f"sk_live_{o(ALNUM, 24)}",
            lambda: f"rk_test_{o(ALNUM, 24)}",
            lambda: f"AIza{o(URLSAFE, 35)}",
            lambda: f"ya29.{o(URLSAFE, 60)}",
            lambda: f"GOCSPX-{o(URLSAFE, 28)}",
            lambda: f"{o(ALNUM, 3)}8Q~{o(ALNUM + '_~.-', 34)}",
            lambda: f"npm_{o(ALNUM, 36)}",
            lambda: f"pypi-AgEIcHlwaS5vcmc{o(URLSAFE, 60)}",
            lambda: f"hf_{o(string.ascii_letters, 34)}",
            lambda: f"sk-proj-{o(ALNUM, 48)}",
            lambda: f"sk-ant-api03-{o(URLSAFE, 60)}",
            lambda: f"SG.{o(ALNUM, 22)}.{o(ALNUM, 43)}",
            lambda: f"hvs.{o(ALNUM, 24)}",
            lambda: f"dop_v1_{o(HEX, 64)}",
            lambda: f"dapi{o(HEX, 32)}",
            lambda: f"dckr_pat_{o(URLSAFE, 27)}",
            lambda: f"{self.int(10**8, 10**10)}:AA{o(URLSAFE, 33)}",
            lambda: f"ATATT3xFfGF0{o(URLSAFE, 60)}",
            lambda: f"glsa_{o(ALNUM, 32)}_{o(HEX, 8)}",
            lambda: f"whsec_{o(ALNUM, 32)}",
        )()

    def secret_key(self) -> str:
        """An AWS secret access key."""
        while True:
            value = self.of(B64, 40)
            if value[0] != "/":
                return value

    def base64_lines(self, size: int, width: int) -> list[str]:
        raw = base64.b64encode(bytes(self.rng.randrange(256) for _ in range(size))).decode()
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def pem(self) -> tuple[list[str], tuple[str, ...]]:
        name = self.pick(
            "RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK",
        )  # fmt: skip
        lines = self.base64_lines(self.int(100, 400), 64)
        whole = [f"-----BEGIN {name}-----", *lines, f"-----END {name}-----"]
        return whole, tuple(line for line in lines if len(line) > 6)


def luhn_sum(number: str) -> int:
    """0 for a number that passes."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + position % 2)
        total += value // 10 + value % 10
    return total % 10


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
    scheme = m.pick("postgres", "https", "http", "ftp", "amqp", "redis", "mongodb+srv", "mysql", "ldap")
    host = m.pick("db.internal:5432", "cache", "repo.example.org", "10.1.2.3:5672", "[2001:db8::7]")
    url = f"{scheme}://{m.user()}:{secret}@{host}/app"
    text = m.pick(url, f"see {url}.", f"[link]({url})", f"<{url}>", f'url = "{url}"', f"访问{url}即可")
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
        ("Basic", basic), ("Bearer", m.of(URLSAFE, 40)), ("Bearer", m.jwt()), ("Token", m.of(HEX, 40))
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
    name, host, tld = f"jane{m.int(10, 9999)}", m.pick("example", "firma", "corp"), m.pick("org", "com", "de")
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


def look_alikes(seed: int, count: int = 400) -> list[LookAlike]:
    """`count` texts that hold nothing to hide."""
    m = Maker(seed + 10_000)
    makers = list(_innocent(m))
    return [LookAlike(kind, make()) for kind, make in (makers[n % len(makers)] for n in range(count))]


def _innocent(m: Maker) -> Iterator[tuple[str, Callable[[], str]]]:
    n = m.int

    def no_card() -> str:
        while True:
            number = "4" + "".join(m.rng.choices("0123456789", k=15))
            if luhn_sum(number):
                return m.pick(number, " ".join(number[i : i + 4] for i in range(0, 16, 4)))

    def moment() -> datetime.datetime:
        return datetime.datetime(2012, 1, 1) + datetime.timedelta(seconds=n(0, 4 * 10**8))

    def semver() -> str:
        return f"{n(0, 20)}.{n(0, 30)}.{n(0, 40)}"

    def described() -> str:
        return m.pick(
            "password: required", "password: the user's password", "Password: string", "password (optional)",
            "The password is required.", "token: the token of the session", "secret: see the wiki",
            "Enter your password:", "password: must be 8 characters", "forgot password?", "Secret Santa 2023",
            "API key: contact your administrator", "the password field is empty", "max_tokens: 4096",
            "password is incorrect", "password has expired", "tokenizer: BertTokenizerFast", "token count = 512",
            "reset the password for all users", "passwordless login", "a secret between two people",
            "password policy: strong", "password strength and token expiry", "The credentials are invalid",
            "密码不能为空", "密码：必填", "请输入密码", "密码错误，请重试", "忘记密码", "令牌已过期", "密码长度至少8位",
            "def reset_password(user):", "token = parser.next()", "password = getPassword();", "token=None",
            "this.password = password;", "password = request.form['password']", "if token == null", "key: value",
            "password_reset_url: https://x.io/reset", "user, password = load()", "Basic authentication fails",
            "Bearer of bad news", "the pass rate is 98.5%", "boarding pass 12", "sort key: created_at",
            "primary key (id)", "foreign_key = user_id", "tokens: 1024, words: 800", "token_type: bearer",
            '"type": "password"', 'label = "Password"', 'placeholder="Enter your password"', "grant_type=password",
            "password.length() > 8", 'getString("password")', "params[:password]", "password: String,", "type=password",
        )  # fmt: skip

    def stand_in() -> str:
        value = m.pick(
            "${DB_PASSWORD}", "$DB_PASSWORD", "<token>", "<your-password>", "xxxx", "XXXXXXXX", "****", "changeme",
            "{{ vault.db_password }}", "%DB_PASSWORD%", "YOUR_API_KEY", "your-password-here", "...", "null",
            "[REDACTED]", "$(cat /run/secrets/db)", "REPLACE_ME", "os.environ['DB_PASSWORD']", "${{ secrets.TOKEN }}",
            "@db.password@", "#{ENV['DB_PASSWORD']}", "/run/secrets/db_password", "process.env.DB_PASSWORD", "<secret>",
            "$1", "%s", "{0}", "{password}", ":password", "?", "TODO", "secretKeyRef",
        )  # fmt: skip
        return m.pick("password={}", "password: {}", "DB_PASSWORD={}", "token: {}").format(value)

    def url() -> str:
        word = m.pick("guide", "README.md", "browse/XD-12", "a/b/c.html", f"v{semver()}/index.html")
        return m.pick(
            f"https://github.com/spring/xd/blob/{m.of(HEX, 40)}/README.md#L10", f"http://localhost:{n(1024, 9999)}/x",
            f"https://example.org/{word}?page={n(1, 99)}&sort=asc", f"ssh://git@github.com/x/y.git",
            f"https://x.io/download/app-{semver()}.tar.gz", "git@github.com:spring/x.git", "http://127.0.0.1:8080/",
            f"https://x.io/items/{uuid.UUID(int=m.rng.getrandbits(128))}", "https://medium.com/@user/post-1",
            f"http://nexus:8081/repository/{word}", "file:///etc/hosts", f"https://x.io/{n(10**8, 10**9)}/edit",
            "http://<user>:<password>@host/", "https://${USER}:${PASS}@x.io/", "postgres://user:password@localhost/db",
            f"https://x.io/?redirect=https%3A%2F%2Fx.io%2Fa%20b&lang=en", f"s3://bucket/{word}", "jdbc:h2:mem:test",
        )  # fmt: skip

    yield "semver", lambda: m.pick(f"v{semver()}", f"{semver()}-SNAPSHOT", f"^{semver()}", f"{semver()}.RELEASE", f"lib-{semver()}.jar")  # fmt: skip
    yield "four-part version", lambda: m.pick(f"version {semver()}.{n(0, 9)}", f"v{semver()}.{n(1, 200)}", f"{n(1, 9)}.{n(0, 9)}.{n(0, 9)}.{n(0, 9)}", f"build {semver()}.{n(1, 99)}", f"app-{semver()}.{n(1, 9)}.jar", f"{semver()}.{n(1, 9)}.Final", f"log4net, Version={semver()}.{n(0, 9)}, Culture=neutral", f"curl/{semver()}.{n(0, 9)}")  # fmt: skip
    yield "build number", lambda: m.pick(f"build #{n(1, 99999)}", f"build-{moment():%Y%m%d}.{n(1, 9)}", f"rev {n(10000, 99999)}", f"r{n(10**5, 10**6)}", f"Jenkins build {n(10**3, 10**5)}")  # fmt: skip
    yield "git hash", lambda: m.pick(f"commit {m.of(HEX, 40)}", f"fixed in {m.of(HEX, 7)}", f"index {m.of(HEX, 7)}..{m.of(HEX, 7)} 100644", f"merge {m.of(HEX, 12)}")  # fmt: skip
    yield "checksum", lambda: m.pick(f"md5 {m.of(HEX, 32)}", f"sha256:{m.of(HEX, 64)}", f"{m.of(HEX, 64)}  app.tar.gz", f"sha1sum={m.of(HEX, 40)}", f"ETag: \"{m.of(HEX, 32)}\"", f"integrity sha512-{m.of(B64, 86)}==", f"{m.of(HEX, 128)}", f"SHA256:{m.of(B64, 43)}")  # fmt: skip
    yield "uuid", lambda: m.pick("id {}", "{}", "urn:uuid:{}", "/items/{}/edit", "{{{}}}", "session {} closed").format(uuid.UUID(int=m.rng.getrandbits(128), version=4))  # fmt: skip
    yield "port", lambda: m.pick(f"port {n(1024, 65535)}", f"localhost:{n(1024, 65535)}", f":{n(1024, 65535)}", f"0.0.0.0:{n(1, 65535)}->80/tcp", f"ports {n(8000, 8999)}-{n(9000, 9999)}", f"127.0.0.1:{n(1, 65535)}")  # fmt: skip
    yield "date", lambda: m.pick(f"{moment():%Y-%m-%d}", f"{moment():%d.%m.%Y}", f"{moment():%m/%d/%Y}", f"{moment():%Y%m%d}", f"{moment():%Y年%m月%d日}", f"{moment():%d %b %Y}", f"{moment():%Y/%m/%d}", f"{moment():%Y-W%W}")  # fmt: skip
    yield "time", lambda: m.pick(f"{moment().isoformat()}Z", f"{moment():%Y-%m-%d %H:%M:%S,123}", f"{moment():%H:%M:%S}", f"{moment().isoformat()}+08:00", f"{moment():%a, %d %b %Y %H:%M:%S +0000}", f"epoch {n(10**9, 2 * 10**9)}", f"ts={n(10**12, 2 * 10**12)}", f"[{moment():%d/%b/%Y:%H:%M:%S -0700}]")  # fmt: skip
    yield "isbn", lambda: m.pick(f"ISBN 978-3-16-{n(100000, 999999)}-{n(0, 9)}", f"ISBN 0-{n(100, 999)}-{n(10000, 99999)}-X", f"ISBN 978{n(10**9, 10**10 - 1)}", f"ISSN {n(1000, 9999)}-{n(1000, 9999)}")  # fmt: skip
    yield "issue key", lambda: m.pick(f"XD-{n(1, 9999)}", f"see PROJ-{n(1, 99999)} and JIRA-{n(1, 999)}", f"GH-{n(1, 999)}", f"CVE-{n(1999, 2024)}-{n(1000, 99999)}", f"RFC {n(1000, 9000)}", f"#{n(1, 99999)}")  # fmt: skip
    yield "url", url
    yield "file path", lambda: m.pick("/usr/lib/jvm/java-8/bin", "C:\\Users\\Public\\file.txt", f"src/main/java/App{n(1, 99)}.java:{n(1, 999)}", f"/var/log/app-{moment():%Y-%m-%d}.log", "./gradlew build", "~/.ssh/id_rsa.pub", "/etc/passwd", "conf/secret.key", "//server/share/token.txt", "id_rsa", "password.txt")  # fmt: skip
    yield "class name", lambda: m.pick("org.springframework.xd.dirt.Server", "com.example.PasswordEncoder", "java.lang.NullPointerException", "std::vector<int>", "foo::bar::Baz", "TokenStream.next()", "at com.x.Secret.run(Secret.java:42)", "SecretKeySpec", "Object@1a2b3c", "AbstractSingletonProxyFactoryBean", "module.exports.apiKeyValidator", "lodash@4.17.21", "@Autowired", "@types/node@18.11.9")  # fmt: skip
    yield "colour", lambda: m.pick(f"#{m.of(HEX, 6)}", "#fff", f"color: #{m.of(HEX, 6)};", f"rgba({n(0, 255)}, {n(0, 255)}, {n(0, 255)}, 0.{n(1, 9)})")  # fmt: skip
    yield "number", lambda: m.pick(f"{n(1, 99)} + {n(1, 99)} = {n(100, 200)}", f"{n(1, 9)},{n(100, 999)},{n(100, 999)}.{n(10, 99)}", f"3.14159265358979", f"1e-{n(3, 12)}", f"x^{n(2, 9)} + y", f"${n(1, 999)}.99", f"{n(1, 99)}%", f"[{n(1, 9)}, {n(10, 99)}, {n(100, 999)}]", f"{n(100, 999)} x {n(100, 999)}", f"0x{m.of(HEX, 8)}", f"{n(10, 89)}.{n(1000, 9999)}, -{n(10, 120)}.{n(1000, 9999)}", f"{n(1000, 9999)} {n(1000, 9999)}", f"{n(10**6, 10**7)} bytes", f"{n(10**9, 10**10)} ns", f"{n(1, 9)}-{n(10, 99)}-{n(100, 999)}")  # fmt: skip
    yield "described", described
    yield "described", described
    yield "stand-in", stand_in
    yield "stand-in", stand_in
    yield "mac address", lambda: m.pick(":", "-").join(f"{n(0, 255):02x}" for _ in range(6))
    yield "no card", lambda: m.pick("order {}", "id {}", "{}").format(no_card())
    yield "order number", lambda: m.pick(f"order no. {n(10**9, 10**10)}", f"ticket 415-555-{n(1000, 9999)}", f"INC{n(10**6, 10**7)}", f"case #{n(200, 999)}-{n(200, 999)}-{n(1000, 9999)}", f"PO-{n(2000, 2024)}-{n(10**5, 10**6)}", f"SKU {n(100, 999)}-{n(1000, 9999)}-{n(10, 99)}", f"订单号{n(10**11, 10**12)}", f"invoice {n(10**6, 10**7)}/{n(10, 99)}", f"tracking 1Z{m.of(UPPER, 16)}", f"工单编号13{n(10**8, 10**9)}")  # fmt: skip
    yield "fingerprint", lambda: ":".join(f"{n(0, 255):02x}" for _ in range(16))
    yield "certificate", lambda: "-----BEGIN CERTIFICATE-----\n" + "\n".join(m.base64_lines(200, 64)) + "\n-----END CERTIFICATE-----"  # fmt: skip
    yield "loopback", lambda: m.pick("::1", "[::1]:8080", "localhost", "127.0.0.1", "0.0.0.0", "255.255.255.0", "::")
    yield "identifier", lambda: m.pick(f"user_{n(1, 999)}", f"i-{m.of(HEX, 17)}", f"ami-{m.of(HEX, 8)}", f"arn:aws:s3:::bucket-{n(1, 99)}", f"node{n(1, 99)}", f"tweet {n(10**17, 9 * 10**17)}", f"req-{m.of(HEX, 12)}", f"container {m.of(HEX, 12)}", f"JIRAUSER{n(10000, 99999)}", f"customfield_{n(10000, 19999)}")  # fmt: skip
