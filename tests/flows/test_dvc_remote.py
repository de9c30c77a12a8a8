"""Releases in git and DVC: pushed by tag, pulled elsewhere by tag, old ones whole after new ones, damage found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from stored_workspace import RECIPE, load, write_merge, write_workspace

ROOT = Path(__file__).parents[2]
RELEASE = Path("build/tuned/release")
KEPT = ("params", "judge", "gate", "card")  # of the real dvc.yaml; what they read is made up


def run(*words: str, cwd: Path, code: int = 0) -> str:
    """Run a command as a user of an own machine, without settings; its output."""
    done = subprocess.run(
        words,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(cwd.parent),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(cwd.parent / "site"),
            "GIT_CONFIG_NOSYSTEM": "1",
        },
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def dvc(*words: str, cwd: Path, code: int = 0) -> str:
    return run(sys.executable, "-m", "dvc", *words, cwd=cwd, code=code)


def verify(cwd: Path, code: int = 0) -> str:
    return run(sys.executable, "-m", "flows", "verify", str(RELEASE), cwd=cwd, code=code)


def check_out(tag: str, cwd: Path) -> None:
    run("git", "checkout", "--quiet", tag, cwd=cwd)
    dvc("pull", "--quiet", "card@tuned", cwd=cwd)


def digest(folder: Path) -> str:
    found: str = load(folder / RELEASE / "release.json")["release_digest"]
    return found


@dataclass(frozen=True)
class Published:
    """A workspace with two tagged releases, pushed to `store`; their release digests by tag."""

    workspace: Path
    store: Path
    digests: dict[str, str]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    workspace, store = folder / "workspace", folder / "store"
    write_workspace(workspace)
    _add_pipeline(workspace)
    run("git", "init", "--quiet", cwd=workspace)
    dvc("init", "--quiet", cwd=workspace)
    shutil.copy(ROOT / ".dvc" / "config", workspace / ".dvc" / "config")
    dvc("remote", "add", "--quiet", "--default", "store", str(store), cwd=workspace)
    digests = {}
    for tag, recipe in (("release-1", RECIPE), ("release-2", RECIPE.replace("1.0", "0.9"))):
        (workspace / "recipe.yaml").write_text(recipe, encoding="utf-8")
        write_merge(workspace, load(workspace / "build" / "sources.json")["pins"])
        dvc("repro", "--quiet", "card@tuned", cwd=workspace)
        dvc("push", "--quiet", cwd=workspace)
        who = ("-c", "user.name=Ann Lee", "-c", "user.email=ann@example.org")
        run("git", "add", ".", cwd=workspace)
        run("git", *who, "commit", "--quiet", "--message", tag, cwd=workspace)
        run("git", "tag", tag, cwd=workspace)
        digests[tag] = digest(workspace)
    assert len(set(digests.values())) == 2
    return Published(workspace, store, digests)


def _add_pipeline(workspace: Path) -> None:
    """The stages of the real dvc.yaml that need no model, and every parameter that they name."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    stages = {name: stage for name, stage in pipeline["stages"].items() if name in KEPT}
    text = yaml.safe_dump({"stages": stages}, sort_keys=False)
    (workspace / "dvc.yaml").write_text(text, encoding="utf-8")
    params = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    params |= {"seed": 0, "quantize": {}, "registry": {"uri": "sqlite:///mlflow.db"}}
    text = yaml.safe_dump(params, sort_keys=False)
    (workspace / "params.yaml").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / ".gitignore", workspace / ".gitignore")
    (workspace / "build" / "champion.json").write_text('{"absent": "none yet"}', encoding="utf-8")


@pytest.fixture
def clone(published: Published, tmp_path: Path) -> Path:
    """The repository as another person clones it: no build/, no cache, no key."""
    run("git", "clone", "--quiet", str(published.workspace), str(tmp_path / "clone"), cwd=tmp_path)
    return tmp_path / "clone"


def test_a_tag_gives_the_release_of_that_day_whichever_was_there_before(
    published: Published, clone: Path
) -> None:
    assert not (clone / "build").exists()
    for tag in ("release-1", "release-2", "release-1"):
        check_out(tag, clone)
        assert digest(clone) == published.digests[tag]
        assert "is the one stored: promote" in verify(clone)
    # In the cache once and in the workspace as a link, as .dvc/config asks for.
    file = clone / RELEASE / "evals" / "base.samples.jsonl"
    assert file.is_symlink() or file.stat().st_nlink > 1


def test_what_was_not_pushed_cannot_be_pulled_and_leaves_no_half_release(
    published: Published, clone: Path
) -> None:
    moved = published.store.with_name("moved")
    published.store.rename(moved)
    try:
        run("git", "checkout", "--quiet", "release-1", cwd=clone)
        dvc("pull", "--quiet", "card@tuned", cwd=clone, code=1)
        assert not (clone / RELEASE / "release.json").exists()
    finally:
        moved.rename(published.store)


def test_damage_in_the_cache_is_found_and_mended_from_the_remote(
    published: Published, clone: Path
) -> None:
    check_out("release-2", clone)
    file = clone / RELEASE / "evals" / "base.samples.jsonl"
    cached = file.resolve()
    original = file.read_bytes()
    cached.chmod(0o644)
    with cached.open("r+b") as stream:
        stream.write(b"!")
    assert "evals/base.samples.jsonl: changed" in verify(clone, code=2)
    shutil.rmtree(clone / ".dvc" / "cache")
    shutil.rmtree(clone / "build")
    dvc("pull", "--quiet", "card@tuned", cwd=clone)
    assert file.read_bytes() == original
    verify(clone)


def test_damage_in_the_remote_is_found_after_a_pull(published: Published, clone: Path) -> None:
    (damaged,) = [
        path
        for path in published.store.rglob("*")
        if path.is_file()
        and path.read_bytes() == (published.workspace / RELEASE / "verdict.json").read_bytes()
    ]
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(content.replace(b"promote", b"Promote"))
    try:
        check_out("release-2", clone)
        assert "verdict.json: changed" in verify(clone, code=2)
        # A remote with `verify` is not believed: DVC hashes what it fetches.
        shutil.rmtree(clone / ".dvc" / "cache")
        shutil.rmtree(clone / "build")
        dvc("remote", "modify", "--local", "store", "verify", "true", cwd=clone)
        dvc("pull", "--quiet", "card@tuned", cwd=clone, code=1)
        assert not (clone / RELEASE).exists()
    finally:
        damaged.write_bytes(content)


def test_collecting_by_tags_keeps_old_releases_and_collecting_by_workspace_loses_them(
    published: Published, clone: Path
) -> None:
    store = shutil.copytree(published.store, clone.parent / "store")
    dvc("remote", "modify", "--local", "store", "url", str(store), cwd=clone)
    check_out("release-2", clone)
    dvc("gc", "--quiet", "--force", "--all-tags", "--cloud", cwd=clone)
    check_out("release-1", clone)
    verify(clone)
    check_out("release-2", clone)
    dvc("gc", "--quiet", "--force", "--workspace", "--cloud", cwd=clone)
    run("git", "checkout", "--quiet", "release-1", cwd=clone)
    dvc("pull", "--quiet", "card@tuned", cwd=clone, code=1)
    assert not (clone / RELEASE).exists()
