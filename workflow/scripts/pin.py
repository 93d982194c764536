"""Look up the hub's current commit of everything that a configuration fetches and does not pin; needs a network."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from junkdna.catalog import Hub
from junkdna.config import read_all, read_yaml, sources
from junkdna.files import DataError, atomic_path
from junkdna.logs import run

log = logging.getLogger("pin")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="as given to snakemake")
    parser.add_argument("--output", type=Path, required=True, help="file with `revisions` to write or to add to")
    return parser.parse_args(argv)


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
