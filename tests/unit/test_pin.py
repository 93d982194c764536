"""Unpinned ids get the hub's commit in a file of the user's, which the configuration reads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import pin
from junkdna.config import PROJECT, read_all
from junkdna.files import DataError

PAPER = PROJECT / "config/paper.yaml"


class Api:
    """The hub's commits, numbered as they are asked for."""

    asked: list[tuple[str, str, str]]

    def repo_info(self, name: str, *, repo_type: str, revision: str) -> SimpleNamespace:
        self.asked.append((repo_type, name, revision))
        return SimpleNamespace(sha=f"{len(self.asked):040x}")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    Api.asked = []
    monkeypatch.setattr(pin, "HfApi", Api)
    return Api()


def test_what_is_not_pinned_is_looked_up_once_and_then_read(api: Api, tmp_path: Path) -> None:
    output = tmp_path / "pins.yaml"
    for _ in range(2):
        pin.main(["--configfile", str(PAPER), "--output", str(output)])
    assert ("model", "facebook/mbart-large-cc25", "main") in api.asked
    assert ("dataset", "KelvinJiang/freebase_qa", "refs/convert/parquet") in api.asked
    assert not any(name == "FacebookAI/roberta-large" for _, name, _ in api.asked)
    assert len(api.asked) == len(yaml.safe_load(output.read_text())["revisions"])
    _, catalog, _ = read_all([PAPER, output])
    assert int(catalog.models["mbart-large-cc25"].source.revision, 16) in range(1, len(api.asked) + 1)
    assert catalog.models["roberta-large"].source.revision == "722cf37b1afa9454edce342e7895e588b6ff1d59"


def test_a_hub_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("name or service not known")

    monkeypatch.setattr(pin.HfApi, "repo_info", unreachable)
    with pytest.raises(DataError, match=r"facebook/mbart-large-cc25: main: the hub gives no commit \(name or service"):
        pin.main(["--configfile", str(PAPER), "--output", str(tmp_path / "pins.yaml")])
    assert not list(tmp_path.iterdir())
