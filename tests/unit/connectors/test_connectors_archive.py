from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import json
import lzma
import sqlite3
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alchemy.config import ArchiveSettings, Settings
from alchemy.connectors.registry import plan_units
from alchemy.types import Document, Quarantined

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def make_zip(files, method=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return target.getvalue()


def make_tar(files, method=""):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return PACK[method](target.getvalue()) if method else target.getvalue()


MAKERS = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda files: make_tar(files, "gz"),
    "tgz": lambda files: make_tar(files, "gz"),
    "tar.bz2": lambda files: make_tar(files, "bz2"),
    "tar.xz": lambda files: make_tar(files, "xz"),
}
ISSUE = b'{"key": "XD-1", "summary": "Fix the port", "description": "Use 9393"}\n'


def problems(company, max_bytes=4 << 20):
    found = company.outcomes(max_bytes)
    return [(x.uri, x.position, x.reason) for x in found if isinstance(x, Quarantined)]


def ids(company, max_bytes=4 << 20):
    return [x.id for x in company.outcomes(max_bytes) if isinstance(x, Document)]


@pytest.mark.parametrize("suffix", MAKERS)
def test_members_are_read_by_the_connector_of_their_folder(company, suffix):
    files = [
        ("./jira/issues.jsonl", ISSUE),
        ("export/confluence/2024/p.json", b'{"id": 7, "title": "Ports", "body": "Use 9393"}'),
        ("documents/guide/a.md", b"# Guide\n\nRead it."),
    ]
    company.put(f"raw/archive/backup.{suffix}", MAKERS[suffix](files))
    issue, page, guide = company.documents()
    assert (issue.id, issue.source) == ("jira:XD-1", "jira")
    assert issue.uri == f"raw/archive/backup.{suffix}!/jira/issues.jsonl#XD-1"
    assert page.id == "confluence:7"
    assert guide.id == f"documents:backup.{suffix}!/documents/guide/a.md"
    assert guide.uri == f"raw/archive/backup.{suffix}!/documents/guide/a.md"
    assert guide.title == "Guide"


@pytest.mark.parametrize("method", PACK)
def test_a_single_compressed_file_is_its_one_member(company, method):
    company.put(f"raw/archive/issues.jsonl.{method}", PACK[method](ISSUE))
    assert company.document().uri == f"raw/archive/issues.jsonl.{method}!/issues.jsonl#XD-1"


def database_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "made.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'one')"
        )
    connection.close()
    return path.read_bytes()


def test_without_a_folder_the_content_says_the_source(company, tmp_path):
    sql = b"CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (2, 'two');"
    files = {
        "a.jsonl": b'\n{"key": "A-1", "fields": {"summary": "one"}}\n',
        "b.json": b'{"issues": [{"key": "A-2", "fields": {"summary": "two"}}]}',
        "c.csv": b"Issue key,Summary\nA-3,three\n",
        "d.json": b'[{"number": 4, "title": "four", "body": "x", "repo": "o/r"}]',
        "e.jsonl": b'{"sha": "abcdef1", "title": "five"}',
        "f.json": b'{"results": [{"id": "6", "title": "six", "body": "page"}]}',
        "g.txt": b"seven",
        "shop.sqlite": database_bytes(tmp_path),
        "old/dump.sql.gz": gzip.compress(sql),
        "x.json": b'{"unknown": 1}',
        "y.csv": b"a,b\n1,2\n",
        "z.bin": b"\0",
    }
    company.put("raw/archive/all.zip", make_zip(files.items()))
    assert ids(company) == [
        *("jira:A-1", "jira:A-2", "jira:A-3", "git_pr:o/r#4", "git_pr:abcdef1", "confluence:6"),
        *("documents:all.zip!/g.txt", "database:shop/t/1", "database:old/dump/t/2"),
    ]
    unknown = "neither its folder nor its content says which source it is from"
    assert problems(company) == [
        ("raw/archive/all.zip", f"member {name}", unknown) for name in ("x.json", "y.csv", "z.bin")
    ]


def test_a_database_in_a_backup_has_the_ids_of_the_live_one(company, tmp_path):
    raw = database_bytes(tmp_path)
    company.put("raw/archive/night.tgz", make_tar([("backup/database/shop.sqlite", raw)], "gz"))
    company.put("raw/database/shop.sqlite", raw)
    assert ids(company) == ["database:shop/t/1", "database:shop/t/1"]


def test_nested_archives_are_read_to_the_configured_depth(company):
    inner = make_zip([("issues.jsonl", ISSUE)])
    middle = make_tar([("jira/2024.zip", inner)], "gz")
    company.put("raw/archive/outer.zip", make_zip([("weekly/m.tar.gz", middle)]))
    document = company.document()
    assert document.id == "jira:XD-1"
    assert document.uri == (
        "raw/archive/outer.zip!/weekly/m.tar.gz!/jira/2024.zip!/issues.jsonl#XD-1"
    )
    company.settings = Settings(archives=ArchiveSettings(max_depth=2))
    assert problems(company) == [
        (
            "raw/archive/outer.zip!/weekly/m.tar.gz",
            "member jira/2024.zip",
            "archives nested deeper than archives.max_depth (2)",
        )
    ]


def test_a_record_that_cannot_be_used_is_named_inside_its_member(company):
    files = [("jira/i.jsonl", ISSUE + b'{"key": "XD-2", oops\n'), ("jira/notes.md", b"# N")]
    company.put("raw/archive/b.zip", make_zip(files))
    assert [(u, p) for u, p, _ in problems(company)] == [
        ("raw/archive/b.zip!/jira/i.jsonl", "line 2"),
        ("raw/archive/b.zip!/jira/notes.md", "file"),
    ]
    assert ids(company) == ["jira:XD-1"]


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../jira/x.jsonl", "its path leaves the archive"),
        ("jira/../../x.jsonl", "its path leaves the archive"),
        ("/etc/jira/x.jsonl", "its path is absolute"),
        ("C:/jira/x.jsonl", "its path is absolute"),
        ("jira\\x.jsonl", "its name has a backslash"),
        ("jira/a\nb.jsonl", "its name is empty, too long or has control characters"),
        ("jira/" + "x" * 1000, "its name is empty, too long or has control characters"),
    ],
)
def test_unsafe_names_are_refused_and_the_rest_is_read(company, suffix, name, reason):
    files = [(name, b'{"key": "BAD-1", "summary": "no"}'), ("jira/ok.jsonl", ISSUE)]
    company.put(f"raw/archive/b.{suffix}", MAKERS[suffix](files))
    ((uri, position, said),) = problems(company)
    assert (uri, said) == (f"raw/archive/b.{suffix}", reason)
    assert position.startswith("member ")
    assert ids(company) == ["jira:XD-1"]


def test_links_devices_and_repeated_names_are_refused(company):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, kind in (
            ("jira/soft.jsonl", tarfile.SYMTYPE),
            ("jira/hard.jsonl", tarfile.LNKTYPE),
            ("jira/dev", tarfile.CHRTYPE),
            ("jira/pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for content in (ISSUE, ISSUE.replace(b"XD-1", b"XD-2")):
            info = tarfile.TarInfo("jira/twice.jsonl")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    company.put("raw/archive/a.tar", target.getvalue())
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("jira/link.jsonl")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("jira/", "")
    company.put("raw/archive/b.zip", target.getvalue())
    assert ids(company) == ["jira:XD-1"]
    assert [(p, r) for _, p, r in problems(company)] == [
        ("member jira/soft.jsonl", "it is a link"),
        ("member jira/hard.jsonl", "it is a link"),
        ("member jira/dev", "it is a device or of an unknown type"),
        ("member jira/pipe", "it is a device or of an unknown type"),
        ("member jira/twice.jsonl", "another member has the same name"),
        ("member jira/link.jsonl", "it is a link or a device"),
    ]


def test_encrypted_and_damaged_zip_members_are_refused_and_the_rest_is_read(company):
    files = [(f"jira/{n}.jsonl", ISSUE.replace(b"XD-1", b"XD-%d" % n)) for n in (1, 2, 3)]
    raw = bytearray(make_zip(files, zipfile.ZIP_STORED))
    raw[raw.index(b"XD-1") + 3] = ord("9")  # the checksum no longer matches
    entry = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4)
    raw[entry + 8] |= 1  # the second is marked as encrypted
    company.put("raw/archive/a.zip", bytes(raw))
    assert ids(company) == ["jira:XD-3"]
    assert [(p, r) for _, p, r in problems(company)] == [
        ("member jira/1.jsonl", "its checksum does not match, or its header is damaged"),
        ("member jira/2.jsonl", "it is encrypted"),
    ]


@pytest.mark.parametrize("suffix", MAKERS)
def test_a_cut_off_archive_gives_what_it_has_and_says_so(company, suffix):
    noise = [json.dumps({"key": f"N-{n}", "summary": str(n * 7919 % 104729)}) for n in range(3000)]
    files = [("jira/1.jsonl", ISSUE), ("jira/2.jsonl", "\n".join(noise).encode())]
    whole = MAKERS[suffix](files)
    company.put(f"raw/archive/a.{suffix}", whole[: len(whole) * 2 // 3])
    found = company.outcomes()
    assert any(isinstance(x, Quarantined) for x in found)
    if suffix in ("tar", "tar.gz", "tgz"):  # the others pack in blocks larger than this archive
        assert [x.id for x in found if isinstance(x, Document)] == ["jira:XD-1"]


def test_a_damaged_tar_header_is_not_taken_for_the_end(company):
    raw = bytearray(make_tar([("jira/1.jsonl", ISSUE), ("jira/2.jsonl", ISSUE)]))
    raw[1024 + 20] ^= 0xFF
    company.put("raw/archive/a.tar", bytes(raw))
    assert ids(company) == ["jira:XD-1"]
    assert problems(company) == [
        ("raw/archive/a.tar", "file", "the tar has no end: it is cut off or damaged")
    ]


def test_a_wrong_checksum_of_a_compressed_tar_is_reported(company):
    raw = bytearray(make_tar([("jira/1.jsonl", ISSUE)], "gz"))
    raw[-8] ^= 0xFF
    company.put("raw/archive/a.tgz", bytes(raw))
    assert problems(company) == [("raw/archive/a.tgz", "file", "the gz stream is damaged")]


@pytest.mark.parametrize("suffix", [*MAKERS, "gz"])
@pytest.mark.parametrize("content", [b"", b"not an archive at all" * 100])
def test_what_is_no_archive_is_quarantined(company, suffix, content):
    company.put(f"raw/archive/a.{suffix}", content)
    ((uri, _, _),) = problems(company)
    assert uri == f"raw/archive/a.{suffix}"
    assert ids(company) == []


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_stops_early_with_little_memory(company, suffix):
    zeros = b"\0" * (100 << 20)
    company.put(f"raw/archive/a.{suffix}", MAKERS[suffix]([("jira/1.jsonl", zeros)]))
    del zeros
    tracemalloc.start()
    found = problems(company)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("archives.max_ratio" in reason for _, _, reason in found)
    assert peak < 20 << 20


def test_each_limit_quarantines_what_is_beyond_it(company):
    files = [(f"jira/{n}.jsonl", ISSUE.replace(b"XD-1", b"XD-%d" % n)) for n in range(6)]
    company.put("raw/archive/a.zip", make_zip(files))
    size = len(files[0][1])
    company.settings = Settings(archives=ArchiveSettings(max_members=2))
    assert ids(company) == ["jira:XD-0", "jira:XD-1"]
    assert problems(company)[0][1:] == (
        "file",
        "more members than archives.max_members (2); the rest was not read",
    )
    company.put("raw/archive/a.zip", make_zip([*files, ("jira/big.jsonl", b" " * 2000)]))
    company.settings = Settings(archives=ArchiveSettings(max_member_bytes=1024))
    assert len(ids(company)) == 6
    assert problems(company)[0][1:] == (
        "member jira/big.jsonl",
        "larger than archives.max_member_bytes (1024 bytes)",
    )
    many = [(f"jira/{n}.jsonl", ISSUE.replace(b"XD-1", b"XD-%d" % n)) for n in range(100, 130)]
    company.put("raw/archive/a.zip", make_zip(many))
    company.settings = Settings(archives=ArchiveSettings(max_total_bytes=1024))
    read = 1024 // (size + 2)
    assert len(ids(company)) == read
    assert len(problems(company)) == 30 - read


def test_a_fork_bomb_of_nested_archives_shares_one_budget(company):
    content = make_zip([("jira/1.jsonl", b" " * 100_000)])
    nest = make_zip([(f"{n}.zip", content) for n in range(50)])
    company.put("raw/archive/a.zip", make_zip([("n.zip", nest)]))
    company.settings = Settings(archives=ArchiveSettings(max_total_bytes=1_000_000))
    refused = [reason for _, _, reason in problems(company) if "max_total_bytes" in reason]
    assert len(refused) >= 40


def test_a_lying_size_in_a_zip_gives_no_bytes_beyond_it(company):
    raw = bytearray(make_zip([("jira/1.jsonl", ISSUE * 50), ("jira/2.jsonl", ISSUE)]))
    entry = raw.index(b"PK\x01\x02")
    struct.pack_into("<I", raw, entry + 24, 10)
    company.put("raw/archive/a.zip", bytes(raw))
    assert ids(company) == ["jira:XD-1"]
    assert problems(company)[0][1] == "member jira/1.jsonl"


NAMES = st.sampled_from(["a", "b", "Größe", "x y", "2024", "sub/c", "sub/deep/d"])
LINES = st.lists(
    st.sampled_from(
        [
            b'{"key": "XD-1", "summary": "one", "description": "x"}',
            b'{"key": "XD-2", "fields": {"summary": "two"}}',
            b'{"sha": "abcdef1", "title": "three"}',
            b'{"id": 4, "title": "four", "body": "page"}',
            b"{broken",
            b"",
            b"\xff",
        ]
    ),
    max_size=4,
).map(b"\n".join)
FILES = st.dictionaries(
    st.builds(
        lambda source, name, suffix: f"{source}/{name}{suffix}",
        st.sampled_from(["jira", "git_pr", "confluence", "documents"]),
        NAMES,
        st.sampled_from([".jsonl", ".json", ".md", ".txt", ".bin"]),
    ),
    LINES,
    min_size=1,
    max_size=6,
)


def comparable(outcome, prefix=""):
    """An outcome without what tells where it was read."""
    values = dataclasses.asdict(outcome)
    values["uri"] = values["uri"].removeprefix(prefix or "raw/")
    if isinstance(outcome, Document) and outcome.source == "documents":
        inside = prefix.removeprefix("raw/archive/") + "documents/"
        values["id"] = values["id"].replace(inside, "") if prefix else values["id"]
        values["extra"] = {}
    return json.dumps(values, sort_keys=True)


@given(
    files=FILES, suffix=st.sampled_from(sorted(MAKERS)), nested=st.booleans(), tiny=st.booleans()
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_packed_tree_says_what_the_tree_says(make_company, files, suffix, nested, tiny):
    direct, packed = make_company(), make_company()
    for name, content in files.items():
        direct.put(f"raw/{name}", content)
    raw, prefix = MAKERS[suffix](sorted(files.items())), f"raw/archive/b.{suffix}!/"
    packed.put(f"raw/archive/b.{suffix}", raw)
    if nested:
        packed = make_company()
        packed.put("raw/archive/o.zip", make_zip([(f"b.{suffix}", raw)]))
        prefix = f"raw/archive/o.zip!/b.{suffix}!/"
    found = packed.outcomes(1 if tiny else 4 << 20)
    assert sorted(comparable(x, prefix) for x in found) == sorted(
        map(comparable, direct.outcomes())
    )
    told = {x.uri.removeprefix(prefix).partition("#")[0] for x in found}
    silent = {name for name, content in files.items() if name not in told}
    assert all(not files[name].strip() and name.endswith(".jsonl") for name in silent)


@given(
    files=FILES,
    suffix=st.sampled_from(sorted(MAKERS)),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=5),
    cut=st.floats(0.1, 1),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_never_raises(make_company, files, suffix, damage, cut):
    company = make_company()
    raw = bytearray(MAKERS[suffix](sorted(files.items())))
    for place, value in damage:
        raw[int(place * (len(raw) - 1))] = value
    company.put(f"raw/archive/b.{suffix}", bytes(raw[: int(len(raw) * cut)]))
    company.outcomes()
    company.outcomes(1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", MAKERS)
def test_a_large_archive_is_many_units_that_say_the_same(company, suffix):
    files = [
        (f"jira/{n}.jsonl", json.dumps({"key": f"XD-{n}", "summary": f"{n * 7919}"}).encode())
        for n in range(200)
    ]
    files[150:150] = [("../evil", b"x"), files[3]]
    company.put(f"raw/archive/a.{suffix}", MAKERS[suffix](files))
    units = plan_units(company.lake, company.settings, max_bytes=20)
    assert len(units) > 5
    if suffix not in ("zip", "tar"):
        assert len(units) <= 17  # each unpacks the stream from its start
    assert company.outcomes(20) == company.outcomes()
    assert len(ids(company)) == 200
