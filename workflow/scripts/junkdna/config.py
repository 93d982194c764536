"""The configuration: settings and experiments as pydantic models, and the readers of config/ and the catalog.

One source for validation, defaults, schema and docs. Every model forbids unknown keys. Errors are :class:`ConfigError`:
one line per problem with file, key, value and what is allowed. Imported while Snakemake parses the Snakefile, so
nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from junkdna import code, levels
from junkdna.catalog import (
    TRANSFERS,
    Builtin,
    CalibrationData,
    Catalog,
    DataSource,
    FractionText,
    Hub,
    LevelText,
    Method,
    Name,
    Revision,
    Strict,
)
from junkdna.files import DataError
from junkdna.reported import KEYS as REPORTED_KEYS
from junkdna.reported import problems as reported_problems

PROJECT = Path(__file__).resolve().parents[3]

YAML = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # in C it takes an eighth of the time

M = TypeVar("M", bound=BaseModel)
Seed = Annotated[int, Field(ge=0)]
# Tables and figures over all experiments; none of these can have such a name.
RESERVED = (
    *("difficulty", "difficulty_agreement", "flip_by_difficulty", "flip_by_difficulty_thirds"),
    *("claims", "claims_sets", "pretraining", "against_reported"),
)


class ConfigError(DataError):
    """Configuration that cannot be used; the message has one line per problem."""


class Selection(Strict):
    """A panel or a curve of a figure: the points whose columns have the values in `where`."""

    label: str
    where: dict[Literal["model", "task", "variant", "fraction", "transfer", "method"], str | list[str]] = {}
    reported: dict[Literal[REPORTED_KEYS], str | list[str]] = Field(
        {}, description="Values of resources/reported that belong here: those that panel and series both select."
    )


class Series(Selection):
    """A curve of a figure, on one difficulty axis of the experiment."""

    axis: str = Field("", description="Difficulty axis, where there are several; their curves are not compared.")


class Experiment(Strict):
    """One experiment: its axes, its difficulty axis and its figure."""

    name: Name
    id: Annotated[str, Field(pattern=r"^E\d+$", description="Number in the protocol.")]
    title: str
    question: str = Field(description="What the experiment asks, one sentence.")
    caption: str = Field("", description="What the figure shows and how to read it, for the report.")
    models: list[Name] = Field(min_length=1)
    controls: list[Name] = Field([], description="Control models, run dense only: untrained twins.")
    methods: dict[Name, list[LevelText] | str] = Field(
        min_length=1, description="Method to its levels, or to the name of a list in `levels` of the configuration."
    )
    transfers: list[Literal[TRANSFERS]] = Field(["none"], min_length=1)
    tasks: list[Name] = Field(min_length=1)
    fractions: list[FractionText] = Field(["1.00"], min_length=1, description="Shares of the training data.")
    seeds: list[int] | None = Field(None, description="Fine-tuning seeds; null takes `seeds` of the configuration.")
    calibration_seeds: list[Seed] | None = Field(
        None, description="Draws of the calibration data; null takes `calibration_seeds` of the configuration."
    )
    panels: list[Selection] = Field(min_length=1, description="Columns of the figure.")
    series: list[Series] = Field(min_length=1, description="Curves; if `ordered`, from easy to hard in each axis.")
    ordered: bool = Field(True, description="The series of an axis go from easy to hard.")
    series_title: str = Field("Difficulty", description="Title of the legend.")
    y: Literal["percent_of_dense", "value"] = Field("percent_of_dense", description="What the figure draws.")
    reported: bool = Field(False, description="Draw the reported values too, and compare with them.")


class Settings(Strict):
    """The configuration that Snakemake reads (config/config.yaml and what --configfile and --config add)."""

    catalog: list[Path] = Field([Path("config/catalog")], description="Folders of catalog files.")
    experiments: list[Path] = Field(min_length=1, description="Experiment files.")
    claims: Path = Field(
        Path("config/claims.yaml"), description="The claims under test and the rules of their verdicts."
    )
    scale: Name = Field("organism", description="Name of the scale of models and tasks that this configuration runs.")
    other_scales: dict[Name, Path | None] = Field(
        {},
        description="Scale to the verdicts kept of it, for claims.md; null, and the entry of `scale`, are left out.",
    )
    levels: dict[Name, list[LevelText]] = Field({}, description="Named lists of levels that experiments refer to.")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Fine-tuning seeds where an experiment names none.")
    calibration_seeds: list[Seed] = Field(
        [0], min_length=1, description="Draws of the calibration data where an experiment names none."
    )
    limits: dict[Name, dict[Literal["train", "evaluate"], int]] = Field(
        {}, description="Task to row limits that replace the catalog's."
    )
    revisions: dict[str, Revision] = Field(
        {}, description="Hub id to commit, for what the catalog does not pin; `make pin` writes them."
    )
    mirror: Path | None = Field(None, description="Folder with models/ORG/NAME and datasets/ORG/NAME; no network.")
    recorded: Path | None = Field(
        None, description="Folder of a run's record: its cells are taken from there, and nothing is evaluated."
    )
    warm_start: bool = Field(True, description="Local runs fork jobs from a server that has torch loaded already.")
    environment: Literal["cpu", "gpu", "harness"] = Field(
        "cpu",
        description="Which of envs/ the rules use under --sdm conda. With `gpu`, those that can use a GPU ask for one.",
    )
    figure_formats: list[Literal["svg", "pdf", "png"]] = ["svg", "pdf", "png"]
    pathvars: dict[str, str] = Field({}, description="Snakemake's path variables; {results: DIR} moves the results.")


def _known(kind: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"unknown {kind} {name!r}{hint} Allowed: {', '.join(sorted(known))}"


def explain(error: ValidationError, file: str, model: type[BaseModel]) -> str:
    """One line per problem: file, key, value, what is allowed."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            allowed = _allowed(model, problem["loc"][:-1])
            lines.append(f"{file}: {key}: {_known('key', str(problem['loc'][-1]), allowed)}")
        else:
            lines.append(f"{file}: {key}: {problem['input']!r}: {message}")
    return "\n".join(lines)


def _allowed(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys allowed at a location, by walking the JSON schema, which resolves unions and dictionaries for us."""
    schema = model.model_json_schema()
    nodes = [schema]
    for part in location:
        found = []
        for node in _resolve(nodes, schema):
            if part in node.get("properties", {}):
                found.append(node["properties"][part])
            elif isinstance(node.get("additionalProperties"), dict):
                found.append(node["additionalProperties"])
            elif "patternProperties" in node:
                found += node["patternProperties"].values()
            elif isinstance(part, int) and "items" in node:
                found.append(node["items"])
        nodes = found or nodes
    return sorted({key for node in _resolve(nodes, schema) for key in node.get("properties", {})})


def _resolve(nodes: list[dict], schema: dict) -> list[dict]:
    resolved = []
    for node in nodes:
        if "$ref" in node:
            resolved += _resolve([schema["$defs"][node["$ref"].split("/")[-1]]], schema)
        for union in ("anyOf", "oneOf"):
            resolved += _resolve(node.get(union, []), schema)
        resolved.append(node)
    return resolved


def validated(model: type[M], value: Any, file: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(explain(error, file, model)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        value = yaml.load(path.read_text(), Loader=YAML)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds {type(value).__name__}; a mapping of keys to values is expected")
    return value


def read_settings(raw: dict[str, Any], file: str) -> Settings:
    """Validate Snakemake's merged configuration; ``file`` names its origin in errors."""
    return validated(Settings, raw, file)


def read_catalog(
    folders: Iterable[Path],
    limits: dict[str, dict[str, int]] | None = None,
    revisions: dict[str, str] | None = None,
) -> Catalog:
    """Merge the YAML files of the catalog folders.

    Args:
        folders: relative ones are looked up below the working directory, then below the project.
        limits: task to {"train": n, "evaluate": n}, replacing what the task says.
        revisions: hub id to commit, for the entries that name none.

    Raises:
        ConfigError: a file is invalid, a key occurs twice, or an entry names one that does not exist.
    """
    merged: dict[str, dict[str, Any]] = {}
    origin: dict[tuple[str, str], Path] = {}
    for folder in map(locate, folders):
        files = sorted(folder.glob("*.yaml"))
        if not files:
            raise ConfigError(f"{folder}: catalog: no *.yaml file there")
        for file in files:
            part = validated(Catalog, read_yaml(file), str(file))
            for section in part.model_fields_set:
                for key, value in getattr(part, section).items():
                    if (section, key) in origin:
                        raise ConfigError(f"{file}: {section}.{key}: already defined in {origin[section, key]}")
                    origin[section, key] = file
                    merged.setdefault(section, {})[key] = value
    for name, limit in (limits or {}).items():
        if name not in merged.get("tasks", {}):
            raise ConfigError(f"limits: {_known('task', name, merged.get('tasks', {}))}")
        changed = {f"{key}_limit": value for key, value in limit.items()}
        merged["tasks"][name] = merged["tasks"][name].model_copy(update=changed)
    pinned = {name: _pinned(source, revisions or {}) for name, source in merged.get("datasets", {}).items()}
    models = merged.get("models", {}).items()
    models = {n: m.model_copy(update={"source": _pinned(m.source, revisions or {})}) for n, m in models}
    catalog = Catalog(**merged | {"datasets": pinned, "models": models})
    problems = [f"{origin[section, name]}: {section}.{name}.{line}" for section, name, line in _dangling(catalog)]
    if problems:
        raise ConfigError("\n".join(problems))
    return catalog


def _dangling(catalog: Catalog) -> Iterable[tuple[str, str, str]]:
    """Section, entry and problem wherever an entry names something that does not exist."""
    root = PROJECT / "resources"
    shipped = [str(file.parent.relative_to(root)) for file in root.glob("*/*/config.json")]
    for name, task in catalog.tasks.items():
        if task.dataset not in catalog.datasets:
            yield "tasks", name, f"dataset: {_known('dataset', task.dataset, catalog.datasets)}"
    for name, source in catalog.datasets.items():
        if isinstance(source, Builtin) and source.path != "world":
            yield "datasets", name, f"path: {_known('builtin', source.path, ['world'])}"
    for name, model in catalog.models.items():
        if model.untrained_twin_of and model.untrained_twin_of not in catalog.models:
            yield "models", name, f"untrained_twin_of: {_known('model', model.untrained_twin_of, catalog.models)}"
        if model.calibration and model.calibration.dataset not in catalog.datasets:
            problem = _known("dataset", model.calibration.dataset, catalog.datasets)
            yield "models", name, f"calibration.dataset: {problem}"
        if isinstance(model.source, Builtin) and model.source.path not in shipped:
            yield "models", name, f"source.path: {_known('builtin', model.source.path, shipped)}"
    for name, method in catalog.methods.items():
        yield from (("methods", name, line) for line in _method_problems(name, method))


def _pinned(source: DataSource | None, revisions: dict[str, str]) -> DataSource | None:
    if isinstance(source, Hub) and source.revision is None and source.id in revisions:
        return source.model_copy(update={"revision": revisions[source.id]})
    return source


def read_all(files: Iterable[Path]) -> tuple[Settings, Catalog, dict[str, Experiment]]:
    """The default configuration with ``files`` laid over it, as Snakemake's --configfile does, for scripts."""
    from snakemake.utils import update_config

    raw = read_yaml(PROJECT / "config/config.yaml")
    for file in files:
        update_config(raw, read_yaml(locate(file)))
    return read_merged(raw, ", ".join(map(str, files)) or "config/config.yaml")


def read_merged(raw: dict[str, Any], file: str = "--config") -> tuple[Settings, Catalog, dict[str, Experiment]]:
    """Settings, catalog and experiments of Snakemake's merged configuration."""
    settings = read_settings(raw, file)
    catalog = read_catalog(settings.catalog, settings.limits, settings.revisions)
    return settings, catalog, read_experiments(settings, catalog)


def _method_problems(name: str, method: Method) -> Iterable[str]:
    """What is wrong with a method's module and params, by what the module declares as PARAMS."""
    if "-calibration" in name:
        yield "name: '-calibration' in it is kept for the folders of calibration seeds"
    try:
        declared = code.literal(method.module, "PARAMS") or {}
    except FileNotFoundError:
        yield f"module: {method.module!r}: no such module below workflow/scripts/junkdna"
        return
    for key in sorted(method.params.keys() - declared.keys()):
        yield f"params: {_known('key', key, declared)}"
    for key, allowed in declared.items():
        value = method.params.get(key)
        if (type(value).__name__ != allowed) if isinstance(allowed, str) else value not in allowed:
            shown = allowed if isinstance(allowed, str) else ", ".join(map(str, allowed))
            yield f"params.{key}: {value!r}: allowed: {shown}"


def calibrated(catalog: Catalog) -> set[str]:
    """The methods that draw calibration data."""
    return {name for name, method in catalog.methods.items() if code.literal(method.module, "CALIBRATED")}


def data_of(catalog: Catalog, model: str) -> CalibrationData | None:
    """What the calibrated methods see of a model; of a twin, what they see of its base."""
    entry = catalog.models[model]
    base = catalog.models.get(entry.untrained_twin_of or "")
    return entry.calibration or (base.calibration if base else None)


def locate(path: Path) -> Path:
    """A path of the configuration: as given if it exists from here, else below the project."""
    return path if path.is_absolute() or path.exists() else PROJECT / path


def read_experiments(settings: Settings, catalog: Catalog) -> dict[str, Experiment]:
    """Read the experiment files and check every name and level in them against the catalog.

    Raises:
        ConfigError: one line per problem.
    """
    experiments: dict[str, Experiment] = {}
    for path in settings.experiments:
        file = locate(path)
        experiment = validated(Experiment, read_yaml(file), str(file))
        problems = [f"{file}: {line}" for line in _problems(experiment, settings, catalog)]
        if experiment.name in experiments:
            problems.append(f"{file}: name: {experiment.name!r}: another experiment has this name")
        if experiment.name in RESERVED:
            problems.append(
                f"{file}: name: {experiment.name!r}: kept for a table; allowed is any but {', '.join(RESERVED)}"
            )
        if problems:
            raise ConfigError("\n".join(problems))
        filled = {
            "methods": {m: _levels(given, settings) for m, given in experiment.methods.items()},
            "seeds": experiment.seeds or settings.seeds,
            "calibration_seeds": experiment.calibration_seeds or settings.calibration_seeds,
        }
        experiments[experiment.name] = experiment.model_copy(update=filled)
    return experiments


def _levels(given: list[str] | str, settings: Settings) -> list[str]:
    return settings.levels[given] if isinstance(given, str) else given


def _problems(experiment: Experiment, settings: Settings, catalog: Catalog) -> Iterable[str]:
    yield from reported_problems(experiment.model_dump())
    for key, section, names in (
        ("models", catalog.models, experiment.models),
        ("controls", catalog.models, experiment.controls),
        ("tasks", catalog.tasks, experiment.tasks),
        ("methods", catalog.methods, experiment.methods),
    ):
        for name in names:
            if name not in section:
                yield f"{key}: {_known(key[:-1], name, section)}"
    for method, given in experiment.methods.items():
        if method not in catalog.methods:
            continue
        if isinstance(given, str) and given not in settings.levels:
            yield f"methods.{method}: {_known('list of levels', given, settings.levels)} (configuration: `levels`)"
            continue
        takes = catalog.methods[method].levels
        for level in _levels(given, settings):
            if levels.parse(level).kind not in takes:
                yield f"methods.{method}: {level!r}: this method takes levels of kind {', '.join(takes)}"
    drawing = sorted(calibrated(catalog) & experiment.methods.keys())
    for name in experiment.models if drawing else []:
        if name in catalog.models and data_of(catalog, name) is None:
            yield f"models: {name!r} has no `calibration` in the catalog, which {drawing[0]!r} needs"
    trained = [t for t in experiment.transfers if t != "none"]
    masked = sorted(set(trained) - {"zero_shot", "dense"})
    for name in experiment.models if drawing and masked else []:
        if name in catalog.models and catalog.models[name].prune_head:
            yield (
                f"models: {name!r} has `prune_head`, and {drawing[0]!r} sees no data in a fresh head; allowed with it: "
                "methods without calibration, or the transfers none and zero_shot"
            )
    rewriting = [m for m in experiment.methods if m in catalog.methods and catalog.methods[m].levels == ["bits"]]
    if rewriting and masked:
        yield (
            f"transfers: {masked[0]!r} keeps a mask, and {rewriting[0]!r} makes none; allowed with it: none, zero_shot"
        )
    for name in experiment.tasks:
        task = catalog.tasks.get(name)
        if task and trained and task.training is None:
            yield f"tasks: {name!r} cannot be fine-tuned (no `training` in the catalog); transfers: {trained}"
        if task and not trained and task.has_head:
            yield f"tasks: {name!r} is of kind {task.kind}, answers by a head and needs fine-tuning; transfers: none"
