"""Where a result came from: code, versions, device, cost. Written beside a result, never compared."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from junkdna.files import write_json
from junkdna.versions import VERSIONS

SCHEMA = 1
STARTED = time.monotonic()


def write_provenance(path: Path, params: dict[str, Any]) -> None:
    """Write commit, versions, device, seconds since this module was imported, peak memory and ``params``."""
    write_json(
        path,
        {
            "schema": SCHEMA,
            "git_commit": _commit(),
            "versions": VERSIONS,
            "device": _device(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "seconds": round(time.monotonic() - STARTED, 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "params": params,
        },
    )


def _commit() -> str | None:
    """The commit of the project, with a mark if files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
