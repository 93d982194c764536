"""A copy of the project with a micro configuration, run for real, for the tests of the workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from support import PROJECT

ASKED = {
    "name": "asked",
    "id": "E3",
    "title": "Asked as it is",
    "question": "Does the spine work without fine-tuning?",
    "models": ["organism-decoder"],
    "controls": ["organism-decoder-untrained"],
    "methods": {"magnitude": "few", "magnitude_nm": ["2of4"], "magnitude_slice": ["0.30to0.40"], "random": ["0.50"]},
    "tasks": ["closed_book", "options"],
    "panels": [
        {"label": "Memory", "where": {"task": "closed_book"}},
        {"label": "Options", "where": {"task": "options"}},
    ],
    "series": [
        {"label": "easy", "where": {"variant": ["head", "options_2"]}},
        {"label": "hard", "where": {"variant": ["tail", "options_8"]}},
    ],
}
TRAINED = {
    "name": "trained",
    "id": "E9",
    "title": "Fine-tuned",
    "question": "Does the spine work with fine-tuning?",
    "models": ["organism-encoder"],
    "methods": {"magnitude": ["0.50"]},
    "transfers": ["sparse", "sparse_to_dense", "dense_frozen"],
    "tasks": ["lexical"],
    "fractions": ["0.50"],
    "seeds": [0, 1],
    "panels": [{"label": "Lexical"}],
    "series": [
        {"label": "sparse", "where": {"transfer": "sparse"}},
        {"label": "to dense", "where": {"transfer": "sparse_to_dense"}},
        {"label": "frozen", "where": {"transfer": "dense_frozen"}},
    ],
    "ordered": False,
}
SETTINGS: dict = {
    "experiments": ["config/experiments/micro/asked.yaml", "config/experiments/micro/trained.yaml"],
    "levels": {"few": ["0.30", "0.60"]},
    "limits": {
        "closed_book": {"evaluate": 24},
        "options": {"evaluate": 24},
        "lexical": {"train": 96, "evaluate": 40},
    },
    "figure_formats": ["svg", "png"],
}


@dataclass
class Planned:
    """One job of a dry run."""

    rule: str
    output: str


@dataclass
class Project:
    """A copy of the project with a micro configuration, config/micro.yaml."""

    root: Path
    python: str = sys.executable

    def snakemake(self, *arguments: str, check: bool = True, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the copy on the micro configuration."""
        command = self.command(*arguments)
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    def run_default(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the copy on the shipped configuration."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        return subprocess.run(command, cwd=self.root, env=self.environment(), capture_output=True, text=True)

    def command(self, *arguments: str) -> list[str]:
        base = [self.python, "-m", "snakemake", "--cores", "2", "--configfile", "config/micro.yaml"]
        return [*base, *arguments] if "--" in arguments else [*base[:3], *arguments, *base[3:]]

    def environment(self) -> dict[str, str]:
        path = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def plan(self, *arguments: str) -> list[Planned]:
        """The jobs that a dry run would do."""
        text = self.snakemake("-n", *(arguments or ("all_figures",))).stdout
        jobs = []
        for block in re.split(r"\n(?=(?:local)?rule \w+:)", text):
            if found := re.match(r"(?:local)?rule (\w+):", block):
                output = re.search(r"^    output: (.*)$", block, re.MULTILINE)
                jobs.append(Planned(found[1], output[1] if output else ""))
        return jobs

    def configure(self, **changes: object) -> None:
        """Write the micro configuration, changed in these keys."""
        (self.root / "config/micro.yaml").write_text(yaml.safe_dump({**SETTINGS, **changes}))

    def experiment(self, base: dict, **changes: object) -> None:
        """Write one of the two micro experiments, changed in these keys."""
        path = self.root / f"config/experiments/micro/{base['name']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**base, **changes}))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))

    def tables(self) -> dict[str, bytes]:
        """Name to bytes."""
        return {file.name: file.read_bytes() for file in sorted((self.root / "results/tables").iterdir())}


def copy_project(root: Path) -> Project:
    root.mkdir()
    for name in ("Snakefile", "workflow", "config", "resources", "envs", "pyproject.toml"):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    project = Project(root)
    project.configure()
    project.experiment(ASKED)
    project.experiment(TRAINED)
    return project
