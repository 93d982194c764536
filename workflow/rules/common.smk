"""Settings, the grid, and the helpers that the rules share. Loaded by every job, so nothing heavy is imported."""

import gc
import json
import os
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError

# A fifth of the time of a small plan would go into looking for garbage among what Snakemake has imported.
gc.freeze()
sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))
# Only the fetch rules may ask the hub. Set here, so that forked jobs and cold ones see the same.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The configuration as one value for the scripts that expand the grid. Not a param: those are compared, and a change
# that leaves an experiment's plan as it is must not redo it.
os.environ.update(JUNKDNA_CONFIG=json.dumps(config, default=str))

from junkdna import code, grid, levels, record, warm
from junkdna.checkpoint import Checkpoint, check_divisible, prunable
from junkdna.claims import kept_verdicts, read_claims
from junkdna.config import (
    RESERVED,
    ConfigError,
    calibrated,
    data_of,
    locate,
    read_merged,
    read_yaml,
)
from junkdna.files import DataError, sha256
from junkdna.sources import folder_of

try:
    SETTINGS, CATALOG, EXPERIMENTS = read_merged(config, ", ".join(map(str, workflow.configfiles)) or "--config")
    CLAIMS_FILE = locate(SETTINGS.claims)
    CLAIMS = read_claims(CLAIMS_FILE, CATALOG.methods)
    OTHER_SCALES = [str(path) for path in kept_verdicts(SETTINGS, CLAIMS)]
except DataError as error:
    raise WorkflowError(f"Configuration:\n{error}") from None

RESULTS = SETTINGS.pathvars.get("results", "results")
MIRROR = ["--mirror", str(SETTINGS.mirror)] if SETTINGS.mirror else []
CALIBRATED = calibrated(CATALOG)
CELLS = grid.expand_all(EXPERIMENTS, CALIBRATED)
EVALUATED = {cell.path: cell for cells in CELLS.values() for cell in cells}
TRAINED = {cell.state for cell in EVALUATED.values() if cell.trained and cell.transfer != "zero_shot"}
# Fine-tuned first and compressed then, by the path of the state.
TUNED = {cell.state for cell in EVALUATED.values() if cell.transfer == "zero_shot"}
COMPRESSED = {cell.compression for cell in EVALUATED.values() if cell.compressed and cell.transfer != "zero_shot"}
REPORTED = [name for name, experiment in EXPERIMENTS.items() if experiment.reported]
RECORD = str(locate(SETTINGS.recorded)) if SETTINGS.recorded else f"{RESULTS}/record"
# Methods that compress at all levels in one sweep, as they are named in paths, to these levels.
SWEEPS = {}
for model, method, level in sorted(path.split("/") for path in COMPRESSED):
    if CATALOG.methods[grid.method_of(method)[0]].params.get("propagate") == "dense":
        SWEEPS[method] = sorted({*SWEEPS.get(method, []), level})


def check_widths():
    """Fail before any job if an N:M level or a group does not divide a width of a model that is at hand."""
    for name, method, level in sorted({tuple(state.split("/")[:3]) for state in COMPRESSED | TUNED}):
        params = CATALOG.methods[grid.method_of(method)[0]].params
        group = params.get("group", 0) if params.get("bits", 0) < 16 else 0
        if "of" not in level and not group:
            continue
        model = CATALOG.models[CATALOG.models[name].untrained_twin_of or name]
        folder = folder_of(model.source, SETTINGS.mirror, "models")
        if folder and any(folder.glob("*.safetensors")):
            weights = Checkpoint(folder)
            names = prunable(weights.infos, model.prunable_include, model.prunable_exclude)
            check_divisible(weights, levels.parse(level), names, group)


def check_harness():
    """Fail before any job if a task is the harness's and that is not installed where the jobs run."""
    if SETTINGS.recorded:
        return
    asked = sorted({cell.task for cell in EVALUATED.values() if CATALOG.tasks[cell.task].kind == "lm_eval"})
    if asked and SETTINGS.environment != "harness" and find_spec("lm_eval") is None:
        raise DataError(
            f"tasks: {asked[0]!r} is of kind lm_eval, and lm-evaluation-harness is not installed: "
            "pip install -r envs/harness.txt, or --sdm conda with environment: harness"
        )


def check_record():
    """Fail before any job if the record is not of this configuration, or would replace the cells of a run."""
    if not SETTINGS.recorded:
        return
    record.check(Path(RECORD), EVALUATED.values(), record.definitions(EVALUATED.values(), CATALOG))
    evaluated = Path(RESULTS, "evaluate")
    if evaluated.exists() and not (evaluated / record.MARK).exists():
        raise DataError(
            f"{evaluated}: holds the cells of a run, which those of the record would replace; give the record a folder "
            "of its own: --config recorded=DIR 'pathvars={results: ANOTHER}'"
        )


try:
    check_widths()
    check_harness()
    check_record()
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
    dataset=r"[\w.-]+",
    organism=r"[\w.-]+",
    experiment=rf"(?!(?:{'|'.join(RESERVED)})\.)[\w.-]+",


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
    root = here(f"resources/{source.family}") if source.type == "builtin" else SETTINGS.mirror
    sums = Path(root or "-", "SHA256SUMS")
    return str(sums) if source.type not in ("local", "corpus") and sums.exists() else []


def code_of(script):
    """Params function: digests of a script, what it imports, and the module of the wildcard's method."""

    def digests(wildcards):
        method, _ = grid.method_of(wildcards.get("method", grid.DENSE))
        modules = [CATALOG.methods[method].module] if method in CATALOG.methods else []
        modules += ["calibration"] if method in CALIBRATED else []
        task = CATALOG.tasks.get(wildcards.get("suite"))
        if task is None or task.kind != "lm_eval":
            return code.digests(script, *modules)
        files = sorted(task.include_path.glob("**/*")) if task.include_path else []
        return code.digests(script, *modules, "harness") | {str(f): sha256(f) for f in files if f.is_file()}

    return digests


RECIPE = here("resources/organisms/recipe.yaml")
SMALL_RECIPE = here("resources/small/recipe.yaml")
HUMAN = here("resources/human_scores.yaml")
DIFFICULTY_FIGURES = ["difficulty_agreement", "flip_by_difficulty"]
ENVIRONMENT = f"../../envs/{SETTINGS.environment}.yaml"
