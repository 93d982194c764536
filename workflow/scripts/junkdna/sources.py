"""From a source in the catalog to a folder of checked files: hub, mirror, local, builtin or corpus.

Only this module uses the network, and only for a hub source without `mirror`. The outcome is a manifest that names the
folder and the sha256 of every file; later stages read nothing else of the source.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from tqdm import tqdm

from junkdna.catalog import Builtin, Corpus, DataSource, Hub, Local, Model, Source
from junkdna.checkpoint import read_header
from junkdna.config import PROJECT
from junkdna.files import DataError, atomic_path, sha256, write_json

log = logging.getLogger(__name__)

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
PICKLED_FILES = ("pytorch_model*.bin",)
DATASET_FILES = ("**/*.parquet",)
CONTENT = {"model": (".safetensors",), "data": (".parquet", ".gz", ".txt", ".xz")}
NEEDED = (".safetensors", ".parquet")  # may not be missing where their digests are known
SHARDS = (".txt", ".gz", ".xz")  # nor may these of a corpus


def folder_of(source: DataSource, mirror: Path | None, kind: str) -> Path | None:
    """The folder that holds a source's files already, or None if it must be made or downloaded.

    Args:
        kind: "models" or "datasets", the two halves of a mirror.
    """
    if isinstance(source, Local | Corpus):
        return source.path
    if isinstance(source, Builtin):
        return None if source.path == "world" else PROJECT / "resources" / source.path
    return mirror / kind / source.id if mirror else None


def fetch_dataset(name: str, source: DataSource, mirror: Path | None, output: Path) -> None:
    """Make a data set's files available and write its manifest.

    Args:
        output: the manifest to write; files that are downloaded or generated lie in ``files/`` beside it.

    Raises:
        DataError: a file is missing, truncated or has another checksum, or the hub cannot be reached.
    """
    folder = folder_of(source, mirror, "datasets")
    shards = source.sha256 if isinstance(source, Corpus) else ()
    patterns = tuple(shards or getattr(source, "files", ())) or DATASET_FILES
    if folder is None:
        with atomic_path(output.parent / "files") as aside:
            if isinstance(source, Hub):
                _download(name, source, aside, "dataset", patterns)
            else:
                from junkdna.world.datasets import write_datasets  # a sizeable import that other sources spare

                write_datasets(PROJECT / "resources/organisms/recipe.yaml", aside)
        folder = output.parent / "files"
    _write_manifest(name, source, folder, patterns, mirror, output)


def fetch_model(name: str, model: Model, mirror: Path | None, output: Path) -> None:
    """Make a pre-trained model's files available and write its manifest. Pickled weights are converted.

    Raises:
        DataError: as :func:`fetch_dataset`; also when no weights are there, or pickled ones hold more than tensors.
    """
    folder = folder_of(model.source, mirror, "models")
    if folder is None:
        with atomic_path(output.parent / "files") as aside:
            _download(name, model.source, aside, "model", MODEL_FILES)
            if not any(aside.glob("*.safetensors")):
                _download(name, model.source, aside, "model", PICKLED_FILES)
                _convert(name, model.source, aside, aside, mirror)
        folder = output.parent / "files"
    elif folder.is_dir() and not any(folder.glob("*.safetensors")) and any(folder.glob(PICKLED_FILES[0])):
        with atomic_path(output.parent / "files") as aside:
            aside.mkdir()
            for file in (file for pattern in MODEL_FILES for file in folder.glob(pattern)):
                shutil.copyfile(file, aside / file.name)
            _convert(name, model.source, folder, aside, mirror)
        folder = output.parent / "files"
    _write_manifest(name, model.source, folder, MODEL_FILES, mirror, output)


def _convert(name: str, source: Source, folder: Path, target: Path, mirror: Path | None) -> None:
    """Pickled weights of ``folder``, checked against their digests, as safetensors in ``target``."""
    from junkdna import pickled

    files = pickled.pickled_files(folder)
    expected = {file: digest for file, digest in _expected(source, folder, mirror).items() if file.endswith(".bin")}
    _check_digests(folder, {file.name: sha256(file) for file in files}, expected)
    pickled.convert(files, target)
    (target / pickled.INDEX).unlink(missing_ok=True)
    for file in files if folder == target else []:
        file.unlink()
    log.info("%s: %d pickled files converted", name, len(files))


def make_twin(name: str, model: Model, base: dict[str, Any], output: Path) -> None:
    """Write the untrained twin of a model: its architecture and tokenizer, fresh weights drawn from ``model.seed``."""
    import torch
    import transformers

    folder = Path(base["path"])
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    torch.manual_seed(model.seed)
    twin = getattr(transformers, config.architectures[0])(config)
    with atomic_path(output.parent / "files") as aside:
        twin.save_pretrained(aside)
        for file in folder.iterdir():
            if "token" in file.name or file.name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
                shutil.copyfile(file, aside / file.name)
    _write_manifest(name, None, output.parent / "files", MODEL_FILES, None, output)


def _download(name: str, source: Hub, folder: Path, kind: str, patterns: tuple[str, ...]) -> None:
    if source.revision is None:
        raise DataError(
            f"catalog: {kind}s.{name}.source.revision: missing: a download needs the commit (40 hexadecimal digits) "
            "that it takes. `make pin` looks it up; or set `mirror` to a folder that holds it"
        )
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            source.id, repo_type=kind, revision=source.revision, local_dir=folder, allow_patterns=list(patterns)
        )
    except Exception as error:  # the client raises many types; each means that the files are not there
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"catalog: {kind}s.{name}.source.id: {source.id!r}: download failed ({reason}). "
            "Without a network, set `mirror` to a folder with "
            f"{kind}s/{source.id}, or use a source of type local."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _write_manifest(
    name: str, source: DataSource | None, folder: Path, patterns: tuple[str, ...], mirror: Path | None, output: Path
) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (source of {name!r}: {source}); check `mirror` or the source's path")
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    content = CONTENT["model" if patterns is MODEL_FILES else "data"]
    if not any(file.suffix in content for file in files):
        raise DataError(f"{folder}: holds no {' or '.join(patterns)} with {' or '.join(content)} (source of {name!r})")
    digests = {}
    for file in tqdm(files, desc=f"check {name}", unit="file"):
        digests[file.relative_to(folder).as_posix()] = sha256(file)
        _check_whole(file)
    _check_digests(folder, digests, _expected(source, folder, mirror), SHARDS if isinstance(source, Corpus) else NEEDED)
    write_json(output, {"name": name, "path": _portable(folder), "files": digests, "source": _describe(source)})
    log.info("%s: %d files in %s", name, len(digests), folder)


def _describe(source: DataSource | None) -> dict[str, Any] | None:
    return source.model_dump(mode="json", exclude={"sha256"}) if source else None


def _portable(folder: Path) -> str:
    """Relative to the working directory where it lies below it, so that a moved project keeps its manifests."""
    folder = folder.absolute()
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _expected(source: DataSource | None, folder: Path, mirror: Path | None) -> dict[str, str]:
    """Digests that the files must have: the catalog's, and those of a SHA256SUMS above the folder."""
    expected = dict(getattr(source, "sha256", {}))
    if isinstance(source, Builtin):
        root = PROJECT / "resources" / source.family
    else:
        root = mirror if isinstance(source, Hub) else None
    sums = root / "SHA256SUMS" if root else None
    if sums and sums.exists() and folder.is_relative_to(root):
        prefix = folder.relative_to(root).as_posix() + "/"
        for line in sums.read_text().splitlines():
            digest, _, file = line.partition("  ")
            file = file.removeprefix("./")
            if file.startswith(prefix):
                expected.setdefault(file.removeprefix(prefix), digest)
    return expected


def _check_digests(
    folder: Path, digests: dict[str, str], expected: dict[str, str], needed: tuple[str, ...] = NEEDED
) -> None:
    for file, digest in expected.items():
        if file in digests and digests[file] != digest:
            raise DataError(f"{folder / file}: sha256 is {digests[file]}, expected {digest}; fetch the file again")
        if file not in digests and file.endswith(needed):
            raise DataError(f"{folder / file}: missing; it is listed with sha256 {digest}")


def _check_whole(file: Path) -> None:
    """Fail on a file cut short, which a checksum shows only where one is known."""
    if file.suffix == ".safetensors":
        read_header(file)
    if file.suffix == ".parquet":
        with open(file, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            handle.seek(max(0, size - 4))
            if size < 12 or handle.read() != b"PAR1":
                raise DataError(f"{file}: truncated or not parquet ({size} bytes); fetch the file again")
