"""The configuration's own documentation does not drift, and its errors say what is allowed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

import document_config
from junkdna.config import RESERVED, ConfigError, read_catalog, read_experiments, read_settings, read_yaml
from support import PROJECT


def test_schemas_and_reference_are_what_the_models_say() -> None:
    for path, text in document_config.render(PROJECT / "config").items():
        assert path.read_text() == text, f"{path.name} has drifted: run `make docs`"


def test_every_key_is_explained_or_named_after_what_it_is(tmp_path: Path) -> None:
    text = (PROJECT / "config/README.md").read_text()
    for key in ("warm_start", "mirror", "untrained_twin_of", "n_options", "prunable_exclude"):
        assert f"| `{key}` |" in text


def test_no_experiment_is_named_like_a_table_over_all(tmp_path: Path) -> None:
    rules = "".join(file.read_text() for file in (PROJECT / "workflow/rules").glob("*.smk"))
    assert set(re.findall(r"<results>/(?:tables|figures)/(\w+)\.", rules)) == set(RESERVED)
    content = read_yaml(PROJECT / "config/experiments/organism/k_shot.yaml") | {"name": "claims"}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(content))
    given = read_yaml(PROJECT / "config/config.yaml") | {"experiments": [str(tmp_path / "e.yaml")]}
    settings = read_settings(given, "config")
    with pytest.raises(ConfigError, match=r"name: 'claims': kept for a table; allowed is any but difficulty, "):
        read_experiments(settings, read_catalog(settings.catalog, settings.limits))


def task(**changes: object) -> dict:
    base = {"label": "T", "kind": "classification", "dataset": "d", "configs": ["c"], "metric": "accuracy"}
    return {"datasets": {"d": {"type": "builtin", "path": "world"}}, "tasks": {"t": base | changes}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (task(text=["s"]), "kind classification needs n_classes"),
        (task(text=["s"], n_classes=2, metric="bleu"), "metric 'bleu' is not one of accuracy, matthews"),
        (task(text=["s"], n_classes=2, dataset="e"), r"tasks\.t\.dataset: unknown dataset 'e'"),
        (task(text=["s"], n_classes=2, training={"learning_rate": 1, "batch_size": 1, "max_length": 9}), "epochs"),
        (task(text=["s"], n_classes=2, nclasses=3), "did you mean 'n_classes'"),
        (
            {
                "methods": {
                    "m": {"label": "M", "module": "pruning.magnitude", "levels": ["sparsity"], "params": {"scop": 1}}
                }
            },
            r"methods\.m\.params: unknown key 'scop'; did you mean 'scope'",
        ),
        (
            {
                "methods": {
                    "m": {"label": "M", "module": "pruning.random", "levels": ["sparsity"], "params": {"seed": "a"}}
                }
            },
            r"methods\.m\.params\.seed: 'a': allowed: int",
        ),
        (
            {"methods": {"m": {"label": "M", "module": "pruning.nothing", "levels": ["sparsity"]}}},
            r"methods\.m\.module: 'pruning.nothing': no such module",
        ),
        ({"models": {"m": {}}}, "either `source` or `untrained_twin_of`"),
        ({"models": {"m": {"untrained_twin_of": "n"}}}, r"models\.m\.untrained_twin_of: unknown model 'n'"),
        (
            {"models": {"m": {"source": {"type": "builtin", "path": "organisms/decoder-smal"}}}},
            r"models\.m\.source\.path: unknown builtin .*did you mean 'organisms/decoder",
        ),
        ({"datasets": {"d": {"type": "builtin", "path": "organisms/decoder"}}}, r"datasets\.d\.path: .*Allowed: world"),
        ({"models": {"m": {"source": {"type": "hub", "id": "x"}}}}, r"models\.m\.source.*id"),
        ({"models": {"m": {"source": {"type": "hub", "id": "a/b", "revision": "main"}}}}, "revision.*'main'"),
    ],
)
def test_catalog_errors(tmp_path: Path, content: dict, expected: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=f"mine.yaml: .*{expected}"):
        read_catalog([tmp_path])


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: not YAML"):
        read_yaml(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"list\.yaml: holds list; a mapping"):
        read_yaml(tmp_path / "list.yaml")


def test_limits_replace_the_catalogs(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "config/catalog", tmp_path / "catalog")
    catalog = read_catalog([tmp_path / "catalog"], {"lexical": {"train": 7}})
    assert catalog.tasks["lexical"].train_limit == 7
    assert catalog.tasks["agreement"].train_limit != 7


def test_several_mistakes_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"experiments": [], "sedes": 1, "mirror": 3}, "here.yaml")
    assert len(str(caught.value).splitlines()) == 3


def test_true_difficulties_are_those_of_the_recipe() -> None:
    recipe = read_yaml(PROJECT / "resources/organisms/recipe.yaml")["true_difficulty"]
    catalog = read_catalog([PROJECT / "config/catalog"])
    found = {}
    for name, task in catalog.tasks.items():
        if task.dataset == "world":
            found |= {name: task.true_difficulty} if task.true_difficulty is not None else {}
            found |= {f"{name}/{v}": variant.true_difficulty for v, variant in task.variants.items()}
    renamed = {"closed_book_head": "closed_book/head", "closed_book_tail": "closed_book/tail"}
    renamed |= {f"open_book_{n}": f"open_book/facts_{n}" for n in (1, 2, 4)}
    renamed |= {f"evidence_{n}": f"evidence/tokens_{n}" for n in (32, 24, 16, 8, 0)}
    renamed |= {f"options_{n}": f"options/options_{n}" for n in (2, 4, 8)}
    renamed |= {f"shots_{n}": f"k_shot/shots_{n}" for n in range(6)}
    expected = {renamed.get(key, key): value for key, value in recipe.items()}
    assert {key: value for key, value in found.items() if value is not None} == {
        key: value for key, value in expected.items() if key in found
    }
    assert len(found) >= 20
