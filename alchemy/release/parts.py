"""What answers the questions of a release: its index with the models it was made with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial

from alchemy.cleaning import pii
from alchemy.config import RetrievalSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.knowledge.warmup import warm_up
from alchemy.models.embedders import EmbedderPool
from alchemy.models.outgoing import service_embedder
from alchemy.models.registry import load_reader, load_reranker
from alchemy.protocols import Embedder, Reader, Reranker
from alchemy.release import quant_weight, reading, reranking
from alchemy.release.computing import Computed, Computer
from alchemy.release.model import used_model
from alchemy.release.retrieval import EncodeQueries, query_encoder
from alchemy.stores import open_lake
from alchemy.stores.tombstones import Forgotten
from alchemy.types import Filters, Passage, Principal, Release


@dataclass(frozen=True)
class KnowledgePart:
    """A release's index, the model of its vectors, and what encodes, ranks again and reads."""

    release: str
    settings: RetrievalSettings
    snapshot: Snapshot
    embedder: Embedder
    encode: EncodeQueries
    reranker: Reranker | None
    computer: Computer
    _reader: Reader | None

    def search(self, query: Query) -> list[Passage]:
        """The best passages of one query, as `knowledge.search.search`."""
        return search(self.snapshot, [query], self.settings, self.reranker)[0]

    def compute(
        self, question: str, principal: Principal, filters: Filters, forgotten: Forgotten
    ) -> Computed | None:
        """The answer to a question about many records; None for one that texts should answer.

        Args:
            forgotten: what is hidden from search already; a copy that search never had is not.
        """
        hidden = frozenset(i for tenant, i in forgotten.documents if tenant == principal.tenant)
        today = datetime.now(UTC).date()
        return self.computer.answer(question, principal, filters, today, hidden)

    @property
    def reader(self) -> Reader:
        """The release's reader; INPUT_INVALID where it has none."""
        if self._reader is None:
            raise AlchemyError(ErrorCode.INPUT_INVALID, f"release {self.release} has no reader")
        return self._reader


class KnowledgeParts:
    """Opens the parts of releases; what several of them use is loaded once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.embedders = EmbedderPool(
            settings.model_b, partial(service_embedder, redact=pii.redact_together)
        )
        self._reranker = cache(partial(load_reranker, settings.reranker))
        self._reader = cache(partial(load_reader, settings.reader))

    def open(self, release: Release) -> KnowledgePart:
        """Load, verify and warm up. Blocking.

        Raises:
            AlchemyError: NOT_FOUND or CORRUPT for its objects, CONFLICT for models that are not
                those it was made with, else why they cannot be loaded.
        """
        local = self._settings.state_dir / "cache"
        lake = open_lake(self._settings.lake)
        snapshot = Snapshot.fetch(lake, release.index, release.index_sha256, local / "index")
        digest, meta = snapshot.embedder_digest, snapshot.manifest.meta
        embedder = self.embedders.get(digest, meta)
        model = self.embedders.settings(digest, meta)
        encode = query_encoder(lake, release, model, embedder, local / "adapters")
        reranker = used_model(release, reranking.ROLE, self._reranker)
        reader = used_model(release, reading.ROLE, self._reader)
        retrieval = quant_weight.released(self._settings.retrieval, release.thresholds)
        warm_up(snapshot, encode, retrieval, reranker)
        computer = Computer(release.id, snapshot)
        return KnowledgePart(
            release.id, retrieval, snapshot, embedder, encode, reranker, computer, reader
        )
