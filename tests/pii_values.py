"""Random values for the corpus of redaction: every seed makes others.

Checksums (Luhn, IBAN, the Chinese resident id) are computed here by other means than in the redactor.
"""

from __future__ import annotations

import base64
import datetime
import json
import random
import string
from typing import Any

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
B64 = ALNUM + "+/"


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
            ("4", 16),
            (str(self.int(51, 55)), 16),
            ("37", 15),
            ("6011", 16),
            ("62", 16),
            ("3566", 16),
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
