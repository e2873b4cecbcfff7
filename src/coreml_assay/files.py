"""The one way files and packages are written: to a temporary name, then moved into place.

Whoever reads the final name finds the old content or the new, never half of either.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: the disk is full, or the folder cannot be written; ``path`` is then as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``path`` when the block ends well.

    If the block raises (Ctrl-C included), the new folder is removed and ``path`` is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    fresh = holder / path.name
    fresh.mkdir()
    try:
        yield fresh
        if path.exists():
            path.replace(holder / "previous")
        fresh.replace(path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
