"""Texts that hold nothing to hide, seeded like `pii_corpus`: redaction must not change them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pii_values import B64, HEX, UPPER, Maker, luhn_sum


@dataclass(frozen=True)
class LookAlike:
    """A text that redaction must not change."""

    kind: str
    text: str


def look_alikes(seed: int, count: int = 400) -> list[LookAlike]:
    """`count` texts that hold nothing to hide."""
    m = Maker(seed + 10_000)
    makers = list(_innocent(m))
    return [
        LookAlike(kind, make()) for kind, make in (makers[n % len(makers)] for n in range(count))
    ]


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
            f"https://example.org/{word}?page={n(1, 99)}&sort=asc", "ssh://git@github.com/x/y.git",
            f"https://x.io/download/app-{semver()}.tar.gz", "git@github.com:spring/x.git", "http://127.0.0.1:8080/",
            f"https://x.io/items/{uuid.UUID(int=m.rng.getrandbits(128))}", "https://medium.com/@user/post-1",
            f"http://nexus:8081/repository/{word}", "file:///etc/hosts", f"https://x.io/{n(10**8, 10**9)}/edit",
            "http://<user>:<password>@host/", "https://${USER}:${PASS}@x.io/", "postgres://user:password@localhost/db",
            "https://x.io/?redirect=https%3A%2F%2Fx.io%2Fa%20b&lang=en", f"s3://bucket/{word}", "jdbc:h2:mem:test",
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
    yield "number", lambda: m.pick(f"{n(1, 99)} + {n(1, 99)} = {n(100, 200)}", f"{n(1, 9)},{n(100, 999)},{n(100, 999)}.{n(10, 99)}", "3.14159265358979", f"1e-{n(3, 12)}", f"x^{n(2, 9)} + y", f"${n(1, 999)}.99", f"{n(1, 99)}%", f"[{n(1, 9)}, {n(10, 99)}, {n(100, 999)}]", f"{n(100, 999)} x {n(100, 999)}", f"0x{m.of(HEX, 8)}", f"{n(10, 89)}.{n(1000, 9999)}, -{n(10, 120)}.{n(1000, 9999)}", f"{n(1000, 9999)} {n(1000, 9999)}", f"{n(10**6, 10**7)} bytes", f"{n(10**9, 10**10)} ns", f"{n(1, 9)}-{n(10, 99)}-{n(100, 999)}")  # fmt: skip
    yield "described", described
    yield "described", described
    yield "stand-in", stand_in
    yield "stand-in", stand_in
    yield "mac address", lambda: m.pick(":", "-").join(f"{n(0, 255):02x}" for _ in range(6))
    yield "no card", lambda: m.pick("order {}", "id {}", "{}").format(no_card())
    yield "order number", lambda: m.pick(f"order no. {n(10**9, 10**10)}", f"ticket 415-555-{n(1000, 9999)}", f"INC{n(10**6, 10**7)}", f"case #{n(200, 999)}-{n(200, 999)}-{n(1000, 9999)}", f"PO-{n(2000, 2024)}-{n(10**5, 10**6)}", f"SKU {n(100, 999)}-{n(1000, 9999)}-{n(10, 99)}", f"订单号{n(10**11, 10**12)}", f"invoice {n(10**6, 10**7)}/{n(10, 99)}", f"tracking 1Z{m.of(UPPER, 16)}", f"工单编号13{n(10**8, 10**9)}")  # fmt: skip
    yield "fingerprint", lambda: ":".join(f"{n(0, 255):02x}" for _ in range(16))
    yield "certificate", lambda: "-----BEGIN CERTIFICATE-----\n" + "\n".join(m.base64_lines(200, 64)) + "\n-----END CERTIFICATE-----"  # fmt: skip
    yield (
        "loopback",
        lambda: m.pick(
            "::1", "[::1]:8080", "localhost", "127.0.0.1", "0.0.0.0", "255.255.255.0", "::"
        ),
    )
    yield "identifier", lambda: m.pick(f"user_{n(1, 999)}", f"i-{m.of(HEX, 17)}", f"ami-{m.of(HEX, 8)}", f"arn:aws:s3:::bucket-{n(1, 99)}", f"node{n(1, 99)}", f"tweet {n(10**17, 9 * 10**17)}", f"req-{m.of(HEX, 12)}", f"container {m.of(HEX, 12)}", f"JIRAUSER{n(10000, 99999)}", f"customfield_{n(10000, 19999)}")  # fmt: skip
