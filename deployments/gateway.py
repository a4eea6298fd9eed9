"""The ingress deployment: the HTTP interface over the other deployments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError
from alchemy.release.cache import ReleaseCache
from alchemy.serving.admission import Admission
from alchemy.serving.ask import Asker
from alchemy.serving.auth import Accounts
from alchemy.serving.feedback import FeedbackDesk
from alchemy.serving.sessions import Sessions
from alchemy.stores import open_lake
from alchemy.stores.redis import RedisStore
from alchemy.stores.tombstones import Key
from alchemy.types import Release
from deployments.forgetting import TombstoneFollower
from deployments.gateway_engines import HandleEngines
from deployments.gateway_jobs import RayJobs
from deployments.metrics import RequestMeter, cluster_metrics, refused_counter
from deployments.routes import Services, create_api

_WELL = ("HEALTHY", "UPSCALING", "DOWNSCALING")


@serve.deployment
@serve.ingress()
class Gateway:
    """Holds what the routes use; everything durable is in Redis and the lake."""

    def __init__(
        self,
        settings: Settings,
        knowledge: DeploymentHandle,
        generator: DeploymentHandle,
        finalist: DeploymentHandle,
    ) -> None:
        logs.configure()
        serving = settings.serving
        self._kv = RedisStore(settings.redis.url, settings.redis.timeout_s)
        self._lake = open_lake(settings.lake)
        # the gateway's part of a release is its record: it only names the one that is live, which
        # is none that the others cannot load
        self._releases = ReleaseCache(
            self._lake, self._prepared, part="gateway", refused=refused_counter("gateway")
        )
        handles = HandleEngines(knowledge, generator, finalist)
        self._engines = handles
        engines = handles.engines()
        self._tombstones = TombstoneFollower(self._lake, self._sweep)
        forgotten = self._tombstones.now
        self._sessions = sessions = Sessions(
            self._kv, serving.session_ttl_s, serving.history_turns, forgotten
        )
        self._feedback = FeedbackDesk(self._lake, self._kv, sessions, forgotten)
        admission = Admission(serving.max_ongoing, serving.max_queued)
        self._services = Services(
            token_ttl_s=serving.token_ttl_s,
            accounts=Accounts(self._kv, serving.jwt_secret.get_secret_value(), serving.token_ttl_s),
            sessions=sessions,
            feedback=self._feedback,
            admission=admission,
            asker=Asker(
                engines,
                sessions,
                admission,
                passages=settings.retrieval.passages,
                draft_tokens=serving.draft_tokens,
                deadline_s=serving.request_timeout_s,
            ),
            engines=engines,
            embed=handles.embed,
            generate=handles.generate,
            owners=self._owners,
            forgotten_changed=self._tombstones.look,
            live=lambda: self._releases.live,
            lake=self._lake,
            kv=self._kv,
            jobs=RayJobs(settings),
            parts=self._parts,
            metrics=cluster_metrics,
            observe=RequestMeter(),
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """What Serve runs; called once, after the constructor, on the replica's event loop."""
        await self._tombstones.start()
        await self._releases.start()
        return create_api(self._services)

    def _prepared(self, release: Release) -> Release:
        """The release, once it can be answered from.

        A first release with a broken adapter still answers from evidence; it never replaces a
        whole one.
        """
        replaces = self._releases.live is not None
        self._engines.prepare(release.id, with_generator=replaces)
        return release

    async def _owners(self, document_ids: Sequence[str]) -> dict[str, str]:
        live = self._releases.live
        return await self._engines.owners(document_ids, live.id) if live else {}

    async def _sweep(self, documents: frozenset[Key]) -> None:
        """Remove what this replica stored before it knew, wherever the order came from."""
        await self._sessions.erase(documents)
        await self._feedback.erase(documents, "forget")

    async def _parts(self) -> dict[str, str]:
        """Health of Redis, of every deployment of this application, and of the newest release."""
        parts = {"redis": "ok", "release": "ok"}
        if self._releases.refused is not None:
            refused, why = self._releases.refused
            parts["release"] = f"{refused} is refused: {why.message}"
        try:
            await self._kv.ping()
        except AlchemyError as error:
            parts["redis"] = error.message
        application = serve.get_replica_context().app_name
        status = await asyncio.to_thread(serve.status)
        for name, deployment in status.applications[application].deployments.items():
            state = deployment.status.value
            parts[name.lower()] = "ok" if state in _WELL else state.lower()
        return parts
