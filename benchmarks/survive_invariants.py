"""What must hold after every kill, read from the files themselves: without MLflow and mergegate's own checks."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from survive_workspace import NAME, Workspace

_DIGEST = "mergegate.release_digest"
_ALIAS = "select version from registered_model_aliases where name = ? and alias = 'champion'"


def faults(workspace: Workspace, *, champion_expected: bool, known: Mapping[str, str]) -> list[str]:
    """What is wrong with the registry now; nothing is where the list is empty.

    `champion_expected`: there was one before. `known`: digest of the shipped bytes by release digest, as undisturbed
    releases gave them; a champion must be one of them.
    """
    database, wrong = workspace.folder / "mlflow.db", _journal(workspace.folder)
    if not database.is_file():
        return wrong + ["there was a champion, and the registry is gone"] * champion_expected
    with closing(sqlite3.connect(database, timeout=30)) as store:
        try:
            store.execute("select count(*) from registered_model_aliases").fetchall()
        except sqlite3.OperationalError:  # MLflow was still making its tables
            return wrong + ["there was a champion, and its tables are gone"] * champion_expected
        broken = [
            f"SQLite: {row[0]}" for row in store.execute("pragma quick_check") if row[0] != "ok"
        ]
        return wrong + broken + _doubles(store) + _champion(store, champion_expected, known)


def has_champion(workspace: Workspace) -> bool:
    """Whether an alias `champion` is there."""
    if not (workspace.folder / "mlflow.db").is_file():  # sqlite3 would make it
        return False
    try:
        with closing(sqlite3.connect(workspace.folder / "mlflow.db", timeout=30)) as store:
            return bool(store.execute(_ALIAS, (NAME,)).fetchall())
    except sqlite3.OperationalError:
        return False


def digests(workspace: Workspace, candidate: str) -> dict[str, str]:
    """What identifies a release: the digests of the release, of the merge, and of what ships."""
    record = json.loads((workspace.release_folder(candidate) / "release.json").read_text("utf-8"))
    shipped = workspace.folder / "build" / candidate / "quantized"
    return {
        "release_digest": record["release_digest"],
        "merged": record["identity"]["merged"],
        "quantized": record["identity"]["quantized"],
        # Of the bytes that lie there, not of what the record says of them.
        "bytes": _folder_digest(shipped),
        "merged_bytes": _folder_digest(workspace.folder / "build" / candidate / "merged"),
    }


def versions(workspace: Workspace) -> list[dict[str, Any]]:
    """Every version of the registered model: number, tags, and the folder of its artifacts."""
    with closing(sqlite3.connect(workspace.folder / "mlflow.db", timeout=30)) as store:
        return _versions(store)


def _journal(folder: Path) -> list[str]:
    """Lines of the journal that are altered or out of their chain; a torn last line is none yet."""
    found = []
    for path in (folder / ".mergegate" / "journal").glob("*.jsonl"):
        prior = ""
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
            try:
                entry = json.loads(line)
                digest = entry.pop("digest")
                before, prior = prior, digest
                if _digest_of(entry) != digest or entry["prior"] != before:
                    raise ValueError("its digest, or that of the line before it, does not fit")
            except (ValueError, KeyError) as error:
                found.append(f"{path.name}, line {number}: {error}")
    return found


def _versions(store: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = store.execute(
        "select version, source, storage_location from model_versions where name = ? "
        "and coalesce(current_stage, '') != 'Deleted_Internal' order by version",
        (NAME,),
    ).fetchall()
    found = []
    for version, source, location in rows:
        tags = dict(
            store.execute(
                "select key, value from model_version_tags where name = ? and version = ?",
                (NAME, version),
            )
        )
        at = _location(store, str(location or source))
        found.append({"version": version, "tags": tags, "folder": at})
    return found


def _location(store: sqlite3.Connection, source: str) -> Path:
    """Where a version's artifacts lie: `models:/m-...` is looked up among the logged models."""
    if source.startswith("models:/"):
        rows = store.execute(
            "select artifact_location from logged_models where model_id = ?",
            (source.removeprefix("models:/"),),
        ).fetchall()
        source = str(rows[0][0]) if rows else f"an unknown place ({source})"
    return Path(source.removeprefix("file://"))


def _doubles(store: sqlite3.Connection) -> list[str]:
    count = Counter(version["tags"].get(_DIGEST) for version in _versions(store))
    wrong = [f"{n} versions have the release digest {d}" for d, n in count.items() if d and n > 1]
    return wrong + [f"{n} versions have no release digest" for d, n in count.items() if not d]


def _champion(store: sqlite3.Connection, expected: bool, known: Mapping[str, str]) -> list[str]:
    rows = store.execute(_ALIAS, (NAME,)).fetchall()
    if not rows:
        return ["there was a champion, and now there is none"] if expected else []
    number = rows[0][0]
    at = next((v for v in _versions(store) if v["version"] == number), None)
    if at is None:
        return [f"the champion is version {number}, which does not exist"]
    release = at["tags"].get(_DIGEST, "")
    if release not in known:
        return [f"the champion (version {number}) is {release}, which was never released whole"]
    if not at["folder"].is_dir():
        return [f"the champion (version {number}) has no artifacts at {at['folder']}"]
    return _whole(at["folder"], release, known[release])


def _whole(folder: Path, release: str, shipped: str) -> list[str]:
    """Whether a version's artifacts are the shipped bytes beside their release folder."""
    record_path = folder / "release" / "release.json"
    try:
        record = json.loads(record_path.read_text("utf-8"))
        stated = dict(record["quantized_files"])
        evidence = dict(record.get("files") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{record_path}: {type(error).__name__}: {error}"]
    wrong = [] if record["release_digest"] == release else [f"{record_path}: of another release"]
    wrong += _differing(folder, stated) + _differing(folder / "release", evidence)
    if _digest_of(stated) != shipped:
        wrong.append(f"{folder}: not the bytes of the undisturbed release")
    return wrong


def _differing(folder: Path, stated: Mapping[str, str]) -> list[str]:
    found = []
    for name, digest in stated.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(f"{path}: other bytes than stated")
    return found


def _folder_digest(folder: Path) -> str:
    return _digest_of(
        {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
        }
    )


def _digest_of(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
