"""The folder is there whole or not at all, whatever ends the run; another's folder is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import EnvironmentFault, InputError
from pipeline.folders import FolderKind, check_file, check_place, check_replaceable, whole_folder

KIND = FolderKind("a basket", "basket.json", lambda folder: (folder / "basket.json").is_file())


def fill(out: Path, text: str, *, replace: bool = True) -> None:
    with whole_folder(out, KIND, replace=replace) as part:
        (part / "basket.json").write_text("{}")
        (part / "weights").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_name_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "build" / "out"
    with whole_folder(out, KIND) as part:
        (part / "weights").write_text("new")
        assert not out.exists()
    assert names(out) == ["weights"]
    assert names(out.parent) == ["out"]


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "stale").touch()
    fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "weights").read_text() == "new"
    assert names(tmp_path / "out") == ["basket.json", "weights"]


def test_an_older_folder_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    with pytest.raises(InputError, match=r"out: already holds a basket\. .* use --force"):
        fill(tmp_path / "out", "new", replace=False)
    assert (tmp_path / "out" / "weights").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_error_leaves_the_older_folder_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out", KIND):
        raise RuntimeError
    assert (tmp_path / "out" / "weights").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_killed_run_leaves_no_folder_and_the_next_run_clears_up(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path\n"
        "from pipeline.folders import check_file, FolderKind, whole_folder\n"
        "with whole_folder(Path('out'), FolderKind('a basket', 'it', Path.is_dir)) as part:\n"
        "    (part / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.part" / "half").exists()
    fill(tmp_path / "out", "new")
    assert names(tmp_path / "out") == ["basket.json", "weights"]
    assert names(tmp_path) == ["out"]


def test_a_folder_moved_aside_by_a_killed_run_is_put_back(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(InputError, match="already holds a basket"):
        fill(tmp_path / "out", "new", replace=False)
    assert (tmp_path / "out" / "weights").read_text() == "old"


def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out, KIND) as part:
        (part / "weights").write_text("first")
        with pytest.raises(EnvironmentFault, match="another process is writing there"):
            fill(out, "second")
    assert (out / "weights").read_text() == "first"


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"not a basket \(it has no basket\.json\), so it is not"):
        fill(tmp_path / "out", "new", replace=replace)
    assert names(tmp_path / "out") == ["thesis.tex"]
    assert names(tmp_path) == ["out"]


def test_a_file_of_that_name_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a basket"):
        fill(tmp_path / "out", "new")


def test_a_link_is_never_replaced_even_to_a_folder_of_ours(tmp_path: Path) -> None:
    fill(tmp_path / "real", "old")
    (tmp_path / "out").symlink_to("real")
    with pytest.raises(InputError, match="exists and is not a basket"):
        check_replaceable(tmp_path / "out", KIND)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", "new", replace=False)
    assert names(tmp_path / "out") == ["basket.json", "weights"]


def test_a_file_to_write_has_a_name_and_its_ending(tmp_path: Path) -> None:
    check_file(tmp_path / "new.png", ".png")
    with pytest.raises(InputError, match="is a folder; name the file to write"):
        check_file(tmp_path)
    with pytest.raises(InputError, match=r"what is written there is \.png"):
        check_file(tmp_path / "new.pdf", ".png")


def test_a_folder_in_the_place_of_a_file_cannot_be_made(tmp_path: Path) -> None:
    check_place(tmp_path / "a" / "b")
    (tmp_path / "a").write_text("a file")
    for wrong in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(InputError, match=r"a is no folder\. Name a folder"):
            check_place(wrong)
