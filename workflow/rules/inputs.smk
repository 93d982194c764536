"""What the rules take: inputs and params of a cell, looked up in the grid and the catalog."""

@cache  # asked once per job of a plan
def model_entry(name):
    model = CATALOG.models[name].model_dump(mode="json", exclude_defaults=True, exclude={"calibration"})
    return json.dumps(model, sort_keys=True)


def model_json(wildcards):
    return model_entry(wildcards.model)


def method_name(wildcards):
    return grid.method_of(wildcards.method)[0]


def method_module(wildcards):
    return CATALOG.methods[method_name(wildcards)].module


def method_json(wildcards):
    return json.dumps(CATALOG.methods[method_name(wildcards)].params, sort_keys=True)


def levels_of(wildcards):
    """The level of the state, or all that one sweep makes."""
    return [wildcards.level] if "level" in wildcards.keys() else SWEEPS[wildcards.method]


def calibration_json(wildcards):
    """What a calibrated method sees; the others have none."""
    if method_name(wildcards) not in CALIBRATED:
        return []
    return data_of(CATALOG, wildcards.model).model_dump_json()


def calibration_seed(wildcards):
    method, seed = grid.method_of(wildcards.method)
    return int(seed) if method in CALIBRATED else []


def calibration_dataset(wildcards):
    if method_name(wildcards) not in CALIBRATED:
        return []
    return f"{RESULTS}/sources/datasets/{data_of(CATALOG, wildcards.model).dataset}/manifest.json"


def tuned_file(name):
    """A file of the dense fine-tuned model of a cell."""
    return f"<results>/finetune/{{model}}/dense/dense/dense/{{task}}/{{fraction}}/{{seed}}/{name}"


@cache
def task_json(name, stage):
    return json.dumps(CATALOG.tasks[name].for_stage(stage).model_dump(mode="json", exclude_defaults=True))


def cells_files(cells, file):
    return [f"{RESULTS}/evaluate/{cell.path}/{file}" for cell in cells]


def recorded_digest(wildcards):
    """Digest of what a record says of the cells' definitions."""
    return grid.digest(record.definitions(EVALUATED.values(), CATALOG))


def recorded_trainings(wildcards):
    return [f"{RESULTS}/finetune/{s}/{f}" for s in sorted(TRAINED) for f in ("manifest.json", "provenance.json")]


def recorded_models(wildcards):
    """The manifests of the pre-trained models of all cells."""
    names = {CATALOG.models[cell.model].untrained_twin_of or cell.model for cell in EVALUATED.values()}
    return [f"{RESULTS}/sources/models/{name}/manifest.json" for name in sorted(names)]


def files_of(cells, file):
    """Input function: a file of each cell. A list would be built, and checked, whenever the Snakefile is read."""

    def files(wildcards):
        return cells_files(cells, file)

    return files


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
    return sizes_of(source, "models", "*.safetensors") | sizes_of(source, "models", "*.bin") if source else {}


def dataset_files(wildcards):
    source = CATALOG.datasets.get(wildcards.dataset)
    if source is None:
        planned("datasets", wildcards.dataset, CATALOG.datasets)
    return RECIPE if source.type == "builtin" else sums_of(source)


def dataset_sizes(wildcards):
    source = CATALOG.datasets[wildcards.dataset]
    return sizes_of(source, "datasets", "*.txt*" if source.type == "corpus" else "**/*.parquet")


def dataset_json(wildcards):
    return CATALOG.datasets[wildcards.dataset].model_dump_json(exclude_defaults=True)


def organisms(wildcards):
    """The weights of every organism of the recipe."""
    names = read_yaml(Path(workflow.basedir, "resources/organisms/recipe.yaml"))["organisms"]
    return [f"{RESULTS}/pretrain/{name}/model.safetensors" for name in names]


def small_corpus(wildcards):
    """The manifest of the text that the small models are pre-trained on."""
    return f"{RESULTS}/sources/datasets/{read_yaml(Path(SMALL_RECIPE))['corpus']}/manifest.json"


def small_models(wildcards):
    return [f"{RESULTS}/pretrain_small/{name}/model.safetensors" for name in read_yaml(Path(SMALL_RECIPE))["models"]]


def magnitude_index(wildcards):
    """The index of global magnitudes, for the methods that read it, of the model or of its fine-tuned state."""
    state, base = "{w.model}/{w.method}/{level}", "{results}/compress/{w.model}"
    known = COMPRESSED
    if "task" in wildcards.keys():
        state, base = (f"{path}/zero_shot/{{w.task}}/{{w.fraction}}/{{w.seed}}" for path in (state, base))
        known = TUNED
    for level in levels_of(wildcards):
        planned("compress", state.format(w=wildcards, level=level), known)
    indexed = CATALOG.methods[method_name(wildcards)].indexed
    return f"{base}/magnitudes.json".format(w=wildcards, results=RESULTS) if indexed else []


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


def zero_shot_state(wildcards):
    """The compressed state of a fine-tuned model."""
    path = "{w.model}/{w.method}/{w.level}/zero_shot/{w.task}/{w.fraction}/{w.seed}".format(w=wildcards)
    planned("evaluate", f"{path}/{wildcards.suite}", EVALUATED)
    return f"{RESULTS}/compress/{path}/state.safetensors"


def finetuned_manifest(wildcards):
    path = "{w.model}/{w.method}/{w.level}/{w.transfer}/{w.task}/{w.fraction}/{w.seed}".format(w=wildcards)
    planned("evaluate", f"{path}/{wildcards.suite}", EVALUATED)
    return f"{RESULTS}/finetune/{path}/manifest.json"


def transfer_of(wildcards):
    return wildcards.get("transfer", "zero_shot")


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


def processes_of(wildcards):
    """How many read an experiment's cells: it takes minutes for tens of thousands, and one is ready sooner for fewer."""
    return 2 if len(cells_of(wildcards)) >= 10_000 else 1


def figure_question(wildcards):
    return EXPERIMENTS[wildcards.experiment].question


def figure_caption(wildcards):
    return EXPERIMENTS[wildcards.experiment].caption


def tables_of(rule):
    return [file for file in rule.output if file.endswith(".csv")]


def report_texts():
    """What only the report shows, as JSON: captions, claims, and the options that a rerun of a cell needs."""
    files = [here(path) for path in workflow.configfiles if here(path) != here("config/config.yaml")]
    return json.dumps(
        {
            "captions": {name: experiment.caption for name, experiment in EXPERIMENTS.items()},
            "claims": {name: CLAIMS.decided_by(experiment.id) for name, experiment in EXPERIMENTS.items()},
            "options": ["--configfile", *files] if files else [],
        },
        sort_keys=True,
    )
