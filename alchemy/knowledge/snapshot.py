"""One index version, open for search: vectors and catalog that were published together."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.catalog import Catalog
from alchemy.knowledge.vectors import Vectors
from alchemy.protocols import Embedder, Lake
from alchemy.stores.versions import Manifest, fetch_directory

FORMAT = 2
"""Layout of an index version; part of its name, so a new layout is a new version."""
INDEX_PREFIX = "index"
RECORDS_FILE = "facts.parquet"
"""Labels and numbers of the documents, where the run had them; read by whoever computes."""


class Snapshot:
    """Read side of an index version. Its files never change; safe to search from several threads.

    Dropping the last reference frees everything; `close` does it at once.

    Attributes:
        records: `RECORDS_FILE` of this version; None for one that has none.
    """

    def __init__(
        self, manifest: Manifest, vectors: Vectors, catalog: Catalog, records: Path | None
    ) -> None:
        self.manifest = manifest
        self.vectors = vectors
        self.catalog = catalog
        self.records = records

    @classmethod
    def open(cls, directory: Path, manifest: Manifest) -> Self:
        """Open a verified local copy.

        Raises:
            AlchemyError: CORRUPT when the files do not belong together or have another format.
        """
        if manifest.meta.get("format") != FORMAT:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"index {manifest.version} has format {manifest.meta.get('format')!r}, "
                f"this version reads {FORMAT}",
                "Build the index again: data-alchemy ingest.",
            )
        vectors = Vectors.open(directory)
        catalog = Catalog.open(directory)
        if vectors.count != catalog.count:
            catalog.close()
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"index {manifest.version} has {vectors.count} vectors for {catalog.count} chunks",
                "Build the index again: data-alchemy ingest.",
            )
        records = directory / RECORDS_FILE
        return cls(manifest, vectors, catalog, records if records.exists() else None)

    @classmethod
    def fetch(cls, lake: Lake, version: str, sha256: str, cache: Path) -> Self:
        """Copy `index/<version>` below `cache`, verify it, and open it.

        Args:
            sha256: digest the release records for this index.

        Raises:
            AlchemyError: NOT_FOUND, or CORRUPT when the lake holds something else.
        """
        directory, manifest = fetch_directory(lake, f"{INDEX_PREFIX}/{version}", cache)
        if manifest.sha256 != sha256:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"index {version} in {lake.uri} is not the one that was released",
                "Build the index again: data-alchemy ingest.",
            )
        return cls.open(directory, manifest)

    @property
    def version(self) -> str:
        """`ix-<12 hex>`."""
        return self.manifest.version

    @property
    def embedder_digest(self) -> str:
        """Digest of the model that made these vectors."""
        return str(self.manifest.meta.get("embedder"))

    @property
    def sha256(self) -> str:
        """Digest over the version's files, as a release records it."""
        return self.manifest.sha256

    def built_with(self, embedder: Embedder) -> bool:
        """Whether this embedder made the vectors."""
        return self.manifest.meta.get("embedder") == embedder.digest

    def require_embedder(self, embedder: Embedder) -> None:
        """Refuse an embedder that did not make these vectors: their cosines mean nothing.

        Raises:
            AlchemyError: CONFLICT naming both digests.
        """
        if not self.built_with(embedder):
            built_with = self.embedder_digest
            raise AlchemyError(
                ErrorCode.CONFLICT,
                f"index {self.version} was built with the embedding model "
                f"{built_with[:12]}, model_b is {embedder.digest[:12]}",
                "Set model_b back, or run the pipeline to build an index with the new model.",
            )

    def hide(self, document_ids: Collection[str]) -> None:
        """Leave these documents out of every search that starts from now on."""
        self.catalog.hide(document_ids)

    def close(self) -> None:
        """Close the catalog; searches that start afterwards fail with NOT_READY."""
        self.catalog.close()
