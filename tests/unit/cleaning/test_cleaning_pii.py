from __future__ import annotations

import ipaddress
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.pii import Numbering, check, redact, redact_document, redact_quarantined
from alchemy.cleaning.pii_numbers import is_card, is_resident_id
from alchemy.cleaning.text import normalise
from alchemy.cleaning.tokens import wordpiece
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, Quarantined

patient = settings(deadline=None)  # a busy machine is no failure


def redacted(text: str) -> str:
    return redact(text, Numbering())


def document(**changes: object) -> Document:
    fields: dict[str, object] = {
        "id": "jira:XD-1",
        "source": "jira",
        "title": "Title",
        "text": "Text",
        "uri": "raw/jira/issues.jsonl#XD-1",
        "tenant": "default",
        "acl": ("everyone",),
    }
    return Document(**{**fields, **changes})  # type: ignore[arg-type]


# --- planted secrets --------------------------------------------------------------------------

SECRET_SYNTAXES = {
    "json": '{{"user": "ada", "password": "{}"}}',
    "json inside json": '{{"body": "{{\\"password\\": \\"{}\\"}}"}}',
    "single quotes": "connect(host='db', password='{}')",
    "env": "DB_PASSWORD={}",
    "export": "export API_KEY={}",
    "quoted env": 'SECRET_KEY="{}"',
    "properties": "spring.datasource.password = {}",
    "yaml": "auth:\n  password: {}\n  user: ada",
    "kubernetes env": "- name: DB_PASSWORD\n  value: {}",
    "name and value objects": '{{"name": "ACCESS_TOKEN", "value": "{}"}}',
    "xml element": "<password>{}</password>",
    "xml attributes": '<property name="password" value="{}"/>',
    "xml entry": '<entry key="client_secret">{}</entry>',
    "setter": 'client.setPassword("{}");',
    "hash rocket": ":password => '{}',",
    "option": "stream create --name=x --password={} --deploy",
    "option with blank": "login --user ada --password {} --host x",
    "query string": "GET /login?user=ada&access_token={}&next=1",
    "jdbc url": "jdbc:mysql://db:3306/app?user=ada&password={}&useSSL=false",
    "connection string": "Server=db;User Id=sa;Password={};Timeout=30",
    "url userinfo": "postgres://ada:{}@db.internal:5432/app",
    "url without user": "redis://:{}@cache:6379/0",
    "token in url": "https://{}@git.internal/team/repo.git",
    "bearer header": "Authorization: Bearer {}",
    "bearer in code": "headers = {{'Authorization': 'Bearer {}'}}",
    "api key header": "X-Api-Key: {}",
    "cookie": "Cookie: JSESSIONID={}; Path=/",
    "curl": "curl -u admin:{} https://repo.internal/x",
    "mysql": "mysql -h db -u root -p{} app",
    "sshpass": "sshpass -p {} ssh root@db",
    "sql": "CREATE USER app IDENTIFIED BY '{}'",
    "sentence": "the password is {}",
    "chinese": "密码：{}",
    "table": "| password | {} |",
    "columns apart by blanks": "user   password   role\nada    {}   admin",
    "html table": "<tr><th>user</th><th>password</th></tr>\n<tr><td>ada</td><td>{}</td></tr>",
    "signed url": "https://x.blob.core.windows.net/c/f?sv=2020&sig={}",
}


@pytest.mark.parametrize("syntax", SECRET_SYNTAXES.values(), ids=SECRET_SYNTAXES.keys())
@pytest.mark.parametrize("secret", ["hunter2hunter2xY", "tr0ub4dorAnd3horses", "9f8A7s6Dk1L0qP2w"])
def test_no_planted_credential_survives(syntax: str, secret: str) -> None:
    text = syntax.format(secret)
    result = redacted(text)
    assert secret not in result
    assert "[SECRET_1]" in result
    assert result.replace("[SECRET_1]", "").strip(), "the text around it stays"


@patient
@given(
    syntax=st.sampled_from(["DB_PASSWORD={}", '"password": "{}"', "<password>{}</password>"]),
    secret=st.text("abcdefXYZ0123456789!#%+,.;=@^_~-", min_size=8, max_size=40).filter(
        lambda s: re.search("[a-z]", s) and re.search("[0-9]", s)
    ),
)
def test_passwords_with_punctuation_leave_nothing_behind(syntax: str, secret: str) -> None:
    result = redacted(syntax.format(secret))
    assert secret not in result
    assert not any(piece in result for piece in re.findall(r"\w{5,}", secret))


@pytest.mark.parametrize(
    "secret",
    ["_000,00000=a", "=_00;a0=", "_x9,secret7=1", "+ad7b1Xa6e", "!599cfab", "==^-2,c=097,1e8Z0439"],
)
def test_a_password_that_begins_like_markup_or_code_is_one(secret: str) -> None:
    result = redacted(f"DB_PASSWORD={secret}")
    assert secret not in result
    assert not any(piece in result for piece in re.findall(r"\w{5,}", secret))


SHAPES = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "github_pat_11ABCDEFG0123456789_abcdefghijkl",
    "glpat-abcDEF123456ghiJKL78",
    "xoxb-123456789012-123456789012-abcdefghijABCDEFGHIJ1234",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXabcdEFGH1234ijklMNOP",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "rk_test_51ABCdefGHIjklMNOpqr",
    "whsec_abcdefghijklmnopqrstuvwx",
    "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
    "sk-proj-abcdefghij1234567890ABCDEFGHIJ",
    "hf_abcdefghijklmnopqrstuvwxyzABCDEF",
    "SG.abcdefghijklmnop1234.ABCDEFGHIJKLMNOPqrstuvwx",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7Zx5\nq83jAbCd==\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B\\n-----END PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nAAAAB3NzaC1lZDI1NTE5AAAA",
]


@pytest.mark.parametrize("between", ['" "', '" \\\n  "', '" +\n  "', '"\n  "'])
def test_literals_that_are_put_together_are_one_secret(between: str) -> None:
    text = f'password = "hunter2{between}tr0ub4dor"'
    assert redacted(text) == 'password = "[SECRET_1]"'


def test_the_response_of_a_digest_header_is_a_secret_and_the_user_is_none() -> None:
    header = 'Authorization: Digest username="ada", realm="x", uri="/d", response="{}", opaque="y"'
    secret = "6629fae49393a05397450978507c4ef1"
    assert redacted(header.format(secret)) == header.format("[SECRET_1]")


@pytest.mark.parametrize("token", SHAPES, ids=[shape[:12] for shape in SHAPES])
@pytest.mark.parametrize("around", ["{}", "key {} leaked", "see:{},", "“{}”", "密钥{}泄露"])
def test_tokens_are_known_by_their_shape_alone(token: str, around: str) -> None:
    result = redacted(around.format(token))
    assert "[SECRET_1]" in result
    longest = max(re.findall(r"[A-Za-z0-9+/_-]+", token.rpartition("services/")[2]), key=len)
    assert longest not in result


PERSONAL = {
    "EMAIL": [
        "ada@example.org",
        "Ada.Lovelace+news@mail.example.co.uk",
        "o'brien@example.com",
        "josé@exämple.de",
        "ada%40example.org",
        "ＡＤＡ＠example.org",
    ],
    "IP": [
        "10.1.2.3",
        "192.168.100.254",
        "203.0.113.7",
        "ip-10-2-209-174",
        "2001:db8::1",
        "fe80::1ff:fe23:4567:890a",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "::ffff:10.0.0.1",
    ],
    "PHONE": [
        "+1 (415) 555-2671",
        "+14155552671",
        "415-555-2671",
        "(415) 555-2671",
        "1-800-555-0199",
        "+44 20 7946 0958",
        "020 7946 0958",
        "+86 138 0013 8000",
        "13800138000",
        "138-0013-8000",
        "010-62345678",
        "0049 30 901820",
    ],
    "CARD": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0055-5555-5559",
        "378282246310005",
        "3782 822463 10005",
        "6011000990139424",
    ],
    "NATIONAL_ID": ["123-45-6789", "11010519491231002X", "440308199901101512"],
}


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in PERSONAL.items() for value in values]
)
@pytest.mark.parametrize("around", ["{}", "call {}.", "({})", "联系{}谢谢", "a: {}, b"])
def test_no_personal_data_survives(kind: str, value: str, around: str) -> None:
    assert redacted(around.format(value)) == around.format(f"[{kind}_1]")


@patient
@given(st.ip_addresses(v=4).filter(lambda ip: int(ip) >> 24 not in (0, 127, 255)))
def test_every_host_address_with_a_port_is_redacted(address: ipaddress.IPv4Address) -> None:
    assert redacted(f"connect to {address}:5432 now") == "connect to [IP_1]:5432 now"


@patient
@given(st.ip_addresses(v=6).filter(lambda ip: not ip.is_loopback and not ip.is_unspecified))
def test_every_ipv6_address_is_redacted(address: ipaddress.IPv6Address) -> None:
    text = str(address)
    if re.search(r"\d", text):
        assert redacted(f"listen [{text}]:80") == "listen [[IP_1]]:80"


# --- look-alikes ------------------------------------------------------------------------------

LOOK_ALIKES = [
    "version 1.2.3.4 of 1.0.0.RELEASE, 1.0.0.1.RELEASE, spring-xd-1.2.3.4.jar and v1.2.3.4",
    "HDP 2.2.4.2 with Kafka 0.8.2.1",
    "OID 1.3.6.1.4.1.311",
    "localhost:9393 and http://127.0.0.1:8080 and 0.0.0.0 and 255.255.255.0 and ::1",
    "port 5432, order 12345, 1,234,567.89 and $99.95",
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "md5 d41d8cd98f00b204e9800998ecf8427e",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "uuid 550e8400-e29b-41d4-a716-446655440000",
    "2015-10-07T20:46:44Z, 2015-10-07 12:30:45.123, 20151007 and 12:34:56",
    "epoch 1381234567 and 1381234567890",
    "https://github.com/spring/xd/blob/v1.2/README.md?plain=1#L10",
    "http://localhost:8080/x?to=1 and http://h:8080/x@y and https://medium.com/@user/post",
    "ssh://git@github.com/x/y.git and git@github.com:spring/x.git",
    "http://user:password@host and https://<user>:<password>@host and amqp://${user}:${pass}@host",
    "std::vector, a::b, add::bad and Foo::bar",
    "mac 00:1B:44:11:3A:B7",
    "fingerprint 43:51:43:a1:b5:fc:8b:b7:0a:3a:a9:b1:0f:66:73:a8",
    "password: the user's password",
    "The password is required. Enter your password: ",
    'label = "Enter your password"',
    "max_tokens: 180, tokens=180 and token: string",
    "password=${DB_PASSWORD} and password=$DB_PASSWORD and password: {{ vault.password }}",
    'password: **** and "password": null and password=""',
    "password = getPassword(); this.password = password; token = request.getHeader(name)",
    "Basic authentication, Bearer token and Basic AuthenticationProvider",
    "@Autowired logo@2x.png Object@1a2b3c and lodash@4.17.21",
    "ISBN 978-3-16-148410-0 and 9783161484100",
    "card 4111111111111112 and tweet 587884751219986432",
    "id 110105194912310021",
    "pass: 12, PWD=/home/x and docker run -u 1000:1000",
    "#### 3.2.1.4 Title",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "+0100, +08:00, 1e+10000000 and x +12345 y",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alikes_survive(text: str) -> None:
    assert redacted(text) == text


@patient
@given(st.uuids(), st.datetimes(), st.integers(0, 99), st.binary(min_size=20, max_size=32))
def test_identifiers_dates_versions_and_hashes_survive(uuid, moment, number, raw) -> None:
    text = f"{uuid} {moment.isoformat()} {number}.{number}.{number} {raw.hex()} :{number + 8000}"
    if not re.fullmatch(r"\d+", raw.hex()):
        assert redacted(text) == text


# --- properties -------------------------------------------------------------------------------

FRAGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(syntax.format("s3cr3tValue99") for syntax in SECRET_SYNTAXES.values()),
                *SHAPES,
                *(value for values in PERSONAL.values() for value in values),
                *LOOK_ALIKES,
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=6,
).map("\n".join)


@patient
@given(FRAGMENTS)
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


def test_one_value_has_one_placeholder_in_title_and_text() -> None:
    result, counts = redact_document(
        document(
            title="Mail ada@example.org",
            text="Bob@example.org wrote to ADA@example.org from 10.0.0.5; 10.0.0.6 refused 10.0.0.5.",
            uri="https://x.internal/?mail=bob@example.org",
        )
    )
    assert result.title == "Mail [EMAIL_1]"
    assert result.text == "[EMAIL_2] wrote to [EMAIL_1] from [IP_1]; [IP_2] refused [IP_1]."
    assert result.uri == "https://x.internal/?mail=[EMAIL_2]"
    assert counts == {"EMAIL": 4, "IP": 3}


def test_a_password_named_once_is_gone_wherever_it_stands() -> None:
    result, counts = redact_document(
        document(title="hunter22! fails", text="password: hunter22!\nThen type hunter22! again.")
    )
    assert "hunter22" not in result.title + result.text
    assert result.text == "password: [SECRET_1]\nThen type [SECRET_1] again."
    assert counts["SECRET"] == 3


def test_extra_values_are_redacted_and_a_secret_key_is_enough() -> None:
    extra = {
        "assignee": "ada@example.org",
        "nested": [{"apiToken": "abcdefgh", "count": 3, "labels": ["10.1.2.3", "ok"]}],
        "password": "letmein",
        "none": None,
    }
    result, _ = redact_document(document(extra=extra))
    dumped = json.dumps(result.extra)
    assert not any(secret in dumped for secret in ("ada@", "abcdefgh", "10.1.2.3", "letmein"))
    assert result.extra["nested"][0]["count"] == 3
    assert result.extra["nested"][0]["labels"][1] == "ok"


def test_an_address_in_an_id_becomes_the_same_pseudonym_in_every_run() -> None:
    first, _ = redact_document(document(id="database:crm/people/ada@example.org"))
    again, _ = redact_document(document(id="database:crm/people/ada@example.org", text="other"))
    other, _ = redact_document(document(id="database:crm/people/bob@example.org"))
    assert first.id == again.id != other.id
    assert "ada" not in first.id
    assert first.id.startswith("database:crm/people/email-")


def test_quarantine_lines_are_redacted() -> None:
    record = Quarantined("jira", "raw/jira/ada@example.org.json", "line 3", "from 10.1.2.3")
    expected = Quarantined("jira", "raw/jira/[EMAIL_1].json", "line 3", "from [IP_1]")
    assert redact_quarantined(record) == expected


def test_failing_redaction_stops_the_run_and_shows_nothing() -> None:
    with pytest.raises(AlchemyError) as caught:
        redact_document(document(title=None, text="password: hunter22"))
    assert caught.value.code is ErrorCode.REDACTION_FAILED
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


HOSTILE = [
    *(
        "://",
        "a.",
        "password=",
        "token:",
        '"password":"',
        "token ",
        "sk-",
        "eyJ",
        "+1 ",
        "1-",
        "::",
    ),
    *(
        "1.",
        "ab:",
        "@",
        "a@",
        "-----BEGIN PRIVATE KEY-----",
        "curl ",
        "mysql -",
        "Cookie: a=b; ",
        ".",
    ),
    *(
        "x",
        "1",
        " ",
        "\t",
        "Authorization: ",
        "jdbc:oracle:thin:a/",
        "${",
        "%40",
        "密码是",
        "'",
        '"',
    ),
    *(
        "=\n",
        "\\\n",
        "%41",
        "&#65;",
        'a" + "',
        "a,password\n",
        "|password|a",
        "a @ b.com ",
        "a [at] ",
    ),
    *(
        "\na1b2c3d4e5f6g7h8",
        "password / ",
        "user a pass ",
        "DE12 3456 ",
        "curl -u a:b \\\n",
        "AKIA",
    ),
    *(
        "<password>",
        "login a password ",
        "a:1234:b:c:",
        "Credentials(a, ",
        "[.]",
        "\\u0041",
        "1 2 3 ",
    ),
    *(
        'connect("a", ',
        "kind: Secret\ndata:\n a: b\n",
        "(password) VALUES (",
        "-u a -p ",
        "net use a ",
        "password set to ",
        "token: |\n  a\n",
        "use a/",
        "key=",
        "snmpwalk -",
        'send "',
        '"a b',
        "password 1 ",
        "a/b1@c:1 ",
        "echo a | ",
        "Digest ",
        'Digest a="b", ',
        "user  password  a\n",
        "<tr><td>password</td>",
        'password = "a" ',
    ),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    started = time.process_time()
    redact_document(document(text=normalise(text)))
    chunk_document(document(text=text + "\nend. Next"), wordpiece(), 64)
    assert time.process_time() - started < 3, "a quadratic step takes far longer"


def test_a_long_secret_goes_to_its_last_character() -> None:
    secret = "aB3/" * 1500
    assert redacted(f"PRIVATE_KEY={secret} next") == "PRIVATE_KEY=[SECRET_1] next"


def test_many_different_values_take_linear_time() -> None:
    text = "\n".join(f"user{n}@example.org password=Secret{n}x" for n in range(1_500))
    started = time.process_time()
    result, counts = redact_document(document(text=text))
    assert time.process_time() - started < 3
    assert counts == {"EMAIL": 1_500, "SECRET": 1_500}
    assert "[EMAIL_1500]" in result.text


def test_self_check_passes_here() -> None:
    check()


@pytest.mark.parametrize(
    ("number", "valid"),
    [("4111111111111111", True), ("4111111111111112", False), ("1234567890123452", False)],
)
def test_cards_need_an_issuer_and_the_luhn_sum(number: str, valid: bool) -> None:
    assert is_card(number) is valid


@pytest.mark.parametrize(
    ("number", "valid"),
    [("11010519491231002X", True), ("110105194912310021", False), ("11010519491331002X", False)],
)
def test_resident_ids_need_a_birth_date_and_the_checksum(number: str, valid: bool) -> None:
    assert is_resident_id(number) is valid


def test_a_key_that_goes_over_a_page_is_redacted_and_later_pages_keep_their_number() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0B" + "\n\f\n"
    key += "AQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----"
    text = redacted(f"One.\n{key}\nTwo.\n\f\nThree.")
    assert "MIIE" not in text and "AQEF" not in text
    assert text.count("\f") == 2
    assert redacted(text) == text
