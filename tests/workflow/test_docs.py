"""The pages in docs/ are those that their runs' records give."""

from __future__ import annotations

import re

import pytest

from micro import Project
from support import PROJECT

# The record of docs/NAME.md lies in resources/NAME/results.
NAMES = sorted(path.parent.parent.name for path in PROJECT.glob("resources/*/results/manifest.json"))


@pytest.mark.skipif(not NAMES, reason="NO PAGE TESTED: there is no record in resources/*/results")
@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_made_again_from_its_record(fresh: Project, name: str) -> None:
    done = fresh.run_default(
        *("--cores", "2", "--configfile", f"config/{name}.yaml"),
        *("--config", f"recorded=resources/{name}/results", "pathvars={results: results/again}", "--", "page"),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    text = (fresh.root / f"results/again/page/{name}.md").read_text()
    assert text == (PROJECT / f"docs/{name}.md").read_text()
    images = re.findall(r"\]\((\S+\.png)\)", text)
    assert images and all((PROJECT / "docs" / image).exists() for image in images)
