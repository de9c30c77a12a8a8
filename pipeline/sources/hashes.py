"""SHA-256 of files, each read once: a cache remembers digests by path, size, times and inode."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pipeline.facts import digest_file, digest_of, write_text
from pipeline.sources.folders import existing_folder, regular_files

# A file changed this recently could change again without its time showing it.
_SETTLED_NS = 2_000_000_000


def file_digest(path: Path, cache: Path | None = None) -> str:
    """SHA-256 (hex) of a file's bytes; see `file_digests`."""
    return file_digests([path], cache)[path]


def file_digests(
    paths: Iterable[Path], cache: Path | None = None, threads: int | None = None
) -> dict[Path, str]:
    """SHA-256 (hex) of each file, computed by several threads.

    `cache` is a JSON file of digests already known, made where it is missing; a file whose path,
    size, modification and change time and inode are all as remembered is not read again. With None
    every byte is read: so it is where bytes are to be verified rather than recognised.
    """
    keys = {path: _key(path) for path in paths}
    known = _load(cache)
    unread = [path for path, key in keys.items() if key not in known]
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        found = dict(zip(unread, pool.map(digest_file, unread), strict=True))
    if cache and found:
        _remember(cache, {keys[path]: digest for path, digest in found.items() if _settled(path)})
    return {path: found.get(path) or known[key] for path, key in keys.items()}


def artifact_digest(folder: Path, cache: Path | None = None) -> str:
    """The digest of a folder: of canonical JSON {path in the folder, with /: SHA-256 of the file}.

    It covers every regular file, except those whose name, or a folder's above them, begins with a
    dot. This is the digest of a model, merged, quantized or adapter, wherever one is named.
    """
    return digest_of(folder_digests(folder, cache))


def folder_digests(folder: Path, cache: Path | None = None) -> dict[str, str]:
    """What `artifact_digest` covers: {path in the folder, with /: SHA-256}, sorted by path."""
    found = file_digests(regular_files(existing_folder(folder)), cache)
    named = {path.relative_to(folder).as_posix(): digest for path, digest in found.items()}
    return dict(sorted(named.items()))


def weights_digest(folder: Path, cache: Path | None = None) -> str:
    """The digest of a model's weights alone.

    It is that of canonical JSON {file name: SHA-256} over the folder's *.safetensors files.
    """
    paths = [p for p in regular_files(existing_folder(folder)) if p.suffix == ".safetensors"]
    found = file_digests((p for p in paths if p.parent == folder), cache)
    return digest_of({path.name: digest for path, digest in found.items()})


def _key(path: Path) -> str:
    s = path.stat()
    return f"{path.resolve()}|{s.st_size}|{s.st_mtime_ns}|{s.st_ctime_ns}|{s.st_ino}"


def _settled(path: Path) -> bool:
    return time.time_ns() - max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) > _SETTLED_NS


def _load(cache: Path | None) -> dict[str, str]:
    """The known digests; none where the cache is missing or damaged, which costs only time.

    What it holds is believed without reading the file again, so one changed character in it must not pass for a digest.
    """
    try:
        kept = json.loads(cache.read_bytes()) if cache else {}
        known = kept["known"]
        return dict(known) if kept["sha256"] == digest_of(known) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(cache: Path, found: dict[str, str]) -> None:
    """Add to the cache.

    Two processes at once may lose each other's additions, which are then computed again.
    """
    known = {**_load(cache), **found}
    kept = {"known": known, "sha256": digest_of(known)}
    with suppress(OSError):  # what cannot be kept is computed again: a reader may not write here
        write_text(cache, json.dumps(kept, indent=0, sort_keys=True))
