"""How a release speaks when nothing is looked up, and who may hear it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from alchemy.types import Principal


@dataclass(frozen=True)
class Voice:
    """A release's part of the generator.

    A model may repeat what it learned, so only who may read all of it gets its text.

    Attributes:
        adapter: its version, or `base`.
        digest: sha256 of the adapter's weights, or of the base's.
        scopes: (tenant, groups) of everything the adapter learned from.
    """

    adapter: str
    digest: str
    scopes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of_adapter(cls, adapter: str, digest: str, meta: Mapping[str, Any]) -> Self:
        """From the adapter's manifest metadata (`tenants`, `acl`)."""
        scopes = tuple((tenant, tuple(acl)) for tenant in meta["tenants"] for acl in meta["acl"])
        return cls(adapter, digest, scopes)

    def may_speak_to(self, principal: Principal) -> bool:
        """Whether the principal may read everything the adapter learned from."""
        return all(principal.may_read(tenant, groups) for tenant, groups in self.scopes)
