"""The folder is there whole or not at all, whatever ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.quantize.folder import whole_folder

QUANTIZED = '{"quantization_config": {}}'


def fill(out: Path, text: str) -> None:
    with whole_folder(out) as part:
        (part / "config.json").write_text(QUANTIZED)
        (part / "weights").write_text(text)


def test_the_name_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "build" / "quantized"
    with whole_folder(out) as part:
        (part / "weights").write_text("new")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["weights"]
    assert [path.name for path in out.parent.iterdir()] == ["quantized"]


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "q", "old")
    (tmp_path / "q" / "stale").touch()
    fill(tmp_path / "q", "new")
    assert (tmp_path / "q" / "weights").read_text() == "new"
    assert not (tmp_path / "q" / "stale").exists()


def test_an_error_leaves_the_older_folder_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path / "q", "old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "q"):
        raise RuntimeError
    assert (tmp_path / "q" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["q"]


def test_a_killed_run_leaves_no_folder_and_the_next_run_clears_up(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path\n"
        "from pipeline.quantize.folder import whole_folder\n"
        "with whole_folder(Path('q')) as part:\n"
        "    (part / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "q").exists()
    assert (tmp_path / ".q.part" / "half").exists()
    fill(tmp_path / "q", "new")
    assert sorted(path.name for path in (tmp_path / "q").iterdir()) == ["config.json", "weights"]
    assert [path.name for path in tmp_path.iterdir()] == ["q"]


def test_a_folder_moved_aside_by_a_killed_run_is_put_back(tmp_path: Path) -> None:
    fill(tmp_path / "q", "old")
    (tmp_path / "q").rename(tmp_path / ".q.old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "q"):
        raise RuntimeError
    assert (tmp_path / "q" / "weights").read_text() == "old"


def test_the_note_of_a_skipped_stage_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "SKIPPED.md").touch()
    fill(tmp_path / "q", "new")
    assert not (tmp_path / "q" / "SKIPPED.md").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / name).write_text("{}")
    with pytest.raises(InputError, match="exists and is not a quantized model"):
        fill(tmp_path / "q", "new")
    assert (tmp_path / "q" / name).read_text() == "{}"


def test_a_file_of_that_name_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a quantized model"):
        fill(tmp_path / "q", "new")
