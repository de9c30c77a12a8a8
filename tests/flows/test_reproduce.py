"""`mergegate reproduce`: the released bytes again, from the record and the sources alone, or words on why not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rebuilt_workspace import release as make_release

from flows.reproduce import Artifact, Recorded, Reproduction, locate, read_recorded, reproduce
from flows.reproduce import rebuild as rebuilding
from flows.reproduce.compared import compare_merged, compare_quantized
from flows.reproduce.sources import _pinned
from flows.reproduce.surroundings import surroundings
from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.facts import digest_of, read_json, write_json
from pipeline.sources import Reference

TONE = "models/base+models/tone"


def flip(path: Path, position: int) -> None:
    """Change one bit of the byte at `position`."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(workspace: Path) -> Recorded:
    return read_recorded(workspace / "build" / "tuned" / "release")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder: whoever reproduces has no workspace."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def old(recorded: Recorded, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The same release as an older version of mergegate recorded it; the sources are not asked for."""
    quantization = {
        key: value
        for key, value in recorded.quantization.items()
        if key not in ("calibration_prompts", "threads", "hardware")
    }
    before = replace(
        recorded, calibration=None, quantization=quantization, environment={}, merged_files=None
    )
    monkeypatch.setattr(rebuilding, "read_recorded", lambda _: before)
    return before


def test_merge_and_quantized_artifact_come_out_byte_for_byte_without_the_workspace(
    workspace: Path, elsewhere: Path
) -> None:
    shutil.copytree(workspace / "build" / "tuned" / "release", elsewhere / "given")
    found = reproduce(Path("given"), sources=workspace, out=Path("again"), threads=2)
    assert [(a.name, a.state) for a in found.artifacts] == [
        ("merged", "identical"),
        ("quantized", "identical"),
    ]
    assert (found.exit_code, found.surroundings, found.notes) == (0, {}, ())
    for artifact in ("merged", "quantized"):
        for path in (workspace / "build" / "tuned" / artifact).iterdir():
            assert (Path("again") / artifact / path.name).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in elsewhere.iterdir()) == ["again", "given"]


def test_nothing_is_left_unless_it_is_asked_for(
    workspace: Path, recorded: Recorded, elsewhere: Path
) -> None:
    plain = replace(recorded, quantized=None, quantized_files={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "read_recorded", lambda _: plain)
        assert reproduce(Path("x"), sources=workspace).kept is None
        assert not Path(".mergegate/reproduced").exists()
        kept = reproduce(Path("x"), sources=workspace, keep=True).kept
    assert kept == f".mergegate/reproduced/{recorded.release_digest[:12]}"
    assert (Path(kept) / "merged" / "model.safetensors").is_file()


# Sources


def test_every_file_of_a_source_that_changed_is_named_and_nothing_is_built(
    workspace: Path, elsewhere: Path
) -> None:
    shutil.copytree(workspace / "models", elsewhere / "models")
    flip(elsewhere / "models" / "tone" / "adapter_model.safetensors", -1)
    (elsewhere / "models" / "base" / "NOTICE").write_text("new")
    (elsewhere / "models" / "base" / "generation_config.json").unlink()
    with pytest.raises(InputError) as raised:
        reproduce(workspace / "build" / "tuned" / "release")
    text = str(raised.value)
    assert (
        "models/base: not what was released: NOTICE was not there, generation_config.json is missing"
        in text
    )
    assert "adapter adapter_model.safetensors changed" in text
    assert [path.name for path in elsewhere.iterdir()] == ["models"]


def test_damaged_sources_are_reported_together(workspace: Path, elsewhere: Path) -> None:
    shutil.copytree(workspace / "models", elsewhere / "models")
    for name in ("tone", "json"):
        path = elsewhere / "models" / name / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError) as raised:
        reproduce(workspace / "build" / "tuned" / "release")
    assert "models/tone/" in str(raised.value)
    assert "models/json/" in str(raised.value)


def test_a_local_source_that_is_not_there_is_never_looked_for_on_a_hub(
    workspace: Path, elsewhere: Path
) -> None:
    with pytest.raises(InputError, match=r"models/base: was a local folder .* --sources DIR"):
        reproduce(workspace / "build" / "tuned" / "release")


@pytest.mark.parametrize(
    ("text", "model", "adapters", "opened"),
    [
        ("acme/base@main", "c1", [], "acme/base@c1"),
        ("acme/base+acme/lora@main", "c1", ["c2"], "acme/base@c1+acme/lora@c2"),
        ("acme/b+acme/x+acme/y@v1", "c1", ["c2", "c3"], "acme/b@c1+acme/x@c2+acme/y@c3"),
        ("models:/harbor@champion", "7", [], "models:/harbor/7"),
        ("models:/harbor/3", "3", [], "models:/harbor/3"),
        ("acme/base+models:/tone@live", "c1", ["4"], "acme/base@c1+models:/tone/4"),
    ],
)
def test_a_branch_or_an_alias_is_opened_at_the_commit_or_version_of_the_record(
    text: str, model: str, adapters: list[str], opened: str
) -> None:
    sides = [{"revision": revision} for revision in adapters]
    pin: dict[str, Any] = {"model": {"revision": model}, "adapter": sides[0] if sides else None}
    pin |= {"further": sides[1:]} if sides[1:] else {}
    assert str(_pinned(Reference.parse(text), pin, Path())) == opened


# The record


@pytest.mark.parametrize("out", ["build/tuned/release", "build/tuned/release/again", "build"])
def test_nothing_is_built_in_the_release_or_around_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(workspace)
    with pytest.raises(InputError, match="holds the release, or lies in it"):
        reproduce(Path("build/tuned/release"), out=Path(out))
    assert not (workspace / out / "merged").exists()


def test_a_broken_record_is_refused(workspace: Path, elsewhere: Path) -> None:
    given = shutil.copytree(workspace / "build" / "tuned" / "release", elsewhere / "given")
    (Path(given) / "merge.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"merge\.json changed"):
        reproduce(Path(given), sources=workspace)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("identity", {}, "does not say how the release was made"),
        ("identity.seed", 8, "identity.seed is 8, merge.json says 7"),
        ("identity.recipe.digest", "0" * 64, "identity.recipe.digest"),
        ("identity.sources", {}, "identity.sources has no models/base"),
        ("quantization.calibration_prompts", "0" * 64, "calibration.jsonl: its SHA-256 is"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused_before_anything_is_opened(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: Any, words: str
) -> None:
    folder = workspace / "build" / "tuned" / "release"
    record = read_json(folder / "release.json")
    *parents, last = field.split(".")
    inner = record
    for key in parents:
        inner = inner[key]
    inner[last] = value
    monkeypatch.setattr("flows.reproduce.recorded.read_bundle", lambda _: record)
    with pytest.raises(CorruptArtifactError, match=words):
        read_recorded(folder)


def test_a_release_is_found_by_folder_by_candidate_and_beside_its_model(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    folder = Path("build/tuned/release")
    assert (locate("tuned"), locate(str(folder))) == (folder, folder)
    shutil.copytree(folder, tmp_path / "version" / "release")
    assert locate(str(tmp_path / "version")) == tmp_path / "version" / "release"
    with pytest.raises(InputError, match="no release folder"):
        locate("other")


def test_a_release_is_found_in_a_registry_elsewhere(
    workspace: Path, elsewhere: Path, tmp_path: Path
) -> None:
    from pipeline.release import store

    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    shipped = workspace / "build" / "tuned"
    with pytest.MonkeyPatch.context() as patch, store.connect(uri) as client:
        patch.chdir(tmp_path)  # MLflow keeps the files of a new store in the current folder

        def upload(model_id: str) -> None:
            client.log_model_artifacts(model_id, str(shipped / "quantized"))
            client.log_model_artifacts(model_id, str(shipped / "release"), "release")

        version = store.ensure_version(
            client, "harbor", "d" * 64, "merge", {}, upload, shown=store.Shown("", {})
        )
        client.set_registered_model_alias("harbor", "champion", version.version)
    found = locate("models:/harbor@champion", uri)
    given = workspace / "build" / "tuned" / "release" / "release.json"
    assert (found / "release.json").read_bytes() == given.read_bytes()
    assert locate("models:/harbor/1", uri) == found
    with pytest.raises(InputError, match="no such model, version or alias"):
        locate("models:/harbor/2", uri)
    assert found.is_relative_to(".mergegate")


def test_a_version_without_a_release_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipeline.sources.registry.fetch", lambda *_: (tmp_path, "1"))
    with pytest.raises(InputError, match=r"models:/harbor/1: holds no release"):
        locate("models:/harbor/1")
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "release.json").touch()
    assert locate("models:/harbor/1") == tmp_path / "release"


# What differs


def copied(workspace: Path, name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace / "build" / "tuned" / name, tmp_path / name))


FILES = ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("artifact", ["merged", "quantized"])
def test_one_changed_byte_is_found_and_its_file_named(
    workspace: Path, recorded: Recorded, tmp_path: Path, artifact: str, name: str
) -> None:
    folder = copied(workspace, artifact, tmp_path)
    flip(folder / name, (folder / name).stat().st_size // 2)
    merged = artifact == "merged"
    found = compare_merged(recorded, folder)[0] if merged else compare_quantized(recorded, folder)
    assert found.state == "differs"
    assert [fault.split(":")[0] for fault in found.differing] == [name]
    assert found.weights_identical == (name != "model.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_of_an_older_record_the_file_is_named_as_far_as_it_has_digests(
    workspace: Path, recorded: Recorded, tmp_path: Path, name: str
) -> None:
    folder = copied(workspace, "merged", tmp_path)
    flip(folder / name, -1)
    found, _ = compare_merged(replace(recorded, merged_files=None), folder)
    (fault,) = found.differing
    named = "config.json: at least one of them differs" if name == "config.json" else f"{name}: "
    assert fault.startswith(named)


@pytest.mark.parametrize("artifact", ["merged", "quantized"])
def test_files_too_many_and_too_few_are_named(
    workspace: Path, recorded: Recorded, tmp_path: Path, artifact: str
) -> None:
    folder = copied(workspace, artifact, tmp_path)
    (folder / "tokenizer.json").rename(folder / "other.json")
    merged = artifact == "merged"
    found = compare_merged(recorded, folder)[0] if merged else compare_quantized(recorded, folder)
    assert found.differing == (
        "other.json: rebuilt, and not recorded",
        "tokenizer.json: recorded, and not rebuilt",
    )


def test_other_versions_in_merge_json_make_no_other_model(
    workspace: Path, recorded: Recorded, tmp_path: Path
) -> None:
    folder = copied(workspace, "merged", tmp_path)
    said = read_json(folder / "merge.json")
    said["tools"]["torch"] = "9.9"
    write_json(folder / "merge.json", said)
    found, notes = compare_merged(recorded, folder)
    assert found.state == "identical"
    assert found.rebuilt != recorded.merged
    assert [note.split(":")[1] for note in notes] == [" tools.torch"]


def test_packages_and_processors_that_decide_bytes_are_named_when_they_differ(
    recorded: Recorded,
) -> None:
    assert surroundings(recorded) == {}
    hardware = {**recorded.quantization["hardware"], "instructions": "AVX1024"}
    other = replace(
        recorded,
        versions={**recorded.versions, "torch": "1.0", "lm-eval": "0.0"},
        quantization={**recorded.quantization, "hardware": hardware, "threads": 5},
        environment={"hardware": {"cpu": "Abacus"}, "packages": {"numba": "0.1", "rich": "0"}},
    )
    found = surroundings(other, threads=1)
    assert set(found) == {"torch", "instructions", "threads", "cpu", "numba"}
    assert found["threads"] == {"recorded": "5", "here": "1"}
    assert found["torch"]["recorded"] == "1.0"


def reproduction(*states: str, surroundings: dict[str, Any]) -> Reproduction:
    artifacts = tuple(Artifact("merged", s, "a", "b", 1, (), False) for s in states)  # type: ignore[arg-type]
    return Reproduction("r", "tuned", "d", (), artifacts, surroundings, (), None)


@pytest.mark.parametrize(
    ("states", "surroundings", "code"),
    [
        (("identical", "identical"), {}, 0),
        (("identical", "identical"), {"torch": {}}, 0),
        (("identical", "differs"), {}, 2),
        (("differs", "not rebuilt"), {}, 2),
        (("identical", "differs"), {"torch": {}}, 4),
        (("identical", "not rebuilt"), {}, 4),
    ],
)
def test_a_difference_proves_something_only_on_the_versions_and_hardware_of_the_record(
    states: tuple[str, ...], surroundings: dict[str, Any], code: int
) -> None:
    assert reproduction(*states, surroundings=surroundings).exit_code == code


# Calibration


def test_an_older_release_takes_its_prompts_from_the_workspace_where_their_digest_fits(
    workspace: Path, old: Recorded, elsewhere: Path
) -> None:
    shutil.copytree(workspace / "data", elsewhere / "data")
    shutil.copy(workspace / "params.yaml", elsewhere)
    found = reproduce(Path("x"), sources=workspace)
    assert found.identical
    assert any("those of the tune split here have the recorded digest" in n for n in found.notes)
    assert any("before mergegate noted threads and hardware" in n for n in found.notes)
    rows = (elsewhere / "data" / "tune" / "json.jsonl").read_text().replace("order", "ship", 1)
    (elsewhere / "data" / "tune" / "json.jsonl").write_text(rows)
    other = reproduce(Path("x"), sources=workspace)
    assert other.artifacts[0].state == "identical"
    assert "are not the ones it was made with" in other.artifacts[1].why
    assert other.exit_code == 4


def test_an_older_release_without_its_workspace_is_reproduced_as_far_as_the_merge(
    workspace: Path, old: Recorded
) -> None:
    found = reproduce(Path("x"), sources=workspace)
    assert [a.state for a in found.artifacts] == ["identical", "not rebuilt"]
    assert "this folder is not the workspace it was made in" in found.artifacts[1].why


def test_a_merge_that_differs_is_not_quantized(
    workspace: Path, recorded: Recorded, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**(recorded.merged_files or {}), "model.safetensors": "0" * 64}
    other = replace(recorded, merged_files=files, merged=digest_of(files))
    monkeypatch.setattr(rebuilding, "read_recorded", lambda _: other)
    found = reproduce(Path("x"), sources=workspace)
    assert found.artifacts[1].why == "it is made from the merge, which differs already"
    assert found.exit_code == 2


# The machine


def test_a_disk_without_room_is_told_before_anything_is_written(
    workspace: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(elsewhere)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EnvironmentFault, match=r"needs [\d,]+ bytes, .* has 1,000 free"):
        reproduce(workspace / "build" / "tuned" / "release", sources=workspace)
    assert list(elsewhere.iterdir()) == []


def test_a_missing_llm_compressor_is_told_before_anything_is_merged(
    workspace: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'mergegate\[quantize\]'"):
        reproduce(workspace / "build" / "tuned" / "release", sources=workspace)
    assert list(elsewhere.iterdir()) == []


# The command


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", "reproduce", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "HF_HUB_OFFLINE": "1"},
    )


def test_the_command_tells_in_lines_and_in_json_and_ends_with_its_code(workspace: Path) -> None:
    done = command("tuned", "--json", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"] is True
    assert done.stderr == ""
    missing = command("tuned", "--sources", "data", cwd=workspace)
    assert missing.returncode == 2
    assert "--sources DIR" in missing.stderr
