"""dvc.lock that a killed run left half-written: mended where it breaks off at its end, and left alone otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import stages
from flows.torn_lock import mend_lock
from pipeline.errors import InputError

STAGES = {
    name: {"cmd": f"echo {name} > {name}.txt", "outs": [f"{name}.txt"]} for name in ("a", "b", "c")
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: three stages that have run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], check=True)
    subprocess.run([*dvc, "repro", "--quiet"], check=True)
    return tmp_path


def test_wherever_the_file_breaks_off_what_is_before_the_last_entry_is_kept(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Path("dvc.lock")
    text, whole = lock.read_text(), yaml.safe_load(lock.read_text())["stages"]
    mended = 0
    for length in range(len(text)):
        lock.write_text(text[:length])
        if not mend_lock():
            kept = yaml.safe_load(text[:length]).get("stages") or {}  # still whole for DVC
        elif lock.exists():
            kept = yaml.safe_load(lock.read_text())["stages"]
            mended += 1
            assert {name: whole[name] for name in kept} == kept
        else:
            kept = {}
            mended += 1
        begun = [name for name in whole if f"\n  {name}:" in text[:length]]
        assert set(begun[:-1]) <= set(kept)
    assert mended > 100
    assert capsys.readouterr().err.count("broke off in the middle") == mended
    lock.unlink()
    assert not mend_lock()


@pytest.mark.parametrize("entries", [0, 2])
def test_a_release_goes_on_from_a_torn_lock(workspace: Path, entries: int) -> None:
    text = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(text[: text.index("\n  c:") + 20] if entries else "")
    assert stages.stale(["a", "b", "c"]) == {"a", "b", "c"} - set(["a", "b"][:entries])
    for name in ("a", "b", "c"):
        stages.reproduce(name)
    assert yaml.safe_load(Path("dvc.lock").read_text()) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "broken",
    [
        "<<<<<<< HEAD\n{whole}=======\n{whole}>>>>>>> other\n",
        "- 1\n",
        "schema: '9'\nstages:\n  a:\n    cmd: x\n  b:\n    nothing: 1\n",
    ],
)
def test_what_is_broken_otherwise_is_left_alone_and_told(workspace: Path, broken: str) -> None:
    text = broken.format(whole=Path("dvc.lock").read_text())
    Path("dvc.lock").write_text(text)
    with pytest.raises(InputError, match=r"dvc\.lock: DVC cannot read it .*git checkout dvc\.lock"):
        stages.stale(["a"])
    assert Path("dvc.lock").read_text() == text
