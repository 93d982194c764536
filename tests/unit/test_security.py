"""Nothing that comes from a stranger is run: no code of a model or data set, no name that a shell would read."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import tiny
import yaml
from test_models import CLASSIFY

from junkdna import config, models, sources
from junkdna.catalog import Local, Model
from junkdna.checkpoint import weight_files
from junkdna.config import ConfigError, read_catalog, read_experiments, read_settings
from junkdna.files import DataError
from junkdna.pickled import pickled_files
from micro import ASKED
from support import PROJECT

HOSTILE = ["a b", "a'b", 'a"b', "$(touch owned)", "`touch owned`", "../up", "a/b", "a;b", "-x", ".hidden", "a\nb", ""]
CODE = "import pathlib\npathlib.Path({path!r}).touch()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize("encoder", [True, False])
def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, encoder: bool) -> None:
    manifest = tiny.save_model(tmp_path, encoder)
    folder, owned = models.model_folder(manifest), tmp_path / "owned"
    (folder / "evil.py").write_text(CODE.format(path=str(owned)))
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModel")
    known = json.loads(config.read_text())
    config.write_text(json.dumps(known | {"auto_map": dict.fromkeys(classes, "evil.Evil")}))
    named = json.loads(tokenizer.read_text()) if tokenizer.exists() else {}
    tokenizer.write_text(json.dumps(named | {"auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}))
    # The library's own class is taken where it knows the architecture.
    loaded = models.load_model(folder, tiny.MODEL, CLASSIFY, models.load_tokenizer(folder))
    assert type(loaded).__module__.startswith("transformers.models.")
    # An architecture that only the model's own code knows is an error.
    config.write_text(json.dumps(known | {"model_type": "evil", "auto_map": dict.fromkeys(classes, "evil.Evil")}))
    with pytest.raises(ValueError, match="trust_remote_code|evil"):
        models.load_config(folder)
    assert not owned.exists()


def test_code_that_comes_with_a_data_set_is_not_fetched(tmp_path: Path) -> None:
    tiny.save_rows(tmp_path / "data", "default", "validation", [{"text": "a"}])
    (tmp_path / "data/data.py").write_text(CODE.format(path=str(tmp_path / "owned")))
    (tmp_path / "data/rows.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    source = Local(type="local", path=tmp_path / "data")
    sources.fetch_dataset("d", source, None, tmp_path / "manifest.json")
    assert all(file.endswith(".parquet") for file in json.loads((tmp_path / "manifest.json").read_text())["files"])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/secret.safetensors", "sub/../../secret.safetensors"])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    for index, read in (
        ("model.safetensors.index.json", weight_files),
        ("pytorch_model.bin.index.json", pickled_files),
    ):
        (tmp_path / index).write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(DataError, match=r"weight_map: .*secret\.safetensors: files beside the index are expected"):
            read(tmp_path)


def entries(name: str) -> dict[str, dict]:
    """A catalog for each place where a name stands."""
    source = {"type": "local", "path": "."}
    task = {"label": "T", "kind": "generation", "dataset": "d", "configs": ["c"], "metric": "exact_match"}
    task |= {"prompt": "{q}", "target": "a"}
    return {
        "models": {"models": {name: {"source": source}}},
        "datasets": {"datasets": {name: source}},
        "methods": {"methods": {name: {"label": "M", "module": "pruning.random", "levels": ["sparsity"]}}},
        "module": {"methods": {"m": {"label": "M", "module": f"pruning.{name}", "levels": ["sparsity"]}}},
        "tasks": {"datasets": {"d": source}, "tasks": {name: task}},
        "variants": {"datasets": {"d": source}, "tasks": {"t": task | {"variants": {name: {}}}}},
        "revision": {"models": {"m": {"source": {"type": "hub", "id": "a/b", "revision": name or "$(x)"}}}},
    }


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", entries("x"))
def test_names_that_a_shell_or_a_path_would_read_are_refused(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(entries(name)[place]))
    with pytest.raises(ConfigError, match=r"mine\.yaml: "):
        read_catalog([tmp_path])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_experiments_and_levels_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(ASKED | {"name": name, "methods": {"random": [name]}}))
    settings = {"experiments": [str(tmp_path / "e.yaml")], "catalog": [str(PROJECT / "config/catalog")]}
    read = read_settings(settings, "mine.yaml")
    with pytest.raises(ConfigError) as error:
        read_experiments(read, read_catalog(read.catalog, read.limits, read.revisions))
    assert "e.yaml: name" in str(error.value) and "e.yaml: methods.random" in str(error.value)


def calls(path: Path) -> list[str]:
    """The calls in a module as text, without their white space."""
    tree = ast.parse(path.read_text())
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_no_call_runs_what_it_reads() -> None:
    """Only the warm-start server executes a file: the script that Snakemake names. The loader of YAML is a safe one."""
    risky = re.compile(
        r"^(eval|exec|compile|__import__|os\.system|os\.popen|pickle\.loads?|pd\.read_pickle|joblib\.load"
        r"|yaml\.(load(?!\(.*, Loader=YAML\)$)|unsafe_load|full_load)|datasets\.load_dataset|load_dataset)\("
        r"|shell=True|trust_remote_code=True|allow_pickle=True|weights_only=False|use_safetensors=False"
    )
    found = {}
    for path in (PROJECT / "workflow/scripts").rglob("*.py"):
        found[path.name] = [call for call in calls(path) if risky.search(call)]
    assert [name for name, risks in found.items() if risks] == ["warm.py"], found
    loads = [c for p in (PROJECT / "workflow/scripts").rglob("*.py") for c in calls(p) if c.startswith("torch.load(")]
    assert loads and all("weights_only=True" in call for call in loads)
    assert issubclass(config.YAML, yaml.constructor.SafeConstructor)


def test_every_text_in_a_shell_command_is_quoted() -> None:
    """Or it is of a kind that the configuration lets through only where a shell reads it as one word."""
    plain = {"name", "module", "method", "seed", "transfer", "form", "alpha"}
    for path in (PROJECT / "workflow/rules").glob("*.smk"):
        for block in re.findall(r'shell:\s+r"""(.*?)"""', path.read_text(), re.DOTALL):
            for field in re.findall(r"(?<!\{)\{([a-z][^{}]*)\}(?!\})", block):
                kind, _, name = field.partition(".")
                if field == "threads":  # a number, of Snakemake's own making
                    continue
                assert field.endswith(":q") or kind == "wildcards" or (kind == "params" and name in plain), (
                    path,
                    field,
                )


def test_every_wildcard_is_constrained() -> None:
    constrained = set(re.findall(r"^    (\w+)=r", (PROJECT / "workflow/rules/common.smk").read_text(), re.MULTILINE))
    for path in (PROJECT / "workflow/rules").glob("*.smk"):
        used = set(re.findall(r"\{wildcards\.(\w+)\}", path.read_text()))
        assert used <= constrained, (path, used - constrained)


def test_a_model_that_is_only_a_pickle_is_never_read_as_it_is(tmp_path: Path) -> None:
    manifest = tiny.save_model(tmp_path, encoder=False)
    folder = models.model_folder(manifest)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises((DataError, OSError), match="safetensors"):
        models.load_model(folder, Model.model_validate({"source": {"type": "local", "path": "."}}), CLASSIFY, None)
