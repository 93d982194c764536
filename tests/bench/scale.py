"""Time and memory of planning, of a rerun that does nothing, and of the tables, by number of cells; prints tables.

``python tests/bench/scale.py plan --cells 1000 10000`` plans a generated configuration with Snakemake, then plans it
again with every output there, made up but recorded as finished by Snakemake itself; options after ``--`` go to
Snakemake. ``aggregate`` and ``score_difficulty`` make the tables of one experiment whose predictions are made up.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

EACH = 1000  # cells of an experiment that is planned
METHODS = ["magnitude", "magnitude_layerwise", "random"]
MODELS = ["organism-decoder", "organism-decoder-small"]
ASKED = {"tasks": ["closed_book", "open_book", "options", "free_answer", "evidence"]}
TRAINED = {
    "models": ["organism-encoder"],
    "tasks": ["lexical", "agreement", "paraphrase", "inference", "verification"],
    "transfers": ["sparse"],
    "fractions": ["1.00", "0.50"],
}
QUESTIONS = 1000  # predictions of a cell that is aggregated
POOL = 100  # different files of predictions of a task, which its cells are links to


def level_names(start: int, number: int) -> list[str]:
    """Sparsities by thousandths, from (start + 1) / 1000."""
    return [f"{n / 1000:.3f}" if n % 10 else f"{n / 1000:.2f}" for n in range(start + 1, start + number + 1)]


def experiment(name: str, tasks: list[str], **keys: object) -> dict:
    return {
        "name": name,
        "id": "E3",
        "title": "Generated",
        "question": "How long does it take?",
        "tasks": tasks,
        "panels": [
            {"label": fraction, "where": {"fraction": fraction}} for fraction in keys.get("fractions", ["1.00"])
        ],
        "series": [{"label": task, "where": {"task": task}} for task in tasks],
        **keys,
    }


def write_project(root: Path, cells: int, each: int = EACH) -> None:
    """A copy of the project, configured for so many cells in experiments of ``each``, a multiple of 40.

    Half of the experiments ask a decoder as it is, as long as there are levels left, the others fine-tune an encoder.
    """
    for name in ("Snakefile", "workflow", "config", "resources", "envs"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, root / name)
    folder = root / "config/experiments/generated"
    folder.mkdir()
    for number in range(cells // each):
        place = number // 2
        if number % 2 or place >= 4 * len(METHODS) * len(MODELS):
            own = TRAINED | {"methods": {"magnitude": level_names(0, each // 40 - 1)}}
            own["seeds"] = [4 * number + seed for seed in range(4)]
        else:
            model, method = MODELS[place // 12 % 2], METHODS[place // 4 % 3]
            levels = level_names((each // 5 - 1) * (place % 4), each // 5 - 1)
            own = ASKED | {"models": [model], "methods": {method: levels}}
        made = experiment(f"generated_{number}", **own)
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(made))
    files = [f"config/experiments/generated/{number}.yaml" for number in range(cells // each)]
    (root / "config/scale.yaml").write_text(yaml.safe_dump({"experiments": files}))


def record(arguments: list[str]) -> None:
    """Run Snakemake's command line, but make up every output and record it as finished, without a job."""
    from snakemake.cli import main
    from snakemake.scheduling.job_scheduler import JobScheduler

    def schedule(self: JobScheduler) -> bool:
        self.workflow.iocache.deactivate()
        for level in self.workflow.dag.toposorted():
            for job in level:
                for file in map(Path, job.output):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text("made up\n")
                self.workflow.async_run(self.workflow.persistence.finished(job))
        return True

    JobScheduler.schedule = schedule
    main(arguments)


def measured(command: list[str], folder: Path) -> tuple[str, str]:
    """Wall-clock and processor seconds and peak memory of a command, as text, and its output.

    Memory is that of all its processes, what several share counted once.

    Raises:
        SystemExit: it failed.
    """
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        begun = time.perf_counter()
        child = psutil.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if others := child.children(recursive=True):
                    peak = max(peak, sum(one.memory_full_info().pss for one in [child, *others]))
            time.sleep(0.2)
        seconds = time.perf_counter() - begun
        _, status, usage = os.wait4(child.pid, 0)
        output.seek(0)
        text = output.read()
    if status:
        raise SystemExit(f"{' '.join(command)}\n{text[-3000:]}")
    megabytes = max(usage.ru_maxrss / 1024, peak / 2**20)
    return f"{seconds:11.1f}{usage.ru_utime + usage.ru_stime:9.1f}{megabytes:8.0f}", text


def counted(text: str) -> dict[str, int]:
    """Rule to number of jobs, from what a dry run prints."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def plan(cells: int, root: Path, options: list[str]) -> str:
    """A row of the table of plans."""
    write_project(root, cells)
    snakemake = ["all_figures", "--configfile", "config/scale.yaml", "--cores", "1", "-n", *options]
    fresh, text = measured([sys.executable, "-m", "snakemake", *snakemake], root)
    counts = counted(text)
    evaluated = sum(count for rule, count in counts.items() if rule.startswith("evaluate"))
    measured([sys.executable, __file__, "record", "--", *snakemake], root)
    again, text = measured([sys.executable, "-m", "snakemake", *snakemake], root)
    if "Nothing to be done" not in text:
        raise SystemExit(text[-3000:])
    return f"{evaluated:8,}{counts['total']:9,}{fresh}{again}"


def made_up(folder: Path, task: str, number: int) -> Path:
    """Predictions of a state that answers the better, the larger ``number`` is."""
    import numpy as np
    import pandas as pd

    from junkdna.predictions import write_predictions

    truth = np.random.default_rng([0, int(task[-1])]).integers(0, 3, QUESTIONS)
    scores = np.random.default_rng([1, int(task[-1]), number]).standard_normal((QUESTIONS, 3)).round(6)
    scores[np.arange(QUESTIONS), truth] += 3 * (number + 1) / POOL
    chosen = scores.argmax(1)
    frame = pd.DataFrame({"variant": "all", "id": [f"{task}-{i:06}" for i in range(QUESTIONS)]})
    frame = frame.assign(prediction=[f"class {i}" for i in chosen], reference=[f"class {i}" for i in truth])
    frame = frame.assign(y_pred=chosen.astype(float), y_true=truth.astype(float), option_scores=list(scores))
    path = folder / "pool" / f"{task}-{number}.parquet"
    write_predictions(path, frame.assign(accuracy=(chosen == truth).astype(float)))
    return path


def write_evaluated(root: Path, cells: int) -> int:
    """Plan and files of one experiment of about so many cells; returns how many there are.

    Models, pruned by three methods at up to 19 levels, are fine-tuned on five tasks of QUESTIONS questions, with three
    seeds and two shares of the training data.
    """
    import numpy as np
    import pandas as pd

    from junkdna import grid
    from junkdna.config import Experiment, read_catalog
    from junkdna.files import write_json

    tasks, states = [f"task_{i}" for i in range(5)], round(cells / 30)
    models = [f"model_{i}" for i in range(math.ceil(states / 58))]
    methods = dict.fromkeys(METHODS, level_names(0, round((states / len(models) - 1) / 3)))
    keys = {"models": models, "methods": methods, "transfers": ["sparse"], "fractions": ["1.00", "0.50"]}
    known = read_catalog([PROJECT / "config/catalog"])
    catalog = known.model_copy(
        update={
            "models": dict.fromkeys(models, known.models["organism-encoder"]),
            "tasks": dict.fromkeys(tasks, known.tasks["lexical"]),
        }
    )
    made = Experiment.model_validate(experiment("generated", tasks, **keys, seeds=[0, 1, 2]))
    planned = grid.plan(made, grid.expand(made), catalog, str(root))
    write_json(root / "plan.json", planned)
    pool = {task: [made_up(root, task, number) for number in range(POOL)] for task in tasks}
    right = {file: pd.read_parquet(file)["accuracy"].mean() for files in pool.values() for file in files}
    luck = np.random.default_rng(0)
    for cell in planned["cells"]:
        folder, better = Path(cell["path"]), POOL * (0.9 - 40 * cell["sparsity"])
        folder.mkdir(parents=True)
        file = pool[cell["task"]][int(np.clip(better - luck.integers(0, POOL // 5), 0, POOL - 1))]
        os.link(file, folder / "predictions.parquet")
        measured = {"n_examples": QUESTIONS, "chance": 1 / 3, "metrics": {"accuracy": right[file]}}
        named = {key: cell[key] for key in ("model", "method", "level", "calibration_seed")}
        write_json(folder / "metrics.json", named | {"variants": {"all": measured}})
    return len(planned["cells"])


def shares(file: Path) -> str:
    """Functions of the library and their share of a profile's time, what they call included, the largest first."""
    stats = pstats.Stats(str(file))
    found = [
        (cum / stats.total_tt, Path(path).stem, name)
        for (path, _, name), (*_, cum, _) in stats.stats.items()
        if "junkdna" in path and not name.startswith("<")
    ]
    return ", ".join(f"{module}.{name} {share:.0%}" for share, module, name in sorted(found, reverse=True)[:14])


def tables(script: str, cells: int, root: Path, profile: bool = False) -> str:
    """A row of the table of ``aggregate`` or ``score_difficulty``."""
    made = write_evaluated(root, cells)
    command = [sys.executable, *(["-m", "cProfile", "-o", "profile"] if profile else []), SCRIPTS / f"{script}.py"]
    if script == "aggregate":
        outputs = ["table.csv", "contrasts.csv", "curves.csv", "against-dense.csv", "trends.csv", "drops.parquet"]
        command += ["--plan", "plan.json", "--markdown", "t.md", "--latex", "t.tex", "--threads", "2"]
    else:
        outputs = ["table.csv", "pretraining.csv", "agreement.csv", "items.parquet", "flips.csv", "thirds.csv"]
        command += ["--plans", "plan.json", "--human", PROJECT / "resources/human_scores.yaml"]
    command += [part for name in outputs for part in (f"--{name.split('.')[0]}", name)]
    row = f"{made:8,}{made * QUESTIONS:12,}{measured(list(map(str, command)), root)[0]}"
    return f"{row}\n{shares(root / 'profile')}" if profile else row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="plan", choices=["plan", "aggregate", "score_difficulty", "record"])
    parser.add_argument("--cells", type=int, nargs="+", default=[1000])
    parser.add_argument("--profile", action="store_true", help="of the tables: where the time goes")
    end = [*sys.argv, "--"].index("--")
    args, options = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    if args.what == "record":
        return record(options)
    one = f"{'wall, s':>11}{'CPU, s':>9}{'MB':>8}"
    if args.what == "plan":
        print(f"{'cells':>8}{'jobs':>9}{one}{one}   planned, then with nothing to do", flush=True)
    else:
        print(f"{'cells':>8}{'predictions':>12}{one}   {args.what}", flush=True)
    for cells in args.cells:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            planned = args.what == "plan"
            print(plan(cells, root, options) if planned else tables(args.what, cells, root, args.profile), flush=True)


if __name__ == "__main__":
    main()
