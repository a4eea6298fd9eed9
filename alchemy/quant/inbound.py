"""How many other documents link to a page or a document: the metric `inbound_links`.

A link is a web address or a Markdown link in a text outside fenced code, or a reference that the
connector found (`extra.references`: a page's title, a file beside this one). It is resolved by the
target's own web address, page number, title within its space, or path.

Only such links count whose document everyone may read who may read the target: the number is shown
to all of those, and must not tell of documents that are not theirs.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from alchemy.markdown import fenced_spans
from alchemy.quant.table import collect
from alchemy.types import PUBLIC_GROUP, Document

INBOUND = "inbound_links"
_COUNTED = "_counted"
LINKED_SOURCES = frozenset({"confluence", "documents"})
"""Sources whose documents are linked to by address; issues and rows have links of their own."""
_BATCH = 5_000
_TARGET = r"(?:[^()\s<>]|\([^()\s<>]*\))+"
_PLACE = rf"<([^<>\n]+)>|({_TARGET})"
_TITLED = r"(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?"
_LINK = re.compile(
    rf"\]\(\s*(?:{_PLACE}){_TITLED}\s*\)"  # [label](target "title")
    rf"|^ {{0,3}}\[[^\]\n]+\]:\s+(?:{_PLACE})"  # [label]: target
    r"|\b(https?://[^\s<>\"'`\\|{}，。、；：！？（）【】《》「」“”‘’]+)",
    re.MULTILINE,
)
_AFTER = ".,;:!?*_~]"
"""Ends a sentence or a bracket around a bare address, more often than the address."""
_WEB = re.compile(r"https?://([^/?#]*)([^?#]*)(\?[^#]*)?", re.IGNORECASE)
"""Host, path and query; `urllib` raises at what redaction leaves of an address (`https://[EMAIL_1]`)."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?!\s)", re.IGNORECASE)
_PAGE = re.compile(r"[?&]pageId=(\d+)|/pages/(\d+)(?:/|$)")
_INDEX = ("readme", "index", "home")
"""What is shown of a folder."""
_BUILT = (".html", ".htm")
"""Files that are built from sources of another ending."""

_ADDRESSES = pl.Schema(
    {
        "tenant": pl.String,
        "address": pl.String,
        "target": pl.String,
        "may_read": pl.List(pl.String),
    }
)
_LINKS = pl.Schema(
    {
        "tenant": pl.String,
        "document_id": pl.String,
        "number": pl.UInt32,
        "preference": pl.UInt32,
        "address": pl.String,
        "readers": pl.List(pl.String),
    }
)


def with_inbound_links(metrics: Path, corpus: Path, copies: Path, output: Path) -> None:
    """Write the metrics table with `inbound_links`, where there is anything that is linked to.

    Other sources keep what they have under that name: null, unless a record brought it.

    Args:
        metrics: `metrics.parquet`.
        corpus: `cleaned_corpus.jsonl` of the same documents.
        copies: `copies.jsonl`: a link to one of them is a link to what has its text.
    """
    table = pl.scan_parquet(metrics)
    linked = pl.col("source").is_in(sorted(LINKED_SOURCES))
    if collect(table.select(linked.any())).item():
        if INBOUND not in table.collect_schema():
            table = table.with_columns(pl.lit(None, pl.Float64).alias(INBOUND))
        counts = inbound_links(corpus, copies).lazy().rename({INBOUND: _COUNTED})
        table = table.join(counts, on="document_id", how="left", maintain_order="left")
        count = pl.when(linked).then(pl.col(_COUNTED).fill_null(0.0)).otherwise(INBOUND)
        table = table.with_columns(count.alias(INBOUND)).drop(_COUNTED)
    table.sink_parquet(output, compression="zstd", maintain_order=True)


def inbound_links(corpus: Path, copies: Path) -> pl.DataFrame:
    """`document_id`, `inbound_links` (Float64): distinct other documents that link to each.

    Documents that nothing links to have no row. Holds the addresses and links, not the texts. A copy
    makes no links: the document that has its text makes them.
    """
    with tempfile.TemporaryDirectory(dir=corpus.parent) as scratch:
        addresses, links = (Path(scratch, name) for name in ("addresses", "links"))
        addresses.mkdir()
        links.mkdir()
        batches = itertools.chain(
            _batched(_documents(corpus, copy=False)), _batched(_documents(copies, copy=True))
        )
        for number, batch in enumerate(batches):
            known = [row for target, document in batch for row in _known(target, document)]
            made = [row for target, d in batch if target == d.id for row in _made(d)]
            frames = ((addresses, known, _ADDRESSES), (links, made, _LINKS))
            for folder, rows, schema in frames:
                frame = pl.DataFrame(rows, schema=schema, orient="row")
                frame.write_parquet(folder / f"{number:06d}.parquet")
        if not any(addresses.iterdir()):
            return pl.DataFrame(schema={"document_id": pl.String, INBOUND: pl.Float64})
        return collect(_counted(pl.scan_parquet(addresses), pl.scan_parquet(links)))


def _counted(addresses: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Of each link the address that comes first among those that one document alone has."""
    own = addresses.group_by("tenant", "address").agg(
        pl.col("target").unique(), pl.col("may_read").first()
    )
    single = own.filter(pl.col("target").list.len() == 1).with_columns(
        pl.col("target").list.first()
    )
    found = links.join(single, on=["tenant", "address"])
    nearest = pl.col("preference") == pl.col("preference").min().over("document_id", "number")
    seen = pl.col("readers").list.contains(PUBLIC_GROUP) | pl.col("may_read").list.set_difference(
        "readers"
    ).list.len().eq(0)
    return (
        found.filter(nearest)
        .filter(seen & (pl.col("target") != pl.col("document_id")))
        .select("target", "document_id")
        .unique()
        .group_by(pl.col("target").alias("document_id"))
        .agg(pl.len().cast(pl.Float64).alias(INBOUND))
        .sort("document_id")
    )


def _documents(path: Path, *, copy: bool) -> Iterator[tuple[str, Document]]:
    """(id of the document that search has, document)."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            document = Document.from_dict(json.loads(line))
            yield str(document.extra["same_as"]) if copy else document.id, document


def _batched(
    documents: Iterator[tuple[str, Document]],
) -> Iterator[list[tuple[str, Document]]]:
    while batch := list(itertools.islice(documents, _BATCH)):
        yield batch


# ---- addresses that a document is found by


def _known(target: str, document: Document) -> Iterator[tuple[str, str, str, list[str]]]:
    if document.source not in LINKED_SOURCES:
        return
    for address in dict.fromkeys(_addresses(document)):
        yield document.tenant, address, target, list(document.acl)


def _addresses(document: Document) -> Iterator[str]:
    host = ""
    if own := _WEB.match(document.uri):
        host = own[1].casefold()
        yield _web(own)
    if document.source == "confluence":
        number = document.id.rpartition("/")[2].rpartition(":")[2]
        if number.isdigit():
            yield f"page:{host}/{number}"
        yield _title(document.extra.get("space"), document.title)
        yield _title("*", document.title)
    if path := document.extra.get("path"):
        yield f"path:{path}"
        stem, _ = posixpath.splitext(str(path))
        yield f"stem:{stem.casefold()}"
        folder, name = posixpath.split(stem.casefold())
        if name in _INDEX:
            yield f"folder:{folder}"


def _web(url: re.Match[str]) -> str:
    return f"web:{url[1].casefold()}{unquote(url[2]).rstrip('/')}{url[3] or ''}"


def _title(space: object, title: str) -> str:
    return f"title:{space or ''}/{' '.join(title.split())}".casefold()


# ---- links that a document makes


def _made(document: Document) -> Iterator[tuple[str, str, int, int, str, list[str]]]:
    readers = list(document.acl)
    targets = dict.fromkeys(
        itertools.chain(_in_text(document.text), map(str, document.extra.get("references") or ()))
    )
    for number, target in enumerate(targets):
        for preference, address in enumerate(dict.fromkeys(_resolved(document, target))):
            yield document.tenant, document.id, number, preference, address, readers


def _in_text(text: str) -> Iterator[str]:
    start = 0
    for begin, end in [*fenced_spans(text), (len(text), len(text))]:
        for match in _LINK.finditer(text, start, begin):
            place = next(filter(None, match.groups()))
            yield _bare(place) if match[5] else place
        start = end


def _bare(address: str) -> str:
    """Without what the sentence put behind it; `Tuning_(memory)` keeps its bracket."""
    address = address.rstrip(_AFTER)
    while address.endswith(")") and address.count(")") > address.count("("):
        address = address[:-1].rstrip(_AFTER)
    return address


def _resolved(document: Document, target: str) -> Iterable[str]:
    """Addresses that the link may mean, the likeliest first."""
    whole, target = target.strip(), target.partition("#")[0].strip()
    if not target:
        return
    if url := _WEB.match(_absolute(document.uri, target)):
        yield _web(url)
        if page := _PAGE.search(url[0]):
            yield f"page:{url[1].casefold()}/{page[1] or page[2]}"
        if _WEB.match(target):
            return
    if document.source == "confluence":
        for name in (whole, target):  # "C# guide" is a title, "Jobs#run" a place on a page
            space, colon, title = name.partition(":")
            if colon and title:
                yield _title(space, title)
            yield _title(document.extra.get("space"), name)
            yield _title("*", name)
    if (path := document.extra.get("path")) and not _SCHEME.match(target):
        yield from _paths(str(path), target)


def _absolute(uri: str, target: str) -> str:
    """A link as a web address, where the document that makes it has one and it is no title."""
    base = _WEB.match(uri)
    if not base or "/" not in target or _SCHEME.match(target):
        return target
    folder = posixpath.dirname(base[2]) or "/"
    return f"https://{base[1]}{posixpath.normpath(posixpath.join(folder, target))}"


def _paths(path: str, target: str) -> Iterator[str]:
    """The file beside this one that is meant, with its ending or as another format builds it."""
    folder = "" if target.startswith("/") else posixpath.dirname(path)
    joined = posixpath.normpath(posixpath.join(folder, unquote(target).lstrip("/").split("?")[0]))
    if joined.startswith("../"):
        return
    joined = "" if joined == "." else joined
    yield f"path:{joined}"
    stem, ending = posixpath.splitext(joined.casefold())
    yield f"stem:{stem if ending in _BUILT else joined.casefold()}"
    yield f"folder:{joined.casefold()}"
