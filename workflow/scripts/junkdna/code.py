"""Which code a job runs, as digests: so that an edit reruns just what depends on it, and a reformat nothing.

The imports of a script are read from its syntax tree and followed inside this package. A digest is taken over the tree
without docstrings, so comments, formatting and touched files do not count. The rules pass the digests as params: the
reason that Snakemake prints for a rerun then names the module that changed.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent


@cache  # asked once per job of a plan
def digests(script: str, *modules: str) -> dict[str, str]:
    """Digest of a script and of every project module it imports, directly or not.

    Args:
        script: file name below workflow/scripts.
        modules: further modules of the package that it loads by name, such as ``pruning.magnitude``.
    """
    pending = [SCRIPTS / script, *(_file(f"junkdna.{module}") for module in modules)]
    found: dict[Path, str] = {}
    while pending:
        file = pending.pop()
        if file is not None and file not in found:
            imported, found[file] = _read(file)
            pending += map(_file, imported)
    return {str(file.relative_to(SCRIPTS)): digest for file, digest in sorted(found.items())}


def literal(module: str, name: str) -> Any:
    """The value of a module-level constant, read without importing the module; None if it has no such constant.

    Raises:
        FileNotFoundError: there is no such module.
    """
    file = _file(f"junkdna.{module}")
    if file is None:
        raise FileNotFoundError(module)
    for node in ast.parse(file.read_text(), str(file)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def _file(module: str) -> Path | None:
    stem = SCRIPTS.joinpath(*module.split("."))
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.exists():
            return file
    return None  # an attribute imported from a module, or a library


@cache
def _read(file: Path) -> tuple[tuple[str, ...], str]:
    tree = ast.parse(file.read_text(), str(file))
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    project = tuple(sorted({name for name in imported if name.split(".")[0] == "junkdna"}))
    return project, hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]
