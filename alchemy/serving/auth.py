"""Accounts in Redis, passwords as salted hashes, and the signed tokens that stand for a login.

A token names its user and that user's epoch; roles and groups are read from the account at each
request, so a disabled user or a changed password ends every token at once.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

import jwt
from passlib.handlers.pbkdf2 import pbkdf2_sha256

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import KeyValue
from alchemy.serving.admission import Admission, Busy
from alchemy.types import PUBLIC_GROUP, Principal

ROLES = ("user", "reviewer", "service", "admin")
"""`service` may ingest, `reviewer` decides on feedback, `admin` may do everything."""
ADMIN = "admin"
DEFAULT_TENANT = "default"
PRIVATE_PREFIX = "user:"
"""Groups of this form mark what nobody else may read (`sessions.readers`); none can be assigned."""

_ISSUER = "data-alchemy"
_ALGORITHM = "HS256"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_MIN_PASSWORD = 10
_MIN_SECRET_BYTES = 32
_CLOCK_SKEW_S = 5
_HASH_ROUNDS = 600_000


class Accounts:
    """Users, logins and tokens.

    Args:
        kv: where accounts live, `user:<name>` each.
        secret: signing key, at least 32 bytes.
        ttl_s: life of a token.
        max_failures: wrong passwords per user within `window_s` before logins are refused.
        hash_rounds: PBKDF2 iterations for new passwords.
    """

    def __init__(
        self,
        kv: KeyValue,
        secret: str,
        ttl_s: int,
        *,
        max_failures: int = 8,
        window_s: float = 300.0,
        hash_rounds: int = _HASH_ROUNDS,
    ) -> None:
        if len(secret.encode()) < _MIN_SECRET_BYTES:
            raise AlchemyError(
                ErrorCode.CONFIG_INVALID,
                f"serving.jwt_secret is shorter than {_MIN_SECRET_BYTES} bytes",
                "Set ALCHEMY_JWT_SECRET to a random value, e.g. from `openssl rand -hex 32`.",
            )
        self._kv = kv
        self._secret = secret
        self._ttl_s = ttl_s
        self._max_failures = max_failures
        self._window_s = window_s
        self._hasher = pbkdf2_sha256.using(rounds=hash_rounds)
        # verified in place of a missing account, so that its answer takes as long
        self._decoy: str = pbkdf2_sha256(
            salt=os.urandom(16), checksum=os.urandom(32), rounds=hash_rounds
        ).to_string()
        # hashing is CPU work that anyone may cause: it must not crowd out the service
        self._hashing = Admission(ongoing=2, queued=64)

    async def create_user(
        self,
        user: str,
        password: str,
        *,
        tenant: str = DEFAULT_TENANT,
        roles: Sequence[str] = ("user",),
        groups: Sequence[str] = (),
    ) -> None:
        """Add a user.

        Raises:
            AlchemyError: INPUT_INVALID for a bad name, password, role or group; CONFLICT when
                the name is taken.
        """
        if not _NAME.fullmatch(user):
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"{user!r} cannot be a user name",
                "Use up to 128 letters, digits and . _ @ -, starting with a letter or digit.",
            )
        if unknown := set(roles) - set(ROLES):
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"unknown role {sorted(unknown)[0]!r}",
                f"Roles: {', '.join(ROLES)}.",
            )
        if not tenant or any(not group or group.startswith(PRIVATE_PREFIX) for group in groups):
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"tenant and groups of {user!r} may not be empty or start with {PRIVATE_PREFIX!r}",
            )
        record = {
            "hash": await self._hash(password),
            "tenant": tenant,
            "roles": sorted(set(roles)),
            "groups": sorted({PUBLIC_GROUP, *groups}),
            "disabled": False,
            "epoch": secrets.token_hex(8),
        }
        if not await self._kv.create(_key(user), record):
            raise AlchemyError(ErrorCode.CONFLICT, f"user {user!r} exists", "Choose another name.")

    async def ensure_admin(self, tenant: str = DEFAULT_TENANT) -> str | None:
        """Create the first administrator; the password, or None when there is one already.

        The password is returned this once and stored nowhere.
        """
        if await self._kv.get(_key(ADMIN)) is not None:
            return None
        password = secrets.token_urlsafe(15)
        try:
            await self.create_user(ADMIN, password, tenant=tenant, roles=("admin",))
        except AlchemyError as error:
            if error.code is ErrorCode.CONFLICT:  # another process was first
                return None
            raise
        return password

    async def set_password(self, user: str, password: str) -> None:
        """Replace the password; tokens given out before are void."""
        hashed = await self._hash(password)
        await self._change(user, hash=hashed, epoch=secrets.token_hex(8))
        await self._kv.delete(_failures_key(user))

    async def disable(self, user: str, disabled: bool = True) -> None:
        """Lock an account, or unlock it; tokens given out before are void either way."""
        await self._change(user, disabled=disabled, epoch=secrets.token_hex(8))

    async def list_users(self) -> list[dict[str, Any]]:
        """All accounts by name: `user`, `tenant`, `roles`, `groups`, `disabled`."""
        found: list[dict[str, Any]] = []
        for key in await self._kv.scan(_key("")):
            record = await self._kv.get(key)
            if record is not None:
                shown = {k: record[k] for k in ("tenant", "roles", "groups", "disabled")}
                found.append({"user": key.removeprefix(_key("")), **shown})
        return found

    async def login(self, user: str, password: str) -> tuple[str, Principal]:
        """A token and whom it stands for.

        Raises:
            AlchemyError: AUTH_FAILED, the same for an unknown user, a wrong password and a
                disabled account; `Busy` after too many failures.
        """
        async with self._hashing.slot():  # count and verify inside: parallel guesses count too
            await self._refuse_guessing(user)
            record = await self._kv.get(_key(user))
            expected = record["hash"] if record else self._decoy
            matches = await asyncio.to_thread(pbkdf2_sha256.verify, password, expected)
            if record is None or not matches or record["disabled"]:
                await self._kv.append(
                    _failures_key(user), time.time(), keep=self._max_failures, ttl_s=self._window_s
                )
                raise AlchemyError(
                    ErrorCode.AUTH_FAILED,
                    "wrong user name or password",
                    "Check both and try again.",
                )
        await self._kv.delete(_failures_key(user))
        return self._sign(user, record["epoch"]), _principal(user, record)

    async def issue(self, user: str) -> str:
        """A token for a user without the password: for programs on the server side."""
        record = await self._existing(user)
        return self._sign(user, record["epoch"])

    async def resolve(self, token: str) -> Principal:
        """Whom a token stands for, as the account is now.

        Raises:
            AlchemyError: TOKEN_EXPIRED, or AUTH_FAILED for anything else that is wrong with it.
        """
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                leeway=_CLOCK_SKEW_S,
                options={"require": ["exp", "iat", "sub", "iss"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise AlchemyError(
                ErrorCode.TOKEN_EXPIRED, "the token has expired", "Sign in again."
            ) from error
        except jwt.InvalidTokenError as error:
            raise _refused() from error
        user = str(claims["sub"])
        record = await self._kv.get(_key(user))
        if record is None or record["disabled"] or claims.get("epoch") != record["epoch"]:
            raise _refused()
        return _principal(user, record)

    def _sign(self, user: str, epoch: str) -> str:
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "sub": user,
            "iat": now,
            "exp": now + self._ttl_s,
            "epoch": epoch,
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    async def _hash(self, password: str) -> str:
        if len(password) < _MIN_PASSWORD:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"the password is shorter than {_MIN_PASSWORD} characters",
                "Choose a longer one.",
            )
        async with self._hashing.slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _refuse_guessing(self, user: str) -> None:
        now = time.time()
        failures = await self._kv.items(_failures_key(user))
        recent = [at for at in failures if now - at < self._window_s]
        if len(recent) >= self._max_failures:
            raise Busy(
                "too many failed logins for this user",
                "Wait, or ask an administrator to set a new password.",
                max(1, math.ceil(recent[0] + self._window_s - now)),
            )

    async def _existing(self, user: str) -> dict[str, Any]:
        record = await self._kv.get(_key(user))
        if record is None:
            raise AlchemyError(
                ErrorCode.NOT_FOUND, f"there is no user {user!r}", "See `alchemy users list`."
            )
        return record

    async def _change(self, user: str, **fields: Any) -> None:
        await self._kv.set(_key(user), {**await self._existing(user), **fields})


def _key(user: str) -> str:
    return f"user:{user}"


def _failures_key(user: str) -> str:
    return f"login-failures:{user}"


def _refused() -> AlchemyError:
    return AlchemyError(ErrorCode.AUTH_FAILED, "the token is not valid", "Sign in again.")


def _principal(user: str, record: dict[str, Any]) -> Principal:
    groups = tuple(sorted({PUBLIC_GROUP, *record["groups"]}))
    return Principal(user, record["tenant"], groups, tuple(record["roles"]))
