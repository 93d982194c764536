"""What the rules take: inputs and params of a cell, looked up in the grid and the catalog."""


def model_json(wildcards):
    return json.dumps(CATALOG.models[wildcards.model].model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def method_module(wildcards):
    return CATALOG.methods[wildcards.method].module


def method_json(wildcards):
    return json.dumps(CATALOG.methods[wildcards.method].params, sort_keys=True)


@cache
def task_json(name, stage):
    return json.dumps(CATALOG.tasks[name].for_stage(stage).model_dump(mode="json", exclude_defaults=True))


def cells_files(cells, file):
    return [f"{RESULTS}/evaluate/{cell.path}/{file}" for cell in cells]


def model_files(wildcards):
    """What tells that a model changed: a list of digests, or the manifest of a twin's base."""
    model = CATALOG.models.get(wildcards.model)
    if model is None:
        planned("models", wildcards.model, CATALOG.models)
    if model.untrained_twin_of:
        return f"{RESULTS}/sources/models/{model.untrained_twin_of}/manifest.json"
    return sums_of(model.source)


def model_sizes(wildcards):
    source = CATALOG.models[wildcards.model].source
    return sizes_of(source, "models", "*.safetensors") if source else {}


def dataset_files(wildcards):
    source = CATALOG.datasets.get(wildcards.dataset)
    if source is None:
        planned("datasets", wildcards.dataset, CATALOG.datasets)
    return RECIPE if source.type == "builtin" else sums_of(source)


def dataset_sizes(wildcards):
    return sizes_of(CATALOG.datasets[wildcards.dataset], "datasets", "**/*.parquet")


def dataset_json(wildcards):
    return CATALOG.datasets[wildcards.dataset].model_dump_json(exclude_defaults=True)


def magnitude_index(wildcards):
    """The index of global magnitudes, for the methods that read it."""
    planned("compress", f"{wildcards.model}/{wildcards.method}/{wildcards.level}", COMPRESSED)
    indexed = CATALOG.methods[wildcards.method].indexed
    return f"{RESULTS}/compress/{wildcards.model}/magnitudes.json" if indexed else []


def start_state(wildcards):
    """The compressed state that a fine-tuning starts from; the dense model has none."""
    cell = "{w.model}/{w.method}/{w.level}/{w.transfer}/{w.task}/{w.fraction}/{w.seed}".format(w=wildcards)
    planned("finetune", cell, TRAINED)
    state = f"{RESULTS}/compress/{wildcards.model}/{wildcards.method}/{wildcards.level}/state.safetensors"
    return [] if wildcards.method == grid.DENSE else state


def task_dataset(wildcards):
    name = wildcards.get("suite", wildcards.get("task"))
    return f"{RESULTS}/sources/datasets/{CATALOG.tasks[name].dataset}/manifest.json"


def training_json(wildcards):
    return task_json(wildcards.task, "train")


def compressed_state(wildcards):
    """The state to evaluate as it is; the dense model has none."""
    path = "{w.model}/{w.method}/{w.level}".format(w=wildcards)
    planned("evaluate", f"{path}/none/{wildcards.suite}", EVALUATED)
    return [] if wildcards.method == grid.DENSE else f"{RESULTS}/compress/{path}/state.safetensors"


def finetuned_manifest(wildcards):
    path = "{w.model}/{w.method}/{w.level}/{w.transfer}/{w.task}/{w.fraction}/{w.seed}".format(w=wildcards)
    planned("evaluate", f"{path}/{wildcards.suite}", EVALUATED)
    return f"{RESULTS}/finetune/{path}/manifest.json"


def suite_json(wildcards):
    return task_json(wildcards.suite, "evaluate")


def cells_of(wildcards):
    planned("experiment", wildcards.experiment, EXPERIMENTS)
    return CELLS[wildcards.experiment]


def plan_digest(wildcards):
    cells = cells_of(wildcards)
    return grid.digest(grid.plan(EXPERIMENTS[wildcards.experiment], cells, CATALOG, RESULTS))


def experiment_predictions(wildcards):
    return cells_files(cells_of(wildcards), "predictions.parquet")


def experiment_metrics(wildcards):
    return cells_files(cells_of(wildcards), "metrics.json")


def figure_question(wildcards):
    return EXPERIMENTS[wildcards.experiment].question


def figure_caption(wildcards):
    return EXPERIMENTS[wildcards.experiment].caption
