"""The README tells the truth: its rule graph is the workflow's, its commands plan, its files exist."""

from __future__ import annotations

import itertools
import re
import shlex

from micro import TRAINED, Project
from support import PROJECT

README = (PROJECT / "README.md").read_text()


def test_rule_graph(fresh: Project) -> None:
    drawn = set()
    for line in re.search(r"```mermaid\n.*?\n(.*?)```", README, re.DOTALL)[1].splitlines():
        stages = [{rule.strip() for rule in stage.split("&")} for stage in line.split("-->")]
        drawn |= {(a, b) for left, right in itertools.pairwise(stages) for a in left for b in right}
    fresh.experiment(
        TRAINED,
        methods={"wanda": ["0.50"]},
        transfers=["sparse", "zero_shot"],
        reported=True,
        panels=[{"label": "Lexical", "reported": {"figure": "Task_1", "panel": "SST-2"}}],
        series=[{"label": "all", "reported": {"series": "50% data"}}],
    )
    text = fresh.snakemake("--rulegraph", "mermaid-js", "all_figures").stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", text))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", text)}
    # What all_figures names beside the figures, the plan that figures read with their table, and the twins' base are
    # left out of the drawing.
    edges -= {
        (a, "all_figures") for a in ("aggregate", "evaluate_compressed", "evaluate_finetuned", "evaluate_zero_shot")
    }
    edges -= {("plan", "plot"), ("plan", "plot_difficulty"), ("fetch_model", "fetch_model")}
    assert drawn == edges


def test_every_snakemake_command_plans(fresh: Project) -> None:
    commands = re.findall(r"^snakemake (.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        arguments = [a for a in shlex.split(command) if a != "-n"]
        done = fresh.run_default("-n", *arguments)
        assert done.returncode == 0, command + done.stdout[-2000:] + done.stderr[-2000:]


def test_every_file_named_exists() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (PROJECT / path).exists(), path
