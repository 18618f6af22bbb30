"""Files that are there whole or not at all, whatever happens while they are written."""

import errno
import hashlib
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd

PART = ".part"  # the end of the name of a file that is being written
_ROOM = 1 << 20  # bytes below which a disk is called full
_BLOCK = 1 << 20
_PATIENCE = 0.5  # seconds of waiting for a lock that nobody has to be told of
_log = logging.getLogger(__name__)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to; what was written takes the place of `path` once it is on the disk.

    After an error, and after a kill, `path` is what it was before.

    Raises:
        OSError: with the path, when it can't be written.
    """
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}{PART}")
    try:
        yield part
        _synced(part)
        part.replace(path)
        _synced(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except Exception as error:  # libraries in C speak of a full disk in words of their own
        if shutil.disk_usage(path.parent).free < _ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def inside(folder: Path, path: Path) -> bool:
    """Whether a path leads to something within a folder, links followed."""
    try:
        return folder.resolve() in path.resolve().parents
    except (ValueError, OSError, RuntimeError):  # no name of a file; a circle of links
        return False


def write_csv(table: "pd.DataFrame", path: Path) -> None:
    """Write a table of many rows without its index, in a sixth of the time that pandas takes."""
    import pyarrow as pa
    from pyarrow import csv

    found = pa.Table.from_pandas(table, preserve_index=False)
    csv.write_csv(found, path, csv.WriteOptions(quoting_style="needed"))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text or bytes as a file that is either there whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def digest(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


@contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Hold a lock, in its folder, which is made; who waits for long is told for whom.

    Args:
        path: of the lock.
        work: what is done under it, such as "writes pages".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_name(f"{path.name}.holder")
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        _log.warning("%s %s: waiting for it", _named(holder), work)
        lock.acquire()
    try:
        with suppress(OSError):  # a full disk is told of where it matters
            holder.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _named(holder: Path) -> str:
    """Who holds a lock; on its way to be written, or of another version, it is nobody by name."""
    try:
        return holder.read_text() or "another process"
    except OSError:
        return "another process"


def held(lock: Path) -> bool:
    """Whether a process that lives holds this lock."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def leftovers(folder: Path, alive: Callable[[int], bool]) -> list[Path]:
    """Files in a folder and below that processes which are dead had begun to write."""
    found = []
    for path in folder.rglob(f".*{PART}"):
        number = path.name.removesuffix(PART).rpartition(".")[2]
        if number.isdigit() and not alive(int(number)):
            found.append(path)
    return sorted(found)


def _synced(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    there = os.open(path, os.O_RDONLY)
    try:
        os.fsync(there)
    except OSError as error:  # some file systems can't be asked for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(there)
