"""Everything configurable, one class per concern; `config` fills them from `models.yaml`.

Each field has its unit or reason. Unknown keys are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from alchemy.model_settings import (
    CausalModelSettings,
    ModelSettings,
    ReaderSettings,
    RerankerSettings,
    Section,
)


class LakeSettings(Section):
    """Where everything durable lives: S3 when `s3_bucket` is set, else the directory `root`."""

    root: str = Field(default="./data", validate_default=True)
    s3_endpoint: str = ""
    s3_bucket: str = ""
    s3_prefix: str = ""
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    """Empty keys leave the choice to boto3's own chain (profiles, instance roles)."""

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: str) -> str:
        """Ray starts its workers in directories of its own."""
        return str(Path(root).expanduser().absolute())


class RedisSettings(Section):
    """`url` empty: `alchemy up` starts a private Redis in the data directory."""

    url: str = ""
    timeout_s: float = 2.0


class RaySettings(Section):
    """`address` empty: the cluster of `alchemy up`, else one started for the command."""

    address: str = ""
    namespace: str = "alchemy"
    port: int = 6379
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = 8265
    object_store_mb: int = Field(default=512, ge=80)


class SparkSettings(Section):
    """Size of the RayDP session the Cleaner owns."""

    executors: int = Field(default=1, ge=1)
    executor_cores: int = Field(default=2, ge=1)
    executor_memory_mb: int = Field(default=1024, ge=256)
    executor_cpus: float = Field(default=0.5, gt=0)
    """Ray CPUs reserved per executor (below `executor_cores` on a shared small machine)."""
    partitions: int = Field(default=0, ge=0)
    """Of a shuffle; 0: a few per core, more for more data."""


QualitySignal = Literal[
    "language_confidence",
    "letter_share",
    "digit_share",
    "symbol_share",
    "broken_share",
    "mean_word_chars",
    "stop_word_share",
    "duplicate_line_share",
    "ellipsis_line_share",
    "top_ngram_share",
]
"""What `alchemy.cleaning.quality` measures and a filter may limit."""


class LimitSettings(Section):
    """The range in which a signal keeps a document."""

    min: float | None = None
    max: float | None = None


class FilterSettings(Section):
    """Which documents are kept by quality; by default all but clearly broken text."""

    languages: tuple[str, ...] = ()
    """ISO 639-1 codes; empty: all. A text too short to tell is always kept."""
    signals: dict[QualitySignal, LimitSettings] = Field(
        default_factory=dict[QualitySignal, LimitSettings]
    )

    @model_validator(mode="after")
    def _not_broken(self) -> FilterSettings:
        """More than half replacement and unassigned characters is no text in any language."""
        self.signals.setdefault("broken_share", LimitSettings(max=0.5))
        return self


class BoilerplateSettings(Section):
    """When a line repeated across the documents of one source is boilerplate."""

    enabled: bool = True
    min_chars: int = Field(default=40, ge=8)
    """Shorter lines repeat by chance."""
    min_documents: int = Field(default=20, ge=2)
    min_share: float = Field(default=0.05, gt=0, le=1)
    """Of the documents of the source; both limits must be reached. Sentences that a team copies from
    issue to issue, and that say what those issues are about, stay below 4 % in real trackers."""


class NerSettings(Section):
    """Names of people: an engine finds them where one is configured."""

    provider: Literal["none", "spacy", "huggingface"] = "none"
    model: str = ""
    """spacy: name of an installed model or its directory; huggingface: directory or hub id."""
    labels: tuple[str, ...] = ("PERSON",)
    """What the model calls a person: PERSON (spacy), PER (most Hugging Face models)."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of the documents it reads; empty: all."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Below it a finding of a huggingface model does not count."""
    device: str = "auto"

    @model_validator(mode="after")
    def _complete(self) -> NerSettings:
        if self.provider != "none" and not self.model:
            raise ValueError(f"provider {self.provider} needs model")
        return self


class CleaningSettings(Section):
    """What the Cleaner keeps and how it cuts."""

    tenant: str = "default"
    acl: tuple[str, ...] = ("everyone",)
    chunk_tokens: int = Field(default=180, ge=16)
    near_duplicate_jaccard: float = Field(default=0.85, gt=0, le=1)
    max_record_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """A longer record goes to quarantine instead of into memory."""
    pdf_timeout_s: float = Field(default=120.0, gt=0)
    """A PDF that takes longer to read goes to quarantine; usual ones take some seconds."""
    filters: FilterSettings = FilterSettings()
    boilerplate: BoilerplateSettings = BoilerplateSettings()
    ner: NerSettings = NerSettings()


class SyncSettings(Section):
    """What the Cleaner reads again, and with which engine; shapes the time, not the result."""

    engine: Literal["auto", "spark", "ray"] = "auto"
    """`auto`: Spark for a first wash and for much that is new, Ray tasks for small increments."""
    spark_above_mb: int = Field(default=32, ge=0)
    """Raw MB to read from which a Spark session pays (starting one costs 40 CPU-seconds)."""
    max_vanished_share: float = Field(default=0.3, ge=0, le=1)
    """A wash stops when more of a source's records than this share are gone at once."""
    min_vanished: int = Field(default=20, ge=1)
    """Fewer vanished records never stop it."""
    full: bool = False
    """Read everything, whatever is known of the last wash."""


class DatabaseSource(Section):
    """One database that every run takes a snapshot of before it starts."""

    name: str = Field(min_length=1, pattern=r"^[^/\\\x00-\x1f]+$")
    """The snapshot is `raw/database/<name>.sqlite`, so the name is part of every row's id."""
    url: SecretStr
    """SQLAlchemy URL, e.g. `postgresql+psycopg://user:${DB_PASSWORD}@host/db`."""
    tables: tuple[str, ...] = ()
    """Only these (`table`, or `schema.table` outside the default schema); empty: all."""
    exclude: tuple[str, ...] = ()
    acl: tuple[str, ...] = ()
    """Groups that may read its rows; empty: `cleaning.acl`. A row's own `acl` column wins."""
    tenant: str = ""
    """Empty: `cleaning.tenant`."""


class SourcesSettings(Section):
    """Systems that are asked for their data, instead of exporting it themselves."""

    databases: tuple[DatabaseSource, ...] = ()
    connect_timeout_s: int = Field(default=15, ge=1)
    """The drivers' own default waits minutes for a host that drops packets."""

    @model_validator(mode="after")
    def _distinct(self) -> SourcesSettings:
        names = [database.name for database in self.databases]
        if len(set(names)) < len(names):
            raise ValueError("two databases have the same name; their snapshots would be one file")
        return self


class ArchiveSettings(Section):
    """How far an archive is unpacked; what is beyond a limit goes to quarantine."""

    max_total_bytes: int = Field(default=64 << 30, ge=1024)
    """Unpacked bytes of one archive, nested ones included: several times a 10 GB backup."""
    max_member_bytes: int = Field(default=8 << 30, ge=1024)
    """Unpacked bytes of one member; each is spooled to local disk before it is read."""
    max_ratio: float = Field(default=200.0, gt=1)
    """Unpacked bytes per packed byte: exports reach 30, logs 100, bombs 1000."""
    max_members: int = Field(default=200_000, ge=1)
    """Members of one archive: a directory of millions of names is held in memory."""
    max_depth: int = Field(default=3, ge=1)
    """Archives inside archives; 1 reads no nested ones. Real backups nest once or twice."""


class QuantSettings(Section):
    """Profile, contract, features and selection."""

    max_base_columns: int = Field(default=64, ge=1)
    near_constant_share: float = Field(default=0.995, gt=0, le=1)
    max_correlation: float = Field(default=0.98, gt=0, le=1)
    block_columns: int = Field(default=128, ge=2)
    psi_warn: float = 0.2
    psi_stop: float = 1.0
    ks_alpha: float = 0.001


class SynthesisSettings(Section):
    """How many pairs Refiner writes and what it holds out."""

    max_samples: int = Field(default=0, ge=0)
    """0: no limit."""
    pairs_per_chunk: int = Field(default=3, ge=1)
    eval_share: float = Field(default=0.1, gt=0, lt=1)
    seed: int = 13


class TrainingSettings(Section):
    """LoRA fine-tuning through Ray Train."""

    workers: int = Field(default=1, ge=1)
    use_gpu: bool = False
    resources_per_worker: dict[str, float] = Field(default_factory=lambda: {"CPU": 1.0})
    max_steps: int = Field(default=600, ge=1)
    max_epochs: int = Field(default=8, ge=1)
    """Fewer steps than `max_steps` when the pairs are few: more passes only learn them by heart."""
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    max_length: int = Field(default=256, ge=16)
    max_samples: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=150, ge=1)
    eval_samples: int = Field(default=200, ge=1)
    max_failures: int = Field(default=3, ge=0)
    seed: int = 13


class TuningSettings(Section):
    """LoRA on the query side of the embedding model, from the corpus's own pairs."""

    enabled: bool = False
    """Minutes of training per run; turn it on where people link records or rate answers."""
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    """Epochs without a gain on held-out pairs until training stops."""
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    anchor: float = Field(default=0.0, ge=0)
    """Weight of staying near the base's query vectors."""
    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    max_tokens: int = Field(default=128, ge=16)
    """Of a query in training; what follows is rarely what it is about."""
    negatives: int = Field(default=16384, ge=1)
    """Chunks each batch is scored against; a smaller corpus takes part as a whole."""
    hard_negatives: int = Field(default=64, ge=1)
    """Nearest chunks of each query that always take part."""
    copy_cosine: float = Field(default=0.95, gt=0, le=1)
    """Chunks this near to a right one are right as well, and no negatives."""
    title_ratio: float = Field(default=1.0, ge=0)
    """Titles per link, question and feedback pair."""
    max_pairs: int = Field(default=20_000, ge=1)
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    held_out_pairs: int = Field(default=400, ge=1)
    """At most; what stops the training."""
    seed: int = 13


class IndexingSettings(Section):
    """Who embeds new chunks; shapes the time, not the result."""

    embedding_workers: int = Field(default=2, ge=1)
    """Ray actors, each with its own copy of model_b; they divide a machine's cores."""
    worker_cpus: float = Field(default=0.25, ge=0)
    """Ray CPUs reserved per actor (a share: training runs beside on a small machine)."""
    worker_gpus: float = Field(default=0, ge=0)
    """Ray GPUs per actor; needed when model_b runs on one."""


class WeightSettings(Section):
    """What each signal adds to a passage's score."""

    dense: float = Field(default=1.0, ge=0)
    """Times the cosine of question and passage."""
    lexical: float = Field(default=1.0, ge=0)
    """Times BM25 over the most it could be."""
    parent: float = Field(default=0.0, ge=0)
    """Times the best score of another passage of the same document. On six sets of real documents
    every weight above 0 found less: it favours long documents."""
    recency: float = Field(default=0.02, ge=0)
    """Decides between passages that are otherwise alike, for instance versions of one page."""
    rerank: float = Field(default=1.0, ge=0)
    """Times the reranker's probability."""
    quant: float = 0.0
    """Times the document's quant signal, -0.5 to 0.5 and 0 for a plain document. A release brings
    its own, fitted on links and questions, which stands before this one."""
    sources: dict[str, float] = Field(default_factory=dict[str, float])
    """Added for a source, e.g. `{confluence: 0.05}`."""


class RetrievalSettings(Section):
    """Candidates per signal, how they are weighed, and passages per answer."""

    index: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    """`auto`: exact up to 50,000 chunks, then `ivf`; `hnsw` answers faster but builds slowly."""
    candidates: int = Field(default=50, ge=1)
    passages: int = Field(default=8, ge=1)
    rerank_candidates: int = Field(default=20, ge=1)
    recency_half_life_days: float = Field(default=365.0, gt=0)
    weights: WeightSettings = WeightSettings()


class EvaluationSettings(Section):
    """Size of the automatic suites."""

    questions: int = Field(default=120, ge=10)
    seed: int = 13
    target_precision: float = Field(default=0.8, gt=0, le=1)
    """The abstention threshold is the lowest that reaches this precision on calibration questions."""


class ServingSettings(Section):
    """The HTTP front and its limits."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    jwt_secret: SecretStr = SecretStr("")
    """Empty: `alchemy up` makes one; in production that is an error."""
    token_ttl_s: int = Field(default=12 * 3600, ge=60)
    max_ongoing: int = Field(default=16, ge=1)
    max_queued: int = Field(default=32, ge=1)
    batch_size: int = Field(default=16, ge=1)
    batch_wait_s: float = Field(default=0.01, ge=0)
    request_timeout_s: float = Field(default=60.0, gt=0)
    session_ttl_s: int = Field(default=30 * 24 * 3600, ge=60)
    history_turns: int = Field(default=20, ge=1)
    draft_tokens: int = Field(default=48, ge=1)
    replicas: int = Field(default=1, ge=1)


class Settings(Section):
    """Everything configurable, one section per concern."""

    environment: Literal["local", "production"] = "local"
    model_a: ModelSettings = ModelSettings()
    model_b: ModelSettings = ModelSettings()
    model_c: CausalModelSettings = CausalModelSettings()
    model_d: ModelSettings = ModelSettings()
    reranker: RerankerSettings = RerankerSettings()
    reader: ReaderSettings = ReaderSettings()
    lake: LakeSettings = LakeSettings()
    redis: RedisSettings = RedisSettings()
    ray: RaySettings = RaySettings()
    spark: SparkSettings = SparkSettings()
    sources: SourcesSettings = SourcesSettings()
    archives: ArchiveSettings = ArchiveSettings()
    cleaning: CleaningSettings = CleaningSettings()
    sync: SyncSettings = SyncSettings()
    quant: QuantSettings = QuantSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    training: TrainingSettings = TrainingSettings()
    tuning: TuningSettings = TuningSettings()
    indexing: IndexingSettings = IndexingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    serving: ServingSettings = ServingSettings()

    @model_validator(mode="after")
    def _production(self) -> Settings:
        if self.environment == "production" and not self.serving.jwt_secret.get_secret_value():
            raise ValueError("production needs serving.jwt_secret: set ALCHEMY_JWT_SECRET")
        return self

    @property
    def state_dir(self) -> Path:
        """Local, per-machine state of `alchemy up` (pids, ports, private Redis); never in S3."""
        return Path(self.lake.root)
