"""The lake on S3 through boto3: MinIO, AWS, Ceph, anything with conditional PUT."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import LakeObject
from alchemy.stores.keys import checked_key, missing

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_EXISTS = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}
_DENIED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}


class S3Lake:
    """A bucket, or a prefix of one. Picklable: the client is made on first use per process."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint: str = "",
        region: str = "us-east-1",
        access_key: str = "",
        secret_key: str = "",
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._endpoint = endpoint
        self._region = region
        self._access_key = access_key
        self._secret_key = secret_key
        self._lock = threading.Lock()
        self._made: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the live client."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_made", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore with no client yet."""
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._made = None

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                self._made = boto3.client(
                    "s3",
                    endpoint_url=self._endpoint or None,
                    region_name=self._region,
                    aws_access_key_id=self._access_key or None,
                    aws_secret_access_key=self._secret_key or None,
                    config=Config(
                        retries={"mode": "standard", "max_attempts": 5},
                        connect_timeout=5,
                        read_timeout=60,
                        s3={"addressing_style": "path"} if self._endpoint else {},
                        # older S3 servers (Ceph 16) refuse boto3's newer default checksums
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    @contextmanager
    def _asking(self, key: str, *, writing: bool) -> Iterator[None]:
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT and not writing:
                raise missing(self.uri, key) from error
            if code in _EXISTS and writing:
                raise AlchemyError(
                    ErrorCode.CONFLICT, f"{key!r} already exists in the lake {self.uri}"
                ) from error
            kind = ErrorCode.LAKE_UNAVAILABLE
            if writing and code in _DENIED:
                kind = ErrorCode.LAKE_NOT_WRITABLE
            raise AlchemyError(
                kind,
                f"S3 refused {key!r} of the lake {self.uri}: {code or error}",
                "Check S3_BUCKET, the AWS credentials and the bucket's policy.",
            ) from error
        except (BotoCoreError, S3UploadFailedError) as error:
            raise AlchemyError(
                ErrorCode.LAKE_UNAVAILABLE,
                f"cannot reach the lake {self.uri} at {self._endpoint or 'AWS'}: {error}",
                "Check S3_ENDPOINT and the network.",
            ) from error

    def read(self, key: str) -> bytes:
        """See `protocols.Lake`."""
        return b"".join(self.stream(key))

    def stream(self, key: str, chunk_bytes: int = 1 << 20, start: int = 0) -> Iterator[bytes]:
        """See `protocols.Lake`."""
        with self._asking(key, writing=False):
            # no range for a whole object: an empty one has none to give
            part = {"Range": f"bytes={start}-"} if start else {}
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(key), **part)["Body"]
            yield from body.iter_chunks(chunk_bytes)

    def download(self, key: str, path: Path) -> None:
        """See `protocols.Lake`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._asking(key, writing=False):
            self._client.download_file(self._bucket, self._key(key), str(path))

    def write(self, key: str, data: bytes) -> None:
        """See `protocols.Lake`."""
        with self._asking(key, writing=True):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def create(self, key: str, data: bytes) -> None:
        """See `protocols.Lake`."""
        with self._asking(key, writing=True):
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*"
            )

    def upload(self, key: str, path: Path) -> None:
        """See `protocols.Lake`."""
        with self._asking(key, writing=True):
            self._client.upload_file(str(path), self._bucket, self._key(key))

    def list(self, prefix: str) -> Iterator[LakeObject]:
        """See `protocols.Lake`."""
        with self._asking(prefix, writing=False):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    if item["Key"].endswith("/"):  # a console's or file system's "folder"
                        continue
                    key, modified = item["Key"][len(self._prefix) :], item["LastModified"]
                    yield LakeObject(key, item["Size"], modified=modified.timestamp())

    def exists(self, key: str) -> bool:
        """See `protocols.Lake`."""
        try:
            with self._asking(key, writing=False):
                self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        except AlchemyError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return False
            raise
        return True

    def delete(self, key: str) -> None:
        """See `protocols.Lake`."""
        with self._asking(key, writing=True):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def check_writable(self) -> None:
        """See `protocols.Lake`."""
        self.write(".writable", b"")
        self.delete(".writable")
