"""What killed runs leave in a workspace, and cache files of DVC whose content is not what their name says."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.folders import TEMPORARY
from pipeline.plain_yaml import load_yaml
from pipeline.release.doctor import YOUNG_S, Ailment

_FILE_PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.part")
_FOLDER_PART = re.compile(r"\.(?P<name>.+)\.(?P<kind>part|old)")
_CHUNK = 1 << 20


def examine_disk(workspace: Path, build: Path, kept: Path, *, cache: bool) -> Iterator[Ailment]:
    """What is left in `build` and `kept` (.mergegate) of a workspace, in its .dvc, and in the temporary folder.

    `cache`: whether to read DVC's cache files too.
    """
    for folder in (workspace / build, workspace / kept):
        yield from _parts(folder)
    yield from _downloads(workspace / kept / "models")
    yield from _temporary()
    yield from _dvc_lock(workspace / ".dvc" / "tmp" / "rwlock")
    if cache:
        yield from _dvc_cache(workspace, build)


def _parts(folder: Path) -> Iterator[Ailment]:
    for path in sorted(folder.rglob(".*")):
        if path.is_symlink():
            continue
        if (found := _FILE_PART.fullmatch(path.name)) and path.is_file():
            if not _alive(int(found["pid"])):
                yield _left(path, "a file that was being written", path.unlink)
        elif (found := _FOLDER_PART.fullmatch(path.name)) and path.is_dir():
            whole = path.with_name(found["name"])
            if found["kind"] == "old" and not whole.exists():
                yield Ailment(
                    "leftover",
                    str(path),
                    f"{path}: holds what {whole} was before a run was killed while it replaced it.",
                    "The stage that writes it puts it back: run `mergegate release` again.",
                )
            elif not _held(path):
                yield _left(path, "a folder that was being written", partial(shutil.rmtree, path))


def _downloads(folder: Path) -> Iterator[Ailment]:
    for path in sorted(folder.glob(".part-*")):
        if _old(path):
            yield _left(path, "a download that was interrupted", partial(shutil.rmtree, path))


def _temporary() -> Iterator[Ailment]:
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*")):
        if _our_old(path):
            yield _left(path, "a temporary folder of ours", partial(shutil.rmtree, path))


def _our_old(path: Path) -> bool:
    return (
        path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid() and _old(path)
    )


def _left(path: Path, what: str, remove: Callable[[], object]) -> Ailment:
    return Ailment("leftover", str(path), f"{path}: {what} when a run was killed.", mend=remove)


def _dvc_lock(path: Path) -> Iterator[Ailment]:
    """DVC's note of who reads and writes what, where it is torn: then DVC stops. Dead processes it removes itself."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    try:
        json.loads(content)
    except ValueError:
        what = "was cut off while it was written, and DVC stops at it"
        yield Ailment("stale-lock", str(path), f"{path}: {what}.", mend=path.unlink)


def _dvc_cache(workspace: Path, build: Path) -> Iterator[Ailment]:
    """The cache files of outputs below `build` by dvc.lock whose MD5 is not their name."""
    store, seen = workspace / ".dvc" / "cache" / "files" / "md5", set[str]()
    for path, digest in _outputs(workspace / "dvc.lock"):
        if path.split("/")[0] != build.as_posix():
            continue
        for name, within in _members(store, digest, path):
            file = store / name[:2] / name[2:]
            if name in seen or not file.is_file():
                continue
            seen.add(name)
            if _md5(file) != name.removesuffix(".dir"):
                yield Ailment(
                    "cache-corrupt",
                    str(file),
                    f"{file}: DVC's copy of {within} is not what its name says. Once it is removed, `dvc pull` or "
                    "`mergegate release` brings it back.",
                    mend=partial(_remove_protected, file),
                )


def _outputs(lock: Path) -> Iterator[tuple[str, str]]:
    if not lock.is_file():
        return
    try:
        stages: Any = load_yaml(lock).get("stages", {})
        for stage in stages.values():
            for out in stage.get("outs", []):
                if out.get("md5"):
                    yield str(out["path"]), str(out["md5"])
    except (MergegateError, AttributeError, TypeError, KeyError):
        return  # DVC says what is wrong with it


def _members(store: Path, digest: str, path: str) -> Iterator[tuple[str, str]]:
    """The cache file of an output, and of each file in it where it is a folder: (name, what it is)."""
    yield digest, path
    if digest.endswith(".dir"):
        try:
            listed = json.loads((store / digest[:2] / digest[2:]).read_bytes())
            for entry in listed:
                yield str(entry["md5"]), f"{path}/{entry['relpath']}"
        except (OSError, ValueError, TypeError, KeyError):
            return


def _remove_protected(path: Path) -> None:
    path.chmod(0o644)  # DVC takes the right to write from cache files
    path.unlink()


def _md5(path: Path) -> str:
    total = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _held(folder: Path) -> bool:
    """Whether a process writes to it: `pipeline.folders` locks what it fills."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > YOUNG_S
