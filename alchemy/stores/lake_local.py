"""The lake as a local directory: temp file + rename for writes, hard link for create-only."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import LakeObject
from alchemy.stores.keys import checked_key, missing

_TEMPORARY = ".tmp-"


class LocalLake:
    """A directory on this machine or on a shared file system."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    @property
    def uri(self) -> str:
        """`file:///abs/dir`."""
        return self.root.as_uri()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def read(self, key: str) -> bytes:
        """See `protocols.Lake`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(self.uri, key) from error
        except OSError as error:
            raise self._unreadable(key, error) from error

    def stream(self, key: str, chunk_bytes: int = 1 << 20, start: int = 0) -> Iterator[bytes]:
        """See `protocols.Lake`."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                while piece := file.read(chunk_bytes):
                    yield piece
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(self.uri, key) from error
        except OSError as error:
            raise self._unreadable(key, error) from error

    def download(self, key: str, path: Path) -> None:
        """See `protocols.Lake`."""
        source = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(self.uri, key) from error
        except OSError as error:
            raise self._unreadable(key, error) from error

    def write(self, key: str, data: bytes) -> None:
        """See `protocols.Lake`."""
        self._put(key, lambda temporary: temporary.write_bytes(data), exclusive=False)

    def create(self, key: str, data: bytes) -> None:
        """See `protocols.Lake`."""
        self._put(key, lambda temporary: temporary.write_bytes(data), exclusive=True)

    def upload(self, key: str, path: Path) -> None:
        """See `protocols.Lake`."""
        self._put(key, lambda temporary: shutil.copyfile(path, temporary), exclusive=False)

    def _put(self, key: str, fill: Callable[[Path], object], *, exclusive: bool) -> None:
        target = self._path(key)
        with self._writing(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
            try:
                fill(temporary)
                # data first, name second: after a power cut the name never points at nothing
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                if exclusive:
                    # a link of a complete file fails atomically when the name exists (O_EXCL
                    # alone would let a reader see the file before its content)
                    os.link(temporary, target)
                else:
                    temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise AlchemyError(
                ErrorCode.CONFLICT, f"{key!r} already exists in the lake {self.uri}"
            ) from error
        except OSError as error:
            raise AlchemyError(
                ErrorCode.LAKE_NOT_WRITABLE,
                f"cannot write {key!r} to the lake {self.uri}: {error.strerror or error}",
                "Free space, mend the permissions, or set ALCHEMY_DATA to a writable directory.",
            ) from error

    def list(self, prefix: str) -> Iterator[LakeObject]:
        """See `protocols.Lake`."""
        base = prefix.rpartition("/")[0]
        start = self.root / checked_key(base) if base else self.root
        found: list[LakeObject] = []
        for directory, _, names in os.walk(start):
            for name in names:
                path = Path(directory, name)
                key = path.relative_to(self.root).as_posix()
                if not key.startswith(prefix) or name.startswith(_TEMPORARY):
                    continue
                try:
                    facts = path.stat()
                except FileNotFoundError:  # deleted while we walked
                    continue
                found.append(LakeObject(key, facts.st_size, modified=facts.st_mtime))
        yield from sorted(found, key=lambda item: item.key)

    def exists(self, key: str) -> bool:
        """See `protocols.Lake`."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """See `protocols.Lake`."""
        with self._writing(key):
            self._path(key).unlink(missing_ok=True)

    def check_writable(self) -> None:
        """See `protocols.Lake`."""
        self.write(".writable", b"")
        self.delete(".writable")

    def _unreadable(self, key: str, error: OSError) -> AlchemyError:
        return AlchemyError(
            ErrorCode.LAKE_UNAVAILABLE,
            f"cannot read {key!r} from the lake {self.uri}: {error.strerror or error}",
        )
