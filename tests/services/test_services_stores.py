"""The lake on a real S3 server, the key-value store on a real Redis."""

import asyncio
import json
import os
import pickle
import threading
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr

from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.quant.tables import run_table
from alchemy.stores import open_lake
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.redis import RedisStore
from alchemy.stores.tombstones import read_forgotten, write_tombstones
from alchemy.stores.versions import (
    advance_pointer,
    fetch_directory,
    live_pointer,
    publish_directory,
)


@pytest.fixture
def lake(s3_settings: LakeSettings) -> Lake:
    return open_lake(s3_settings.model_copy(update={"s3_prefix": f"t/{uuid.uuid4().hex}"}))


def test_s3_keeps_the_lake_contract(lake: Lake, tmp_path: Path) -> None:
    data = os.urandom(200_000)
    lake.check_writable()
    lake.write("raw/a.bin", data)
    assert lake.read("raw/a.bin") == data
    assert b"".join(lake.stream("raw/a.bin", 999)) == data
    lake.download("raw/a.bin", tmp_path / "deep" / "a.bin")
    assert (tmp_path / "deep" / "a.bin").read_bytes() == data
    lake.upload("raw/b.bin", tmp_path / "deep" / "a.bin")
    assert [(o.key, o.size) for o in lake.list("raw/")] == [
        ("raw/a.bin", 200_000),
        ("raw/b.bin", 200_000),
    ]
    assert lake.exists("raw/b.bin")
    lake.delete("raw/b.bin")
    lake.delete("raw/b.bin")
    assert not lake.exists("raw/b.bin")
    with pytest.raises(AlchemyError) as caught:
        lake.read("raw/b.bin")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_table_is_measured_from_bucket_to_bucket(lake: Lake, s3_settings: LakeSettings) -> None:
    rows = "".join(f"d{n},{n * n}\n" for n in range(60))
    lake.write("tables/t.csv", f"id,a\n{rows}".encode())
    settings = Settings(lake=s3_settings)
    receipt = run_table(f"{lake.uri}/tables/t.csv", f"{lake.uri}/out/", settings)
    assert receipt.rows == 60
    names = {key.rpartition("/")[2] for key in receipt.files}
    assert {o.key.removeprefix("out/") for o in lake.list("out/")} == names
    assert json.loads(lake.read("out/profile.json"))["rows"] == 60
    with pytest.raises(AlchemyError) as caught:
        run_table(f"{lake.uri}/tables/none.csv", f"{lake.uri}/out", settings)
    assert caught.value.code is ErrorCode.NOT_FOUND and "none.csv" in caught.value.message


def test_objects_say_when_they_were_written(lake: Lake, tmp_path: Path) -> None:
    for place in (lake, LocalLake(tmp_path)):
        place.write("a", b"x")
        [found] = place.list("a")
        assert abs(found.modified - time.time()) < 60


def test_tombstones_work_on_s3(lake: Lake) -> None:
    key = ("default", "jira:A")
    write_tombstones(lake, [key], "forget", "root")
    assert read_forgotten(lake).documents == {key}
    assert write_tombstones(lake, [key], "lift", "root").documents == frozenset()


def test_s3_lists_more_than_one_page(lake: Lake) -> None:
    for number in range(1005):
        lake.write(f"many/{number:05d}", b"")
    assert len(list(lake.list("many/"))) == 1005


def test_folders_made_by_an_s3_console_are_no_objects(s3_settings: LakeSettings) -> None:
    prefix = f"t/{uuid.uuid4().hex}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_settings.s3_endpoint,
        region_name=s3_settings.s3_region,
        aws_access_key_id=s3_settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=s3_settings.s3_secret_key.get_secret_value(),
    )
    client.put_object(Bucket=s3_settings.s3_bucket, Key=f"{prefix}/raw/jira/", Body=b"")
    lake = open_lake(s3_settings.model_copy(update={"s3_prefix": prefix}))
    lake.write("raw/jira/a.json", b"{}")
    assert [item.key for item in lake.list("raw/")] == ["raw/jira/a.json"]


def test_on_s3_of_eight_creators_one_wins(lake: Lake) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        try:
            lake.create("pointer/1.json", str(number).encode())
            outcomes.append(str(number))
        except AlchemyError as error:
            assert error.code is ErrorCode.CONFLICT

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lake.read("pointer/1.json").decode()] == outcomes


def test_versions_and_pointers_work_on_s3(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "file").write_bytes(b"content")
    publish_directory(lake, "index", "v1", tmp_path / "v")
    fetched, _ = fetch_directory(lake, "index/v1", tmp_path / "cache")
    assert (fetched / "file").read_bytes() == b"content"
    advance_pointer(lake, "p", {"v": 1}, after=0)
    with pytest.raises(AlchemyError) as caught:
        advance_pointer(lake, "p", {"v": 2}, after=0)
    assert caught.value.code is ErrorCode.CONFLICT
    assert live_pointer(lake, "p") == (1, {"v": 1})


def test_an_s3_lake_travels_to_a_worker_by_pickle(lake: Lake) -> None:
    lake.write("a", b"x")
    assert pickle.loads(pickle.dumps(lake)).read("a") == b"x"


def test_an_unreachable_s3_is_a_typed_error(s3_settings: LakeSettings) -> None:
    gone = open_lake(s3_settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(AlchemyError) as caught:
        gone.read("a")
    assert caught.value.code is ErrorCode.LAKE_UNAVAILABLE
    assert "S3_ENDPOINT" in str(caught.value)


def test_a_missing_bucket_is_not_writable(s3_settings: LakeSettings) -> None:
    lake = open_lake(
        s3_settings.model_copy(
            update={
                "s3_bucket": f"none-{uuid.uuid4().hex}",
                "s3_secret_key": SecretStr("hidden-secret"),
            }
        )
    )
    with pytest.raises(AlchemyError) as caught:
        lake.check_writable()
    assert caught.value.code is ErrorCode.LAKE_NOT_WRITABLE
    assert "hidden-secret" not in str(caught.value)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_url)
    yield store
    await store.close()


async def test_values_expire_and_are_created_once(store: RedisStore) -> None:
    key = uuid.uuid4().hex
    assert await store.get(key) is None
    assert await store.create(key, {"n": 1}, ttl_s=0.05)
    assert not await store.create(key, {"n": 2})
    assert await store.get(key) == {"n": 1}
    await asyncio.sleep(0.1)
    assert await store.get(key) is None
    await store.set(key, ["ü"])
    assert await store.get(key) == ["ü"]
    assert await store.delete(key, "never-there") == 1


async def test_lists_keep_the_newest(store: RedisStore) -> None:
    key = uuid.uuid4().hex
    for number in range(7):
        await store.append(key, number, keep=3, ttl_s=10)
    assert await store.items(key) == [4, 5, 6]


async def test_a_list_loses_what_is_discarded_and_keeps_its_order(store: RedisStore) -> None:
    rows = [{"x": 1.5, "ü": ["a", None]}, {"x": 2}, {"x": 1.5, "ü": ["a", None]}, {"x": 3}]
    for row in rows:
        await store.append("l", row, keep=10)
    assert await store.discard("l", rows[0]) == 2
    assert await store.items("l") == [{"x": 2}, {"x": 3}]
    assert await store.discard("l", {"x": 9}) == 0


async def test_keys_are_found_by_a_string_that_their_value_holds(store: RedisStore) -> None:
    for number in range(250):
        await store.set(f"h:{number:03}", {"id": f"documents:ä {number}"})
    await store.append("h:list", {"id": "documents:ä 7"}, keep=5)
    await store.set("other:1", {"id": "documents:ä 7"})
    assert await store.holding("h:", ["documents:ä 7"]) == ["h:007", "h:list"]
    assert await store.holding("h:", ["documents:ä 24"]) == ["h:024"], "whole strings only"
    assert await store.holding("h:", []) == []


async def test_scan_takes_the_prefix_literally(store: RedisStore) -> None:
    base = uuid.uuid4().hex
    await store.set(f"{base}[a]*:1", 1)
    await store.set(f"{base}a:2", 2)
    assert await store.scan(f"{base}[a]*") == [f"{base}[a]*:1"]


async def test_a_dead_redis_is_a_typed_error_without_the_password() -> None:
    store = RedisStore("redis://:hidden-secret@127.0.0.1:9/0", timeout_s=0.5)
    with pytest.raises(AlchemyError) as caught:
        await store.ping()
    assert caught.value.code is ErrorCode.REDIS_UNAVAILABLE
    assert "hidden-secret" not in str(caught.value)
