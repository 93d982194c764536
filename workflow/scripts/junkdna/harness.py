"""Tasks of lm-evaluation-harness by name, asked of a model in memory. Only jobs of such tasks import it.

The harness words the questions and scores the answers. The data are those that this project has fetched and checked:
a task file that includes the harness's own names their parquet files instead of what the harness would load by itself.
"""

from __future__ import annotations

import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from junkdna import tasks
from junkdna.catalog import Task, Variant
from junkdna.files import DataError
from junkdna.rows import splits_of

BATCH = 8


def check(folder: Path, task: Task) -> None:
    """Check that the harness can run the task and that its metric is one that we can resample.

    Raises:
        DataError: the harness is not installed or has no such task, data are missing, or the metric is not a mean over
            examples where higher is better.
    """
    if find_spec("lm_eval") is None:
        raise DataError(
            f"harness_task: {task.harness_task!r}: lm-evaluation-harness is not installed: "
            "pip install -r envs/harness.txt, or `environment: harness` with --sdm conda"
        )
    loaded, _ = _load(folder, task, 0)
    name, known = _metric(task)[0], loaded.aggregation()
    if name not in known:
        raise DataError(f"metric: {name!r}: {task.harness_task} of the harness has {', '.join(known)}")
    if getattr(known[name], "__name__", "") != "mean" or not loaded.higher_is_better()[name]:
        raise DataError(f"metric: {name!r}: of the harness's metrics, only means where higher is better can be used")


def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, variant: Variant, folder: Path
) -> pd.DataFrame:
    """Predictions of one variant, from the samples that the harness logs.

    Raises:
        DataError: the harness filters no answers by the metric's filter.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    loaded, manager = _load(folder, task, variant.shots)
    names = [f"{i:06d}" for i in range(len(loaded.eval_docs))]
    kept = [int(name) for name in tasks.sample(names, task.evaluate_limit)]
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH),
        tasks=[loaded],
        task_manager=manager,
        samples={task.harness_task: kept},
        log_samples=True,
        bootstrap_iters=0,
    )
    name, kind = _metric(task)
    samples = sorted(found["samples"][task.harness_task], key=lambda sample: sample["doc_id"])
    filters = sorted({sample["filter"] for sample in samples})
    if kind not in filters:
        raise DataError(f"metric: {task.metric!r}: {task.harness_task} of the harness has filters {', '.join(filters)}")
    rows = [_row(loaded, sample) | {task.metric: float(sample[name])} for sample in samples if sample["filter"] == kind]
    return pd.DataFrame(rows)


def _row(loaded: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """A logged sample without its metrics. Of options, the prediction is the likeliest, whatever the metric prefers."""
    answers, target = sample["filtered_resps"], sample["target"]
    row = {"id": f"{sample['doc_id']:06d}", "reference": str(target), "y_pred": np.nan, "y_true": np.nan}
    if loaded.OUTPUT_TYPE != "multiple_choice":
        return row | {"prediction": str(answers[0]), "option_scores": None}
    scores, choices = np.array([score for score, _ in answers]), loaded.doc_to_choice(sample["doc"])
    right = choices.index(target) if target in choices else target
    if isinstance(right, int) and 0 <= right < len(choices):
        row |= {"reference": str(choices[right]), "y_true": float(right)}
    guess = int(scores.argmax())
    return row | {"prediction": str(choices[guess]), "option_scores": scores, "y_pred": float(guess)}


def _metric(task: Task) -> tuple[str, str]:
    """Name and filter of a metric as the harness reports it: `acc,none`; the filter may be left out."""
    name, _, kind = task.metric.partition(",")
    return name, kind or "none"


def _load(folder: Path, task: Task, shots: int) -> tuple[Any, Any]:
    """The harness's task on our data, and the task manager that knows it.

    Raises:
        DataError: there is no such task, or no such configuration or split of the data.
    """
    from lm_eval.tasks import TaskManager

    splits = splits_of(folder, task.configs[0])
    changed = {
        "include": str(_file(task.harness_task, task.include_path)),
        "task": task.harness_task,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: list(map(str, files)) for split, files in splits.items()}},
        "num_fewshot": shots,
    }
    with tempfile.TemporaryDirectory() as aside:
        Path(aside, "task.yaml").write_text(yaml.safe_dump(changed))
        manager = TaskManager(include_path=aside, include_defaults=False)
        try:
            return manager.load(task.harness_task)["tasks"][task.harness_task], manager
        except KeyError as error:
            place, there = folder / task.configs[0], ", ".join(splits)
            wanted = f"the split {error}, which {task.harness_task} of the harness reads"
            raise DataError(f"{place}: cannot find {wanted}; there are {there}") from error


@cache
def _file(name: str, include_path: Path | None) -> Path:
    """The task file of a name, in a folder or in the harness's own."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include_path, include_defaults=include_path is None)
    entry = manager.task_index.get(name)
    if entry is None or name not in manager.all_subtasks or entry.yaml_path is None:
        what = "a group of tasks; name one of them" if entry else "no task"
        raise DataError(f"harness_task: {name!r}: {what} in {include_path or 'the tasks of lm-evaluation-harness'}")
    return Path(entry.yaml_path).resolve()
