"""Settings, the grid, and the helpers that the rules share. Loaded by every job, so nothing heavy is imported."""

import json
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))
# Only the fetch rules may ask the hub. Set here, so that forked jobs and cold ones see the same.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The configuration as one value for the scripts that expand the grid. Not a param: those are compared, and a change
# that leaves an experiment's plan as it is must not redo it.
os.environ.update(JUNKDNA_CONFIG=json.dumps(config, default=str))

from junkdna import code, grid, levels, warm
from junkdna.checkpoint import Checkpoint, check_divisible, prunable
from junkdna.config import ConfigError, read_catalog, read_experiments, read_settings
from junkdna.files import DataError
from junkdna.sources import folder_of

try:
    SETTINGS = read_settings(config, ", ".join(map(str, workflow.configfiles)) or "--config")
    CATALOG = read_catalog(SETTINGS.catalog, SETTINGS.limits)
    EXPERIMENTS = read_experiments(SETTINGS, CATALOG)
except DataError as error:
    raise WorkflowError(f"Configuration:\n{error}") from None

RESULTS = SETTINGS.pathvars.get("results", "results")
MIRROR = ["--mirror", str(SETTINGS.mirror)] if SETTINGS.mirror else []
CELLS = grid.expand_all(EXPERIMENTS)
EVALUATED = {cell.path: cell for cells in CELLS.values() for cell in cells}
TRAINED = {cell.state for cell in EVALUATED.values() if cell.trained}
COMPRESSED = {f"{c.model}/{c.method}/{c.level}" for c in EVALUATED.values() if c.compressed}


def check_widths():
    """Fail before any job if an N:M level does not divide a width of a model that is at hand."""
    for state in sorted(COMPRESSED):
        name, _, level = state.split("/")
        model = CATALOG.models[CATALOG.models[name].untrained_twin_of or name]
        folder = folder_of(model.source, SETTINGS.mirror, "models")
        if folder and folder.is_dir() and "of" in level:
            weights = Checkpoint(folder)
            names = prunable(weights.infos, model.prunable_include, model.prunable_exclude)
            check_divisible(weights, levels.parse(level), names)


try:
    check_widths()
except DataError as error:
    raise WorkflowError(f"Configuration:\n{error}") from None


wildcard_constraints:
    model=r"[\w.-]+",
    method=r"[\w.-]+",
    level=r"[\w.]+",
    transfer=r"dense|sparse|sparse_to_dense|dense_frozen",
    task=r"[\w.-]+",
    suite=r"[\w.-]+",
    fraction=r"\d\.\d\d",
    seed=r"\d+",
    experiment=r"[\w.-]+",


def planned(kind, path, known):
    """Turn a path outside the grid into an error that says what is allowed, where a job would start otherwise."""
    try:
        grid.check_member(kind, path, known)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def here(path):
    """A path of the project, relative to the working directory where it lies below it: a moved project reruns nothing."""
    path = Path(workflow.basedir, path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def script(name):
    return here(f"workflow/scripts/{name}")


def sizes_of(source, kind, pattern):
    """Name and size of a source's files that are at hand. Weights are too large to compare by checksum at each start."""
    folder = folder_of(source, SETTINGS.mirror, kind)
    return {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.glob(pattern))} if folder else {}


def sums_of(source):
    """The list of digests above a source, which tells a change of content from a touch."""
    root = here("resources/organisms") if source.type == "builtin" else SETTINGS.mirror
    sums = Path(root or "-", "SHA256SUMS")
    return str(sums) if source.type != "local" and sums.exists() else []


def code_of(script):
    """Params function: digests of a script, what it imports, and the module of the wildcard's method."""

    def digests(wildcards):
        method = wildcards.get("method", grid.DENSE)
        modules = [CATALOG.methods[method].module] if method in CATALOG.methods else []
        return code.digests(script, *modules)

    return digests


RECIPE = here("resources/organisms/recipe.yaml")
HUMAN = here("resources/human_scores.yaml")
ENVIRONMENT = f"../../envs/{SETTINGS.environment}.yaml"
