"""The pins have one source: pyproject.toml, then requirements.lock, then envs/*.yaml."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from lock_environments import ENVIRONMENTS, PYTHON, direct_pins, environment, harness_pins, locked_pins

PROJECT = Path(__file__).resolve().parents[2]
PINS = locked_pins(PROJECT / "requirements.lock")
HARNESS = locked_pins(PROJECT / "envs/harness.txt")
EXACT = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.]+")


def versions(pins: list[str]) -> dict[str, str]:
    """Versions by the package's normalised name."""
    pairs = (pin.split("==") for pin in pins)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_every_pin_is_exact_and_holds_on_every_machine():
    assert sorted(PINS, key=str.lower) == PINS
    assert [pin for pin in PINS if not EXACT.fullmatch(pin)] == []
    assert len(versions(PINS)) == len(PINS)
    assert [pin for pin in PINS if pin.lower().startswith(("nvidia", "triton", "cuda"))] == []


def test_the_lock_holds_the_direct_pins():
    direct, locked = versions(direct_pins(PROJECT / "pyproject.toml")), versions(PINS)
    drifted = {name: (pin, locked.get(name)) for name, pin in direct.items() if locked.get(name) != pin}
    assert not drifted, f"pyproject.toml against requirements.lock: {drifted}; run `make lock`"


def test_the_harness_adds_to_the_lock_and_is_not_in_it():
    assert set(harness_pins(PROJECT / "pyproject.toml")) <= set(HARNESS)
    assert [pin for pin in HARNESS if not EXACT.fullmatch(pin)] == []
    assert not versions(HARNESS).keys() & versions(PINS).keys()
    assert "-r ../requirements.lock" in (PROJECT / "envs/harness.txt").read_text().splitlines()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environments_equal_the_lock(name):
    text, pins = (PROJECT / "envs" / f"{name}.yaml").read_text(), PINS + HARNESS * (name == "harness")
    assert text == environment(name, pins), f"envs/{name}.yaml has drifted; run `make lock`"
    *_, pip = yaml.safe_load(text)["dependencies"]
    assert [pin for pin in pip["pip"] if not pin.startswith("--")] == pins


def test_these_tests_run_on_the_locked_versions():
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in versions(PINS)}
    assert installed == versions(PINS), "the environment is not that of requirements.lock; run `make test`"


def test_the_python_versions_agree():
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">=3.11,<3.13"
    assert (3, 11) <= sys.version_info[:2] < (3, 13)
    assert PYTHON in ("3.11", "3.12")


def test_make_alone_prints_the_targets():
    text = subprocess.check_output(["make", "-C", str(PROJECT)], text=True)
    for target in ("demo", "test", "harness", "lint", "clean", "lock", "pretrain", "report", "power", "bench"):
        assert f"make {target} " in text


def test_clean_removes_results_only():
    text = subprocess.check_output(["make", "-C", str(PROJECT), "--dry-run", "clean"], text=True)
    commands = [line for line in text.splitlines() if not line.startswith("make")]
    assert commands == ["rm -rf results report.html"]
