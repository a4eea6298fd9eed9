import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import (
    advance_pointer,
    fetch_directory,
    live_pointer,
    publish_directory,
    read_manifest,
)


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


def test_what_is_written_is_read_back_whole_and_in_pieces(lake: LocalLake) -> None:
    data = os.urandom(300_000)
    lake.write("a/b.bin", data)
    assert lake.read("a/b.bin") == data
    assert b"".join(lake.stream("a/b.bin", 1000)) == data


def test_a_missing_key_is_not_found(lake: LocalLake, tmp_path: Path) -> None:
    for attempt in (
        lambda: lake.read("no/such"),
        lambda: list(lake.stream("no/such")),
        lambda: lake.download("no/such", tmp_path / "x"),
    ):
        with pytest.raises(AlchemyError) as caught:
            attempt()
        assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\b", "a\0b"])
def test_a_key_cannot_leave_the_lake(lake: LocalLake, key: str) -> None:
    with pytest.raises(AlchemyError) as caught:
        lake.write(key, b"x")
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_of_eight_creators_one_wins(lake: LocalLake) -> None:
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


def test_listing_is_sorted_by_prefix_and_hides_unfinished_writes(lake: LocalLake) -> None:
    for key in ("raw/b", "raw/a/x", "raw2/c", "raw/a-1"):
        lake.write(key, b"1")
    (lake.root / "raw" / ".tmp-partial").write_bytes(b"half")
    assert [item.key for item in lake.list("raw/")] == ["raw/a-1", "raw/a/x", "raw/b"]
    assert [item.key for item in lake.list("raw")][-1] == "raw2/c"


def test_a_lake_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AlchemyError) as caught:
        LocalLake(tmp_path / "file" / "lake").check_writable()
    assert caught.value.code is ErrorCode.LAKE_NOT_WRITABLE
    assert "ALCHEMY_DATA" in str(caught.value)


def test_pointers_count_up_and_a_late_writer_sees_the_conflict(lake: LocalLake) -> None:
    assert live_pointer(lake, "p") is None
    assert advance_pointer(lake, "p", {"v": "one"}, after=0) == 1
    for number in range(1, 12):
        advance_pointer(lake, "p", {"v": str(number)}, after=number)
    assert live_pointer(lake, "p") == (12, {"v": "11"})  # numeric, not alphabetical
    with pytest.raises(AlchemyError) as caught:
        advance_pointer(lake, "p", {"v": "late"}, after=11)
    assert caught.value.code is ErrorCode.CONFLICT


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True), st.binary(), max_size=5
    )
)
def test_a_published_directory_comes_back_identical(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    base = tmp_path_factory.mktemp("publish")
    source = base / "source"
    source.mkdir()
    kept = {}
    for name, data in files.items():
        path = source / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        kept[name] = data
    lake = LocalLake(base / "lake")
    published = publish_directory(lake, "index", "v1", source, {"note": 1})
    assert read_manifest(lake, "index/v1") == published
    fetched, manifest = fetch_directory(lake, "index/v1", base / "cache")
    assert manifest.meta == {"note": 1}
    found = {
        p.relative_to(fetched).as_posix(): p.read_bytes() for p in fetched.rglob("*") if p.is_file()
    }
    assert found == kept


def test_a_damaged_version_is_refused_and_leaves_no_copy(lake: LocalLake, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "vectors").write_bytes(b"good")
    publish_directory(lake, "index", "v1", source)
    lake.write("index/v1/vectors", b"evil")
    with pytest.raises(AlchemyError) as caught:
        fetch_directory(lake, "index/v1", tmp_path / "cache")
    assert caught.value.code is ErrorCode.CORRUPT
    assert "index/v1/vectors" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_manifest_is_corrupt(lake: LocalLake) -> None:
    lake.write("index/v1/manifest.json", json.dumps({"files": 1}).encode())
    with pytest.raises(AlchemyError) as caught:
        read_manifest(lake, "index/v1")
    assert caught.value.code is ErrorCode.CORRUPT


def test_written_files_follow_the_umask_not_the_temporary_files_mode(lake: LocalLake) -> None:
    lake.write("a", b"x")
    (plain := lake.root / "plain").write_bytes(b"x")
    assert stat.S_IMODE((lake.root / "a").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
