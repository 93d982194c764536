"""What several tests need: the optional mirror of real data beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
MIRROR = PROJECT.parent / "shared" / "mirror"

needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"REAL DATA NOT TESTED: no mirror folder at {MIRROR}")
