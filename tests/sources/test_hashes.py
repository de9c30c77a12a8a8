"""Digests: what they cover, and that the cache saves reading without ever hiding a change."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from source_files import checkpoint, sharded

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_of
from pipeline.sources import artifact_digest, file_digest, hashes, weights_digest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were read, as they are read."""
    seen: list[str] = []

    def digest(path: Path) -> str:
        seen.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(hashes, "digest_file", digest)
    return seen


def settled(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose times lie far enough back to be remembered."""
    path.write_text(text)
    monkeypatch.setattr(hashes, "_SETTLED_NS", -1)
    return path


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_an_artifacts_digest_is_that_of_its_sorted_paths_and_digests(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "deep" / "a").write_bytes(b"2")
    expected = {"b": hashlib.sha256(b"1").hexdigest(), "deep/a": hashlib.sha256(b"2").hexdigest()}
    assert artifact_digest(tmp_path) == digest_of(expected)


def test_dotfiles_are_no_part_of_an_artifact(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    before = artifact_digest(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("x")
    (folder / ".gitattributes").write_text("x")
    assert artifact_digest(folder) == before


@pytest.mark.parametrize("change", ["byte", "name", "extra", "missing"])
def test_every_change_of_a_folder_changes_its_digest(tmp_path: Path, change: str) -> None:
    folder = checkpoint(tmp_path / "m")
    before = artifact_digest(folder)
    config = folder / "config.json"
    if change == "byte":
        config.write_text(config.read_text().replace("llama", "llamb"))
    elif change == "name":
        config.rename(folder / "config2.json")
    elif change == "extra":
        (folder / "extra").touch()
    else:
        config.unlink()
    assert artifact_digest(folder) != before


def test_the_weights_digest_covers_safetensors_and_nothing_else(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    before = weights_digest(folder)
    names = ("model-1.safetensors", "model-2.safetensors")
    assert before == digest_of(
        {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    )
    (folder / "config.json").write_text("{}")
    assert weights_digest(folder) == before
    with (folder / names[0]).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    assert weights_digest(folder) != before


def test_an_unchanged_file_is_read_once(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = settled(tmp_path / "a", "abc", monkeypatch), tmp_path / "cache" / "hashes.json"
    assert file_digest(file, cache) == file_digest(file, cache)
    assert reads == ["a"]


def test_without_a_cache_every_byte_is_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_text("abc")
    file_digest(tmp_path / "a")
    file_digest(tmp_path / "a")
    assert reads == ["a", "a"]


def test_a_change_that_keeps_size_and_modification_time_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = settled(tmp_path / "a", "abc", monkeypatch), tmp_path / "hashes.json"
    before, times = file_digest(file, cache), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text("abd")
    os.utime(file, ns=times)
    assert file_digest(file, cache) != before


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_text("abc")
    for _ in range(2):
        file_digest(tmp_path / "a", tmp_path / "hashes.json")
    assert reads == ["a", "a"]


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 3'])
def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path, damage: str) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "hashes.json").write_text(damage)
    assert (
        file_digest(tmp_path / "a", tmp_path / "hashes.json") == hashlib.sha256(b"abc").hexdigest()
    )


def test_a_changed_digest_in_the_cache_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = settled(tmp_path / "a", "abc", monkeypatch), tmp_path / "hashes.json"
    digest = file_digest(file, cache)
    assert digest in cache.read_text()
    cache.write_text(cache.read_text().replace(digest, digest[::-1]))
    assert file_digest(file, cache) == digest


def test_the_cache_keeps_what_other_runs_have_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hashes.json"
    file_digest(settled(tmp_path / "a", "1", monkeypatch), cache)
    file_digest(settled(tmp_path / "b", "2", monkeypatch), cache)
    assert len(json.loads(cache.read_text())["known"]) == 2


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (tmp_path / "secret").write_text("x")
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptArtifactError, match=r"notes.txt: is a link that leaves its folder"):
        artifact_digest(folder)


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "sub").mkdir()
    (folder / "loop").symlink_to(folder / "sub")
    with pytest.raises(CorruptArtifactError, match="is a link to a folder"):
        artifact_digest(folder)


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / os.fsdecode(b"\xff")).touch()
    with pytest.raises(CorruptArtifactError, match="it cannot be printed"):
        artifact_digest(folder)


def test_what_is_no_folder_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        artifact_digest(tmp_path / "absent")
