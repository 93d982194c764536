"""What several tests need: the optional mirror of real data and the optional environment of the harness."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
MIRROR = PROJECT.parent / "shared" / "mirror"

needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"REAL DATA NOT TESTED: no mirror folder at {MIRROR}")

# The interpreter of an environment with lm-evaluation-harness, which is never in the project's own.
HARNESS = Path(os.environ.get("JUNKDNA_HARNESS_PYTHON", PROJECT / ".venv-harness/bin/python"))
needs_harness = pytest.mark.skipif(
    not HARNESS.exists(), reason=f"NOTHING TESTED AGAINST lm-evaluation-harness: no {HARNESS}; run `make harness`"
)
