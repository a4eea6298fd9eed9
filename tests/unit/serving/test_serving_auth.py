"""Accounts, logins and tokens, on a real Redis."""

from __future__ import annotations

import asyncio
import pickle
import time

import jwt
import pytest
from serving_world import SECRET

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Busy
from alchemy.serving.auth import Accounts
from alchemy.stores.redis import RedisStore

PASSWORD = "correct horse battery"


async def code_of(call: object) -> ErrorCode:
    with pytest.raises(AlchemyError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def test_a_login_gives_a_token_that_stands_for_the_user(accounts: Accounts) -> None:
    token, principal = await accounts.login("ann", PASSWORD)
    assert principal.user == "ann" and principal.roles == ("user",)
    assert set(principal.groups) == {"core", "everyone"}
    assert await accounts.resolve(token) == principal


async def test_everyone_belongs_to_everyone(accounts: Accounts) -> None:
    assert (await accounts.resolve(await accounts.issue("bob"))).groups == ("everyone",)


async def test_wrong_password_unknown_user_and_disabled_user_look_the_same(
    accounts: Accounts,
) -> None:
    await accounts.disable("bob")
    messages = set()
    for user, password in (("ann", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD)):
        with pytest.raises(AlchemyError) as caught:
            await accounts.login(user, password)
        messages.add((caught.value.code, str(caught.value)))
    assert len(messages) == 1 and messages.pop()[0] is ErrorCode.AUTH_FAILED


async def test_an_unknown_user_costs_as_much_work_as_a_known_one(kv: RedisStore) -> None:
    slow = Accounts(kv, SECRET, 60, hash_rounds=200_000, max_failures=100)
    await slow.create_user("eve", PASSWORD)

    async def work(user: str) -> float:
        best = 1e9
        for _ in range(3):
            started = time.process_time()
            await code_of(slow.login(user, "wrong password"))
            best = min(best, time.process_time() - started)
        return best

    known, unknown = await work("eve"), await work("nobody")
    assert 0.5 < unknown / known < 2


async def test_a_disabled_user_is_refused_at_once_and_for_old_tokens_even_after(
    accounts: Accounts,
) -> None:
    token = await accounts.issue("ann")
    await accounts.disable("ann")
    assert await code_of(accounts.resolve(token)) is ErrorCode.AUTH_FAILED
    await accounts.disable("ann", False)
    assert await code_of(accounts.resolve(token)) is ErrorCode.AUTH_FAILED
    assert (await accounts.login("ann", PASSWORD))[1].user == "ann"


async def test_a_new_password_voids_old_tokens_and_the_old_password(accounts: Accounts) -> None:
    token = await accounts.issue("ann")
    await accounts.set_password("ann", "another long one")
    assert await code_of(accounts.resolve(token)) is ErrorCode.AUTH_FAILED
    assert await code_of(accounts.login("ann", PASSWORD)) is ErrorCode.AUTH_FAILED
    await accounts.login("ann", "another long one")


async def test_roles_are_those_of_the_account_not_of_the_token(
    accounts: Accounts, kv: RedisStore
) -> None:
    token = await accounts.issue("ann")
    account = await kv.get("user:ann")
    await kv.set("user:ann", {**account, "roles": ["reviewer"]})
    assert (await accounts.resolve(token)).roles == ("reviewer",)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"exp": 1}, ErrorCode.TOKEN_EXPIRED),
        ({"exp": None}, ErrorCode.AUTH_FAILED),
        ({"iat": None}, ErrorCode.AUTH_FAILED),
        ({"iss": "someone"}, ErrorCode.AUTH_FAILED),
        ({"sub": "nobody"}, ErrorCode.AUTH_FAILED),
        ({"sub": "root"}, ErrorCode.AUTH_FAILED),
        ({"epoch": None}, ErrorCode.AUTH_FAILED),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    accounts: Accounts, change: dict[str, object], code: ErrorCode
) -> None:
    claims = jwt.decode(await accounts.issue("ann"), SECRET, ["HS256"], issuer="data-alchemy")
    wrong = {k: v for k, v in {**claims, **change}.items() if v is not None}
    assert await code_of(accounts.resolve(jwt.encode(wrong, SECRET, "HS256"))) is code


async def test_only_our_algorithm_and_key_count(accounts: Accounts) -> None:
    claims = jwt.decode(await accounts.issue("ann"), SECRET, ["HS256"], issuer="data-alchemy")
    forged = [
        jwt.encode(claims, "another secret of thirty-two byte", "HS256"),
        jwt.encode(claims, SECRET * 2, "HS512"),
        jwt.encode(claims, None, "none"),
        "not.a.token",
        "",
    ]
    for token in forged:
        assert await code_of(accounts.resolve(token)) is ErrorCode.AUTH_FAILED


async def test_guessing_is_slowed_down_per_user_and_a_success_clears_the_count(
    kv: RedisStore,
) -> None:
    accounts = Accounts(kv, SECRET, 60, hash_rounds=1000, max_failures=3, window_s=1.0)
    await accounts.create_user("ann", PASSWORD)
    await accounts.create_user("bob", PASSWORD)
    for _ in range(2):
        await code_of(accounts.login("ann", "wrong"))
    await accounts.login("ann", PASSWORD)
    for _ in range(3):
        assert await code_of(accounts.login("ann", "wrong")) is ErrorCode.AUTH_FAILED
    with pytest.raises(Busy) as caught:
        await accounts.login("ann", PASSWORD)
    assert caught.value.code is ErrorCode.OVERLOADED and caught.value.retry_after_s == 1
    await accounts.login("bob", PASSWORD)
    await asyncio.sleep(1.1)
    await accounts.login("ann", PASSWORD)


async def test_guessing_in_parallel_gains_nothing(kv: RedisStore) -> None:
    accounts = Accounts(kv, SECRET, 60, hash_rounds=1000, max_failures=3)
    await accounts.create_user("ann", PASSWORD)
    results = await asyncio.gather(
        *(accounts.login("ann", f"guess {n}") for n in range(30)), return_exceptions=True
    )
    tried = [r for r in results if isinstance(r, AlchemyError) and r.code is ErrorCode.AUTH_FAILED]
    assert len(tried) <= 4


async def test_an_administrator_sets_a_throttled_user_free(kv: RedisStore) -> None:
    accounts = Accounts(kv, SECRET, 60, hash_rounds=1000, max_failures=1)
    await accounts.create_user("ann", PASSWORD)
    await code_of(accounts.login("ann", "wrong"))
    await accounts.set_password("ann", "another long one")
    await accounts.login("ann", "another long one")


async def test_the_first_admin_is_created_once_however_many_start_together(kv: RedisStore) -> None:
    made = [Accounts(kv, SECRET, 60, hash_rounds=1000) for _ in range(8)]
    passwords = await asyncio.gather(*(accounts.ensure_admin() for accounts in made))
    (password,) = [p for p in passwords if p is not None]
    _, admin = await made[0].login("admin", password)
    assert admin.roles == ("admin",)
    assert await made[0].ensure_admin() is None


async def test_passwords_are_nowhere_in_the_store(accounts: Accounts, kv: RedisStore) -> None:
    for key in await kv.scan(""):
        assert PASSWORD not in str(await kv.get(key))
    assert "hash" not in str(await accounts.list_users())


@pytest.mark.parametrize(
    ("name", "password", "options", "code"),
    [
        ("ann", PASSWORD, {}, ErrorCode.CONFLICT),
        ("a:b", PASSWORD, {}, ErrorCode.INPUT_INVALID),
        ("", PASSWORD, {}, ErrorCode.INPUT_INVALID),
        ("new", "short", {}, ErrorCode.INPUT_INVALID),
        ("new", PASSWORD, {"roles": ("king",)}, ErrorCode.INPUT_INVALID),
        ("new", PASSWORD, {"groups": ("user:ann",)}, ErrorCode.INPUT_INVALID),
        ("new", PASSWORD, {"tenant": ""}, ErrorCode.INPUT_INVALID),
    ],
)
async def test_a_bad_account_is_refused(
    accounts: Accounts, name: str, password: str, options: dict[str, object], code: ErrorCode
) -> None:
    assert await code_of(accounts.create_user(name, password, **options)) is code  # type: ignore[arg-type]


async def test_users_are_listed_by_name(accounts: Accounts) -> None:
    users = await accounts.list_users()
    assert [u["user"] for u in users] == ["ann", "bob", "bot", "rev", "root"]
    assert users[0]["groups"] == ["core", "everyone"] and users[0]["disabled"] is False


async def test_changing_an_unknown_user_says_so(accounts: Accounts) -> None:
    for call in (accounts.disable("x"), accounts.set_password("x", PASSWORD), accounts.issue("x")):
        assert await code_of(call) is ErrorCode.NOT_FOUND


def test_a_short_secret_stops_the_start(redis_url: str) -> None:
    with pytest.raises(AlchemyError) as caught:
        Accounts(RedisStore(redis_url), "short", 60)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert "ALCHEMY_JWT_SECRET" in caught.value.remedy


def test_a_refusal_keeps_its_wait_across_processes() -> None:
    error = pickle.loads(pickle.dumps(Busy("too many", "Wait.", 7)))
    assert (error.code, error.message, error.retry_after_s) == (ErrorCode.OVERLOADED, "too many", 7)
