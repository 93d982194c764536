"""Files that are either whole or absent: write aside, then rename."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """An input that cannot be used; the message names the file, the key, the value and what is allowed."""


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it when the block ends without an error.

    The sibling may be written as a file or made a directory. On an error it is removed and ``path`` is untouched; after
    a kill by the next writer of ``path`` on this machine.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as matplotlib choose the format by it.
    writer = f"{_machine()}-{os.getpid()}"
    aside = path.with_name(f".{path.stem}.{writer}-{uuid.uuid4().hex[:8]}{path.suffix}")
    _remove_leftovers(path)
    try:
        yield aside
        if path.is_dir() and aside.is_dir():
            shutil.rmtree(path)
        os.replace(aside, path)
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _machine() -> str:
    """What tells the machine, and where a container numbers its own processes, that from others that share a disk."""
    space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _remove_leftovers(path: Path) -> None:
    """Remove what writers of ``path`` that were killed on this machine left aside.

    Only theirs: another machine's may still be at work, and so may others here, as on a cache that runs share.
    """
    named = re.compile(rf"\.{re.escape(path.stem)}\.{_machine()}-(\d+)-[0-9a-f]{{8}}{re.escape(path.suffix)}")
    for aside in path.parent.iterdir():
        if (found := named.fullmatch(aside.name)) and not _alive(int(found[1])):
            with suppress(OSError):  # another writer is removing it too, or it is another user's
                _remove(aside)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def sha256(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` with sorted keys, so that equal values give equal bytes."""
    with atomic_path(path) as aside:
        aside.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON.

    Raises:
        DataError: the file is missing, truncated or not JSON; the message names it.
    """
    try:
        with open(path, "rb") as handle:
            return json.load(handle)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); delete it so that it is made again") from error
