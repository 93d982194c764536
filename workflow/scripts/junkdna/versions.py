"""Versions of what computes. A module of its own: with warm starts it is read once for all jobs."""

import importlib.metadata
import platform

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow")
VERSIONS = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
