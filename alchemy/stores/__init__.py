"""Durable state: the lake (local directory or S3) and Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alchemy.config import LakeSettings
    from alchemy.protocols import Lake


def open_lake(settings: LakeSettings) -> Lake:
    """The configured lake: S3 when a bucket is named, else the local directory."""
    if settings.s3_bucket:
        from alchemy.stores.lake_s3 import S3Lake

        return S3Lake(
            bucket=settings.s3_bucket,
            prefix=settings.s3_prefix,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
        )
    from alchemy.stores.lake_local import LocalLake

    return LocalLake(settings.root)
