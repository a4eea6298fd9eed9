"""Embedding models by digest: the one that is configured, and those of indexes built before.

An index can only be searched with vectors of the model that built it. Its manifest says which one
that was, so that a service goes on answering from the old index while the new one is built, swaps
both at once, and frees the old model with the last release that needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from pydantic import ValidationError

from alchemy.config import ModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Embedder

RECORDED = "embedder_settings"
"""Key of the settings in the manifest's free metadata."""
_FIELDS = ("provider", "model_id", "model_path", "revision", "dtype", "max_length")
"""What decides the vectors. Not where a model runs, and nothing secret: no address, no key."""


def recorded(settings: ModelSettings) -> dict[str, Any]:
    """What an index remembers of its embedding model's settings."""
    return settings.model_dump(mode="json", include=set(_FIELDS))


class EmbedderPool:
    """Loads each model once and keeps it for as long as somebody holds it. Safe between threads.

    Args:
        own: the configured model; device and batch size count for every other one, too.
        load: makes the model of some settings; blocking.
    """

    def __init__(self, own: ModelSettings, load: Callable[[ModelSettings], Embedder]) -> None:
        self._own = own
        self._load = load
        self._lock = threading.Lock()
        self._alive: WeakValueDictionary[str, Embedder] = WeakValueDictionary()
        self._own_digest: str | None = None

    @property
    def loaded(self) -> tuple[str, ...]:
        """Digests of the models in memory."""
        return tuple(sorted(self._alive))

    def own(self) -> Embedder:
        """The configured model.

        Raises:
            AlchemyError: as `registry.load_embedder`.
        """
        with self._lock:
            return self._own_model()

    def get(self, digest: str, meta: Mapping[str, Any]) -> Embedder:
        """The model with this digest.

        Args:
            meta: metadata of the index's manifest.

        Raises:
            AlchemyError: CONFLICT when neither the configured nor the recorded model is it, or
                where the recorded one is remote: its address and key are configured, or it is not
                asked. MODEL_UNAVAILABLE when it is not on this machine.
        """
        with self._lock:
            alive = self._alive.get(digest)
            if alive is not None:
                return alive
            if self._own_digest in (None, digest):
                try:
                    own = self._own_model()
                    if own.digest == digest:
                        return own
                    del own  # two models are in memory only where two releases need them
                except AlchemyError as error:
                    # a new model that is not there yet must not take the old index's away
                    if RECORDED not in meta:
                        raise
                    get_logger().warning("embedder.own_unavailable", error=str(error))
            found = self._load(self._settings_of(digest, meta))
            if found.digest != digest:
                raise _conflict(digest, f"{found.digest[:12]} is now where its settings point")
            get_logger().info("embedder.loaded", digest=digest[:12], recorded=True)
            self._alive[digest] = found
            return found

    def settings(self, digest: str, meta: Mapping[str, Any]) -> ModelSettings:
        """The settings of the model that `get` gives.

        Raises:
            AlchemyError: CONFLICT where they are not recorded.
        """
        with self._lock:
            return self._own if digest == self._own_digest else self._settings_of(digest, meta)

    def _own_model(self) -> Embedder:
        found = self._alive.get(self._own_digest) if self._own_digest else None
        if found is None:
            found = self._load(self._own)
            self._own_digest = found.digest
            self._alive[found.digest] = found
        return found

    def _settings_of(self, digest: str, meta: Mapping[str, Any]) -> ModelSettings:
        stored = meta.get(RECORDED)
        own = f"model_b is {(self._own_digest or 'not available')[:13]}"
        if not isinstance(stored, Mapping):
            raise _conflict(digest, f"its settings are not recorded, and {own}")
        if stored.get("provider") == "openai":
            raise _conflict(digest, f"it is remote, and {own}")
        try:
            return ModelSettings.model_validate(
                {**{name: stored[name] for name in _FIELDS}, **self._where()}
            )
        except (KeyError, ValidationError) as error:
            raise _conflict(digest, f"its recorded settings are damaged, and {own}") from error

    def _where(self) -> dict[str, Any]:
        return {"device": self._own.device, "batch_size": self._own.batch_size}


def _conflict(digest: str, why: str) -> AlchemyError:
    return AlchemyError(
        ErrorCode.CONFLICT,
        f"the index was built with the embedding model {digest[:12]}: {why}",
        "Set model_b back, or run the pipeline to build an index with the new model.",
    )
