"""The profiles: read as they are meant, in dry runs that submit nothing. tests/slurm has the real cluster."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from micro import ASKED, Project, copy_project
from support import PROJECT

PROFILE = "workflow/profiles/slurm"
SETTINGS = yaml.safe_load((PROJECT / PROFILE / "config.yaml").read_text())


def dry_run(project: Project, profile: str) -> str:
    """What a dry run of the micro configuration under a profile prints, with nothing computed."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"workflow/profiles/{profile}", "--dry-run"]
    command += ["--configfile", "config/micro.yaml", "--", "all_figures"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def on_gpus(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The micro configuration with GPUs and a method that needs one to compress."""
    project = copy_project(tmp_path_factory.mktemp("profile") / "project")
    project.configure(environment="gpu")
    project.experiment(ASKED, methods={"magnitude": ["0.60"], "wanda": ["0.50"]})
    return project


@pytest.fixture(scope="module")
def planned(on_gpus: Project) -> str:
    return dry_run(on_gpus, "slurm")


def resources(text: str, rule: str) -> list[dict[str, str]]:
    """The resources of the printed jobs of a rule, alone or in a group."""
    found = re.findall(rf"^ *rule {rule}:\n(?: +.*\n)*? +resources: (.*)", text, re.MULTILINE)
    assert found, f"no job of rule {rule} is planned"
    return [dict(pair.split("=", 1) for pair in line.split(", ")) for line in found]


@pytest.mark.parametrize("rule", ["compress", "evaluate_compressed", "finetune", "evaluate_finetuned"])
def test_jobs_carry_the_resources_that_slurm_needs(planned: str, rule: str) -> None:
    for asked in resources(planned, rule):
        assert asked["slurm_account"] == "junkdna"
        assert int(asked["runtime"]) >= 20
        assert 6000 <= int(asked["mem_mb"]) < 6100
        assert asked.get("serial") == (None if rule == "compress" else "1"), "as its groups need it"
        assert not {"tasks", "cpus_per_task"} & set(asked)


def test_rules_that_use_a_gpu_ask_for_one_where_the_configuration_has_gpus(planned: str, on_gpus: Project) -> None:
    for rule in ("evaluate_compressed", "finetune", "evaluate_finetuned"):
        assert {asked["gpu"] for asked in resources(planned, rule)} == {"1"}
    assert sorted(asked["gpu"] for asked in resources(planned, "compress")) == ["0", "0", "1"], "Wanda alone"
    assert "gpu" not in resources(planned, "index_magnitudes")[0]
    on_gpus.configure()
    without = dry_run(on_gpus, "slurm")
    on_gpus.configure(environment="gpu")
    for rule in ("compress", "evaluate_compressed", "finetune", "evaluate_finetuned"):
        assert {asked["gpu"] for asked in resources(without, rule)} == {"0"}
        assert {int(asked["mem_mb"]) // 100 for asked in resources(without, rule)} == {20}


def test_suites_of_a_state_and_a_training_with_its_evaluation_are_one_job(planned: str) -> None:
    groups = re.findall(r"Group job (\S+) \(jobs in lexicogr. order\):\n((?:\n| .*\n)+)", planned)
    members = {name: re.findall(r"^    rule (\w+):", text, re.MULTILINE) for name, text in groups}
    assert members["suites_organism-decoder_magnitude_0.60"] == ["evaluate_compressed"] * 2
    assert members["cell"] == ["evaluate_finetuned", "finetune"]


def test_several_jobs_share_a_local_gpu(planned: str, on_gpus: Project) -> None:
    assert {asked["gpu_slots"] for asked in resources(planned, "finetune")} == {"3"}, "what they need"
    on_gpus.edit("workflow/profiles/local-gpu/config.yaml", "gpu_slots: 24", "gpu_slots: 2")
    text = dry_run(on_gpus, "local-gpu")
    assert {asked["gpu_slots"] for asked in resources(text, "finetune")} == {"2"}, "at most what there is"
    assert {asked["gpu_slots"] for asked in resources(text, "compress")} == {"0", "2"}


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
    assert SETTINGS["slurm-status-attempts"] >= 100
    assert SETTINGS["slurm-requeue"]
    assert SETTINGS["resources"]["serial"] == 1 and SETTINGS["set-resource-scopes"]["serial"] == "local"
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
    assert set(SETTINGS["groups"]) <= rules
    assert set(SETTINGS["groups"]) == set(SETTINGS["set-resources"])


def test_the_plugin_reads_every_setting():
    """An unknown key stops Snakemake, as an unknown option does; its help lists those it knows."""
    known = subprocess.check_output([sys.executable, "-m", "snakemake", "--help"], text=True)
    unknown = [key for key in SETTINGS if f"--{key}" not in known]
    assert not unknown
