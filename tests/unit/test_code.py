"""Digests of code follow imports and ignore what does not change behaviour."""

from __future__ import annotations

from pathlib import Path

import pytest

from junkdna import code


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "junkdna/pruning").mkdir(parents=True)
    (tmp_path / "job.py").write_text('"""Doc."""\nfrom junkdna.a import f\nimport json\n\nf()\n')
    (tmp_path / "junkdna/__init__.py").write_text("")
    (tmp_path / "junkdna/a.py").write_text("from junkdna import b\n\n\ndef f():\n    return b.g()\n")
    (tmp_path / "junkdna/b.py").write_text('def g():\n    """Say."""\n    return 1\n')
    (tmp_path / "junkdna/unused.py").write_text("x = 1\n")
    (tmp_path / "junkdna/pruning/__init__.py").write_text("")
    (tmp_path / "junkdna/pruning/wanda.py").write_text("x = 1\n")
    monkeypatch.setattr(code, "SCRIPTS", tmp_path)
    code._read.cache_clear()
    code.digests.cache_clear()
    return tmp_path


def test_imports_are_followed_and_nothing_else(scripts: Path) -> None:
    assert set(code.digests("job.py")) == {"job.py", "junkdna/__init__.py", "junkdna/a.py", "junkdna/b.py"}
    assert "junkdna/pruning/wanda.py" in code.digests("job.py", "pruning.wanda")


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ('# note\ndef g():\n    """Say otherwise."""\n\n    return (\n        1\n    )\n', False),
        ('def g():\n    """Say."""\n    return 2\n', True),
    ],
)
def test_only_behaviour_counts(scripts: Path, text: str, changes: bool) -> None:
    before = code.digests("job.py")
    (scripts / "junkdna/b.py").write_text(text)
    code._read.cache_clear()
    code.digests.cache_clear()
    after = code.digests("job.py")
    assert ({k for k in after if after[k] != before[k]} == {"junkdna/b.py"}) is changes
    assert (after == before) is not changes


def test_the_closures_of_the_real_scripts_hold_their_modules_and_not_each_others() -> None:
    code._read.cache_clear()
    code.digests.cache_clear()
    assert "junkdna/pruning/random.py" in code.digests("compress.py", "pruning.random")
    assert not any("pruning/random" in file for file in code.digests("compress.py", "pruning.magnitude"))
    assert not any("figures" in file or "statistics" in file for file in code.digests("evaluate.py"))
    assert not any("config.py" in file for file in code.digests("finetune.py"))
