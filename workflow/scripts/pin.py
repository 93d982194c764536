"""Look up the hub's current commit of everything that a configuration fetches and does not pin; needs a network."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from junkdna.catalog import Catalog, DataSource, Hub
from junkdna.config import Experiment, calibrated, data_of, read_all, read_yaml
from junkdna.files import DataError, atomic_path
from junkdna.logs import run

log = logging.getLogger("pin")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="as given to snakemake")
    parser.add_argument("--output", type=Path, required=True, help="file with `revisions` to write or to add to")
    return parser.parse_args(argv)


def sources(experiments: dict[str, Experiment], catalog: Catalog) -> dict[str, dict[str, DataSource]]:
    """What the experiments fetch: "models" and "datasets", each name to source; of a twin, its base."""
    models = {name for e in experiments.values() for name in [*e.models, *e.controls]}
    models = {catalog.models[name].untrained_twin_of or name for name in models}
    data = {catalog.tasks[name].dataset for e in experiments.values() for name in e.tasks}
    drawn = {e.name: calibrated(catalog) & e.methods.keys() for e in experiments.values()}
    data |= {data_of(catalog, model).dataset for e in experiments.values() if drawn[e.name] for model in e.models}
    return {
        "models": {name: catalog.models[name].source for name in sorted(models)},
        "datasets": {name: catalog.datasets[name] for name in sorted(data)},
    }


def commit(api: HfApi, kind: str, source: Hub) -> str:
    """The commit that a source's branch stands at.

    Raises:
        DataError: the hub does not answer, or has no such id or branch.
    """
    try:
        return api.repo_info(source.id, repo_type=kind.removesuffix("s"), revision=source.branch).sha
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{kind}: {source.id}: {source.branch}: the hub gives no commit ({reason})") from error


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    _, catalog, experiments = read_all(args.configfile)
    known = read_yaml(args.output).get("revisions", {}) if args.output.exists() else {}
    api, found = HfApi(), {}
    for kind, entries in sources(experiments, catalog).items():
        for source in entries.values():
            if isinstance(source, Hub) and source.revision is None and source.id not in known:
                found[source.id] = commit(api, kind, source)
                log.info("%s: %s", source.id, found[source.id])
    with atomic_path(args.output) as aside:
        aside.write_text(yaml.safe_dump({"revisions": known | found}))


if __name__ == "__main__":
    run(main)
