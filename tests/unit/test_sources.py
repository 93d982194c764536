"""Sources: whole files with the right digests, or an error that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch

from junkdna.catalog import Builtin, Hub, Local, Model
from junkdna.checkpoint import Checkpoint
from junkdna.files import DataError, read_json, sha256
from junkdna.models import load_tokenizer
from junkdna.sources import fetch_dataset, fetch_model, make_twin
from support import MIRROR, needs_mirror

DECODER = Model(source=Builtin(type="builtin", path="organisms/decoder"))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    fetch_model("decoder", DECODER, None, tmp_path / "manifest.json")
    return Path(shutil.copytree(read_json(tmp_path / "manifest.json")["path"], tmp_path / "local"))


def test_builtin_world_is_generated_with_equal_digests_each_time(tmp_path: Path) -> None:
    world = Builtin(type="builtin", path="world")
    for name in ("one", "two"):
        fetch_dataset("world", world, None, tmp_path / name / "manifest.json")
    one, two = (read_json(tmp_path / name / "manifest.json") for name in ("one", "two"))
    assert one["files"] == two["files"] and len(one["files"]) > 10


def test_a_wrong_digest_names_the_file_and_both_digests(local: Path, tmp_path: Path) -> None:
    model = Model(source=Local(type="local", path=local, sha256={"model.safetensors": "0" * 64}))
    with pytest.raises(DataError, match=r"model\.safetensors: sha256 is [0-9a-f]{64}, expected 0{64}"):
        fetch_model("m", model, None, tmp_path / "out/manifest.json")
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize("kept", [100, -50])
def test_truncated_weights(local: Path, tmp_path: Path, kept: int) -> None:
    file = local / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        fetch_model("m", Model(source=Local(type="local", path=local)), None, tmp_path / "out/manifest.json")


def test_truncated_parquet(tmp_path: Path) -> None:
    fetch_dataset("world", Builtin(type="builtin", path="world"), None, tmp_path / "manifest.json")
    file = tmp_path / "files/lexical/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"lexical/train.*truncated"):
        fetch_dataset("w", Local(type="local", path=tmp_path / "files"), None, tmp_path / "out/manifest.json")


def test_missing_folder_and_pickled_weights(tmp_path: Path) -> None:
    gone = Model(source=Local(type="local", path=tmp_path / "gone"))
    with pytest.raises(DataError, match="gone: no such folder"):
        fetch_model("m", gone, None, tmp_path / "out/manifest.json")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/merges.txt").write_text("a b")
    with pytest.raises(DataError, match=r"holds no .*safetensors"):
        fetch_model("m", Model(source=Local(type="local", path=tmp_path / "old")), None, tmp_path / "out/m.json")


def pickled(local: Path, folder: Path, shards: int) -> Path:
    """The same model as models were published once: pickles, tied weights in the same memory."""
    from safetensors.torch import load_file

    tensors = load_file(local / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    folder.mkdir(parents=True)
    shutil.copy(local / "config.json", folder)
    names, parts = list(tensors), [f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin" for i in range(shards)]
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    for i, part in enumerate(parts):
        torch.save({name: tensors[name] for name in names[i::shards]}, folder / part)
    index = {"weight_map": {name: parts[i % shards] for i, name in enumerate(names)}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("shards", [1, 3])
def test_pickled_weights_are_converted_beside_the_manifest(local: Path, tmp_path: Path, shards: int) -> None:
    mirror = tmp_path / "mirror"
    folder = pickled(local, mirror / "models/org/name", shards)
    before = sorted(file.name for file in folder.iterdir())
    model = Model(source=Hub(type="hub", id="org/name"))
    fetch_model("m", model, mirror, tmp_path / "out/manifest.json")
    found = Checkpoint(read_json(tmp_path / "out/manifest.json")["path"])
    whole = Checkpoint(local)
    assert (
        set(found.infos) == {*whole.infos, "lm_head.weight"} and len({i.file for i in found.infos.values()}) == shards
    )
    assert all(torch.equal(found.tensor(name), whole.tensor(name)) for name in whole.infos)
    assert torch.equal(found.tensor("lm_head.weight"), whole.tensor("model.embed_tokens.weight"))
    assert sorted(file.name for file in folder.iterdir()) == before
    first = next(folder.glob("*.bin"))
    (mirror / "SHA256SUMS").write_text(f"{'1' * 64}  ./models/org/name/{first.name}\n")
    with pytest.raises(DataError, match=r"pytorch_model.*expected 1111"):
        fetch_model("m", model, mirror, tmp_path / "other/manifest.json")


def test_pickled_weights_of_the_hub_are_downloaded_only_where_there_are_no_others(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(name: str, *, local_dir: Path, allow_patterns: list[str], **_: object) -> None:
        asked.append(allow_patterns)
        local_dir.mkdir(exist_ok=True)
        for file in (file for pattern in allow_patterns for file in (tmp_path / name).glob(pattern)):
            shutil.copy(file, local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    shutil.copytree(local, tmp_path / "org/new")
    pickled(local, tmp_path / "org/old", 2)
    for name, calls in (("new", 1), ("old", 2)):
        asked.clear()
        model = Model(source=Hub(type="hub", id=f"org/{name}", revision="a" * 40))
        fetch_model(name, model, None, tmp_path / f"{name}/manifest.json")
        assert len(asked) == calls and not any("bin" in pattern for pattern in asked[0])
        assert not list((tmp_path / name).rglob("*.bin*"))


def test_a_sentencepiece_model_is_a_tokenizer(tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(f"the cat number {i} sat on mat {i * 7}" for i in range(500)),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    named = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
    named |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer("the cat sat\nQ: é")["input_ids"]
    assert ids[0] == 1 and ids[-1] != 2 and tokenizer.decode(ids[1:]) == "the cat sat\nQ: é"


def test_a_pickle_with_code_is_refused_and_not_run(local: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    folder = pickled(local, tmp_path / "evil", 1)
    model = Model(source=Local(type="local", path=folder))
    for content in ({"a": torch.zeros(2), "b": Evil()}, {"a": 1}, [torch.zeros(2)]):
        torch.save(content, folder / "pytorch_model.bin")
        with pytest.raises(DataError, match=r"pytorch_model\.bin: (truncated, or holds more than tensors|holds )"):
            fetch_model("m", model, None, tmp_path / "out/manifest.json")
    (folder / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes()[:90])
    with pytest.raises(DataError, match=r"pytorch_model\.bin: truncated"):
        fetch_model("m", model, None, tmp_path / "out/manifest.json")
    assert not (tmp_path / "ran").exists() and not list((tmp_path / "out").glob("*"))


def test_hub_without_network_or_revision_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, local_dir: Path, **__: object) -> None:
        local_dir.mkdir()
        (local_dir / "half").write_text("x")
        raise ConnectionError("name or service not known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    source = {"type": "hub", "id": "nobody/nothing"}
    with pytest.raises(DataError, match=r"m\.source\.revision: missing.*mirror"):
        fetch_model("m", Model(source=Hub(**source)), None, tmp_path / "manifest.json")
    with pytest.raises(DataError, match=r"m\.source\.id: 'nobody/nothing': download failed.*mirror"):
        fetch_model("m", Model(source=Hub(**source, revision="a" * 40)), None, tmp_path / "manifest.json")
    assert list(tmp_path.iterdir()) == []


def test_mirror_digests_are_checked(local: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mirror/models/org/name"
    shutil.copytree(local, folder)
    model = Model(source=Hub(type="hub", id="org/name"))
    sums = tmp_path / "mirror/SHA256SUMS"
    sums.write_text(f"{sha256(folder / 'model.safetensors')}  ./models/org/name/model.safetensors\n")
    fetch_model("m", model, tmp_path / "mirror", tmp_path / "manifest.json")
    sums.write_text(f"{'1' * 64}  ./models/org/name/model.safetensors\n")
    with pytest.raises(DataError, match="expected 1111"):
        fetch_model("m", model, tmp_path / "mirror", tmp_path / "manifest.json")


def test_untrained_twin_has_the_shape_but_not_the_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    fetch_model("base", DECODER, None, tmp_path / "base/manifest.json")
    base = read_json(tmp_path / "base/manifest.json")
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        make_twin(name, Model(untrained_twin_of="base", seed=seed), base, tmp_path / name / "manifest.json")
    one, two, other = (read_json(tmp_path / n / "manifest.json") for n in ("one", "two", "other"))
    assert one["files"] == two["files"] != other["files"]
    assert "tokenizer.json" in one["files"]
    twin, real = load_file(Path(one["path"]) / "model.safetensors"), load_file(Path(base["path"]) / "model.safetensors")
    assert {k: v.shape for k, v in twin.items()} == {k: v.shape for k, v in real.items()}


@needs_mirror
def test_every_model_and_data_set_of_the_mirror_passes_its_sums(tmp_path: Path) -> None:
    for folder in sorted((MIRROR / "datasets").glob("*/*")):
        if folder.parent.name != "local":
            name = f"{folder.parent.name}/{folder.name}"
            fetch_dataset(folder.name, Hub(type="hub", id=name), MIRROR, tmp_path / f"{folder.name}.json")
            assert json.loads((tmp_path / f"{folder.name}.json").read_text())["files"]
    model = Model(source=Hub(type="hub", id="raincandy-u/TinyStories-656K"))
    fetch_model("tiny", model, MIRROR, tmp_path / "tiny.json")
    assert "model.safetensors" in read_json(tmp_path / "tiny.json")["files"]
