"""The SLURM profile: read as it is meant, in a dry run that submits nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PROFILE = "workflow/profiles/slurm"
SETTINGS = yaml.safe_load((PROJECT / PROFILE / "config.yaml").read_text())


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> str:
    """What a dry run under the profile prints about the default configuration, with nothing computed."""
    root = tmp_path_factory.mktemp("slurm")
    shutil.copy(PROJECT / "Snakefile", root)
    for name in ("config", "resources", "workflow"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", PROFILE, "--dry-run", "all_figures"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_no_rule_is_asked_for_a_table_that_another_makes(planned):
    assert "Exception" not in planned


def blocks(text: str, rule: str) -> list[str]:
    """The printed jobs of a rule."""
    return re.findall(rf"^((?:local)?rule {rule}:\n(?:    .*\n)+)", text, re.MULTILINE)


@pytest.mark.parametrize("rule", ["compress", "evaluate_compressed", "finetune", "evaluate_finetuned"])
def test_jobs_carry_the_resources_that_slurm_needs(planned, rule):
    jobs = blocks(planned, rule)
    assert jobs, f"no job of rule {rule} is planned"
    for job in jobs:
        resources = dict(pair.split("=", 1) for pair in re.search(r"resources: (.*)", job)[1].split(", "))
        assert resources["slurm_partition"] == "normal"
        assert resources["slurm_account"] == "junkdna"
        assert int(resources["runtime"]) >= 30
        assert int(resources["mem_mb"]) >= 1000
        assert "tasks" not in resources
        assert "cpus_per_task" not in resources


def test_light_rules_stay_local():
    """A dry run does not show it: its own executor runs every rule here."""
    text = (PROJECT / "Snakefile").read_text()
    local = set(re.findall(r"\w+", re.search(r"^localrules:\n((?:    .*\n)+)", text, re.MULTILINE)[1]))
    assert {"fetch_model", "fetch_dataset", "score_difficulty", "aggregate", "plot", "plot_difficulty"} <= local
    assert not {"compress", "finetune", "evaluate_compressed", "evaluate_finetuned"} & local


def test_the_settings_that_are_known_to_work():
    """See the profile's own comments for the failure that each prevents."""
    assert SETTINGS["executor"] == "slurm"
    assert SETTINGS["scheduler"] == "greedy"
    assert SETTINGS["slurm-status-command"] == "squeue"
    assert SETTINGS["latency-wait"] >= 60
    assert SETTINGS["retries"] == 2
    assert SETTINGS["rerun-incomplete"]
    assert SETTINGS["keep-going"]
    assert not {"tasks", "cpus_per_task"} & set(SETTINGS["default-resources"])


def test_no_rule_that_is_submitted_retries_by_itself():
    """Its retries would be multiplied by the profile's; only the local downloads may have their own."""
    for path in (PROJECT / "workflow" / "rules").glob("*.smk"):
        if path.name != "sources.smk":
            assert not re.search(r"^\s*retries:", path.read_text(), re.MULTILINE), path.name


def test_every_rule_that_the_profile_names_exists():
    listed = subprocess.check_output([sys.executable, "-m", "snakemake", "--list-rules"], text=True, cwd=PROJECT)
    rules = {line.split(" ")[0] for line in listed.splitlines()}
    named = set(SETTINGS["set-threads"]) | set(SETTINGS["set-resources"])
    assert named <= rules


def test_the_plugin_reads_every_setting():
    """An unknown key stops Snakemake, as an unknown option does; its help lists those it knows."""
    known = subprocess.check_output([sys.executable, "-m", "snakemake", "--help"], text=True)
    unknown = [key for key in SETTINGS if f"--{key}" not in known]
    assert not unknown
