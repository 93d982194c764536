"""A project with the micro configuration and one long training, run on a cluster."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from cluster import Cluster, capture

from micro import ASKED, TRAINED, Project

EPOCHS, STEPS = 4, 1500  # of the long training: some 20 s on a free machine
PATIENCE = 900  # seconds, on a busy one
TRAINING = "organism-encoder/dense/dense/dense/long/1.00/0"
TABLES = ("results/tables/asked.csv", "results/tables/trained.csv")
FEW = {
    "controls": [],
    "methods": {"magnitude": ["0.60"]},
    "series": [{"label": "head", "where": {"variant": ["head", "options_2"]}}],
}
LONG = {**TRAINED, "name": "long", "title": "Long", "tasks": ["long"], "fractions": ["1.00"], "seeds": [0]}


@dataclass
class Remote:
    """A project whose jobs the cluster runs, as the shipped profile says."""

    project: Project
    local: Project
    cluster: Cluster

    def start(self, *targets: str, options: tuple[str, ...] = ()) -> Run:
        """Begin a run of Snakemake; it polls more often and waits less for the disk than the profile says."""
        command = [self.project.python, "-m", "snakemake", "--workflow-profile", "workflow/profiles/slurm"]
        command += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
        command += ["--slurm-keep-successful-logs", "--configfile", "config/micro.yaml", *options, "--", *targets]
        return Run(command, self.project)

    def assert_same(self, pattern: str) -> None:
        """The files that fit the pattern below results are there, and have the bytes of the local run's."""
        files = sorted((self.project.root / "results").glob(pattern))
        assert files, pattern
        for file in files:
            path = file.relative_to(self.project.root)
            assert file.read_bytes() == (self.local.root / path).read_bytes(), path


class Run:
    """A run of Snakemake in the background, with what it prints."""

    def __init__(self, command: list[str], project: Project) -> None:
        self.file = project.root / f"run{time.monotonic_ns()}.txt"
        with open(self.file, "w") as output:
            self.process = subprocess.Popen(
                command, cwd=project.root, env=project.environment(), stdout=output, stderr=output
            )

    @property
    def output(self) -> str:
        return self.file.read_text()

    @property
    def jobs(self) -> list[str]:
        """Numbers of the jobs that were submitted, in their order."""
        return re.findall(r"has been submitted with SLURM jobid (\d+)", self.output)

    def wait(self, status: int = 0) -> None:
        """Wait for the end, which has to be this exit status."""
        try:
            assert self.process.wait(PATIENCE) == status, self.output[-6000:]
        finally:
            self.process.kill()


def job_fields(number: str) -> dict[str, str]:
    """What the controller says of a job."""
    return dict(pair.split("=", 1) for pair in capture("scontrol", "show", "job", number).split() if "=" in pair)


def configure(project: Project) -> Project:
    """Add an experiment with one long training; leave few other cells; ask for GPUs."""
    project.experiment(ASKED, **FEW)
    project.experiment(TRAINED, transfers=["sparse", "zero_shot"], seeds=[0], series=[{"label": "all"}])
    project.experiment(LONG, methods={"magnitude": ["0.50"]}, transfers=["sparse"], series=[{"label": "all"}])
    task = yaml.safe_load((project.root / "config/catalog/organism.yaml").read_text())["tasks"]["lexical"]
    training = {**task["training"], "epochs": EPOCHS, "batch_size": 8}
    tasks = {"long": {**task, "label": "Long", "train_limit": 8 * STEPS // EPOCHS, "training": training}}
    (project.root / "config/catalog/long.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    project.configure(
        environment="gpu",
        experiments=[f"config/experiments/micro/{name}.yaml" for name in ("asked", "trained", "long")],
        figure_formats=["svg"],
    )
    return project


def progress(log: Path) -> float:
    """The epochs that a training's log has come to; it has twenty points."""
    epochs = re.findall(r"'epoch': '([\d.]+)'", log.read_text()) if log.exists() else []
    return float(epochs[-1]) if epochs else 0.0
