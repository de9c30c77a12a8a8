"""What the flow knows of stages: their order, their declaration in dvc.yaml, and what a failure turns into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from flows import stages
from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.facts import write_json
from pipeline.params import Params, load_params
from pipeline.stages.code import NAMES, code_of_stages
from pipeline.stages.params import resolved
from pipeline.stages.sources import signer
from pipeline.stages.workspace import CODE, ENVIRONMENT, PARAMS, SIGNING, environment

ROOT = Path(__file__).parents[2]


def test_every_stage_of_a_release_is_declared_in_dvc_yaml() -> None:
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = load_params(ROOT / "params.yaml")
    run = {stage.split("@")[0] for level in stages.levels(params, "tuned") for stage in level}
    assert run == set(declared)


def test_every_declared_command_is_an_entry_point() -> None:
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        words = stage.get("do", stage)["cmd"].split()
        assert words[:3] == ["python", "-m", "pipeline.stages"]
        assert words[3] in NAMES
        assert (ROOT / "pipeline" / "stages" / f"{words[3]}.py").is_file()


def test_a_stage_comes_after_all_that_it_depends_on() -> None:
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    levels = stages.levels(load_params(ROOT / "params.yaml"), "tuned")
    when = {stage.split("@")[0]: n for n, level in enumerate(levels) for stage in level}
    makers = {
        str(out if isinstance(out, str) else next(iter(out))): name
        for name, stage in declared.items()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get("do", stage).get(kind, [])
    }
    for name, stage in declared.items():
        for needed in stage.get("do", stage)["deps"]:
            for out, maker in makers.items():
                if out == needed or out.startswith(f"{needed}/"):
                    assert when[maker] < when[name] or maker == name, (name, needed)


@pytest.mark.parametrize(
    ("code", "kind"), [(2, InputError), (6, EnvironmentFault), (1, MergegateError)]
)
def test_a_failed_stage_raises_what_it_reported(
    code: int, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(*_: str) -> SimpleNamespace:
        write_json(
            stages.FAILURES / "merge@tuned.json", {"exit_code": code, "message": "the words"}
        )
        return SimpleNamespace(returncode=1, stdout="ERROR: failed to reproduce")

    monkeypatch.setattr(stages, "_dvc", fails)
    with pytest.raises(kind, match="the words") as caught:
        stages.reproduce("merge@tuned")
    assert caught.value.exit_code == code


def test_a_stage_that_cannot_report_is_told_in_the_words_that_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "build/x: No space left on device."
    stage = {"cmd": f"echo '{words}' >&2; exit 6"}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"merge": stage}}))
    (tmp_path / ".mergegate").mkdir()
    (tmp_path / ".mergegate" / "logs").write_text("no folder can be made here")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    with pytest.raises(EnvironmentFault) as caught:
        stages.reproduce("merge")
    assert str(caught.value) == words


def test_an_old_failure_is_not_taken_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(stages.FAILURES / "gate@tuned.json", {"exit_code": 2, "message": "old words"})
    failed = SimpleNamespace(returncode=1, stdout="ERROR: unable to acquire lock")
    monkeypatch.setattr(stages, "_dvc", lambda *_: failed)
    with pytest.raises(EnvironmentFault, match="unable to acquire lock"):
        stages.reproduce("gate@tuned")


def _workspace(folder: Path, base: str) -> Params:
    """A workspace whose environment is noted, with one recipe over `base`."""
    (folder / "models" / "base").mkdir(parents=True)
    (folder / "elsewhere").mkdir()
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content |= {"base": base, "experts": {"json": base}, "watch": "models"}
    content |= {"candidates": {"one": "one.yaml"}, "release": "one"}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    recipe = {"merge_method": "passthrough", "models": [{"model": base}]}
    (folder / "one.yaml").write_text(yaml.safe_dump(recipe))
    params = load_params(folder / "params.yaml")
    write_json(folder / ENVIRONMENT, environment())
    write_json(folder / CODE, code_of_stages(params))
    write_json(folder / PARAMS, resolved(params))
    return params


@pytest.mark.parametrize(
    ("base", "looked_at"),
    [
        ("models/base", []),
        ("elsewhere", ["sources", "check@one"]),
        ("owner/name@main", ["sources", "check@one"]),
        ("models:/name/3", ["sources", "check@one"]),
    ],
)
def test_sources_that_dvc_does_not_see_are_looked_at_in_every_release(
    base: str, looked_at: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stages.unwatched(_workspace(tmp_path, base), "one") == looked_at


def test_an_upgrade_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = _workspace(tmp_path, "models/base")
    write_json(ENVIRONMENT, {**environment(), "torch": "0.1"})
    assert stages.unwatched(params, "one") == ["sources"]


@pytest.mark.parametrize(("replaced", "looked_at"), [(False, []), (True, ["sources"])])
def test_another_signing_key_is_noticed(
    replaced: bool, looked_at: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = _workspace(tmp_path, "models/base")
    write_json(SIGNING, signer())
    if replaced:
        (tmp_path / ".mergegate/signing/key.pem").rename(tmp_path / "old.pem")
    assert stages.unwatched(params, "one") == looked_at


def test_dvc_without_git_is_bad_input_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(InputError, match=r"dvc config core\.no_scm true"):
        stages.stale([])


def test_a_lock_that_git_ignores_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"merge": {"cmd": "true"}}}))
    (tmp_path / ".gitignore").write_text("dvc.lock\n")
    with pytest.raises(InputError, match=r"dvc\.lock: git ignores it"):
        stages.reproduce("merge")


def test_a_path_that_another_dvc_works_on_is_told_with_who_works_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = {"cmd": "touch out", "outs": ["out"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"merge": stage}}))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    blocker = {"pid": os.getpid(), "cmd": "dvc repro somewhere"}
    noted = {"write": {str(tmp_path / "out"): blocker}, "read": {}}
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(noted))
    with pytest.raises(EnvironmentFault) as caught:
        stages.reproduce("merge")
    assert f"(PID {os.getpid()}): dvc repro somewhere" in str(caught.value)


def test_a_source_that_was_replaced_with_its_size_and_time_kept_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = _workspace(tmp_path, "models/base")
    states = iter(["1", "1", "2", "1"])
    pins = {"pins": {"models/base": {"digest": "1"}}}
    write_json(tmp_path / "build/sources.json", pins)
    write_json(tmp_path / "build/one/compat.json", pins)
    monkeypatch.setattr(stages, "open_reference", lambda *_: None)
    monkeypatch.setattr(stages, "pin", lambda *_: {"digest": next(states)})
    assert stages.unwatched(params, "one") == []
    assert stages.unwatched(params, "one") == ["sources"]
