"""Opening a reference: every kind ends in a folder and a pinned revision, or in words that help."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from source_files import adapter, checkpoint

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import digest_of
from pipeline.sources import Reference, artifact_digest, open_source, pin, weights_digest

COMMIT = "c0ffee" + "0" * 34


def test_a_local_folder_has_no_revision(tmp_path: Path) -> None:
    source = open_source(Reference(str(checkpoint(tmp_path / "m"))))
    assert (source.kind, source.model_revision, source.adapter) == ("local", None, None)


def test_a_revision_of_a_local_folder_is_refused(tmp_path: Path) -> None:
    folder = str(checkpoint(tmp_path / "m"))
    with pytest.raises(InputError, match="is a local folder, which has no revisions"):
        open_source(Reference(folder, "v1"))


def test_an_adapter_is_opened_with_its_model(tmp_path: Path) -> None:
    model, lora = checkpoint(tmp_path / "m"), adapter(tmp_path / "a")
    source = open_source(Reference.parse(f"{model}+{lora}"))
    assert source.model.folder == model
    assert source.adapter is not None
    assert source.adapter.folder == lora


def test_a_mistyped_path_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(InputError, match=r"a/b/c: no such folder, and not a hub id"):
        open_source(Reference("a/b/c"))


class Hub:
    """The hub's client, as far as it is used: one repository with one commit, or no connection."""

    def __init__(self, root: Path, *, online: bool) -> None:
        self.root, self.online = root, online
        self.asked: list[dict[str, Any]] = []

    def model_info(self, repository: str, revision: str) -> Any:
        from huggingface_hub.errors import OfflineModeIsEnabled

        if not self.online:
            raise OfflineModeIsEnabled("offline")
        return SimpleNamespace(sha=COMMIT)

    def snapshot_download(self, repository: str, **settings: Any) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        self.asked.append(settings)
        if settings["local_files_only"] and not self.root.exists():
            raise LocalEntryNotFoundError("not cached")
        return str(self.root)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    hub = Hub(tmp_path / "models--acme--base" / "snapshots" / COMMIT, online=True)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_a_branch_of_the_hub_is_pinned_to_its_commit(hub: Hub) -> None:
    checkpoint(hub.root)
    source = open_source(Reference("acme/base", "main"))
    assert (source.kind, source.model_revision) == ("hub", COMMIT)
    assert hub.asked[0]["revision"] == COMMIT


def test_no_pickle_and_no_code_is_ever_fetched(hub: Hub) -> None:
    from fnmatch import fnmatch

    checkpoint(hub.root)
    open_source(Reference("acme/base"))
    for name in ("pytorch_model.bin", "model.pt", "modeling_evil.py", "optimizer.pkl"):
        assert not any(fnmatch(name, pattern) for pattern in hub.asked[0]["allow_patterns"])


def test_without_a_connection_the_hubs_cache_is_used(hub: Hub) -> None:
    hub.online = False
    checkpoint(hub.root)
    assert open_source(Reference("acme/base")).model_revision == COMMIT
    assert hub.asked[0]["local_files_only"]


def test_without_connection_and_cache_the_environment_is_at_fault(hub: Hub) -> None:
    hub.online = False
    with pytest.raises(EnvironmentFault, match="connect and try again"):
        open_source(Reference("acme/base"))


def test_a_commit_in_the_real_cache_layout_opens_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "models--acme--base"
    checkpoint(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    import huggingface_hub

    original = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: original(*a, cache_dir=tmp_path, **k)
    )
    assert open_source(Reference("acme/base")).model_revision == COMMIT


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an MLflow store with model `support`, version 1, alias champion."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(client.get_experiment_by_name("e").experiment_id)
    client.log_artifacts(run.info.run_id, str(checkpoint(tmp_path / "m")), "model")
    client.create_registered_model("support")
    client.create_model_version("support", f"runs:/{run.info.run_id}", run.info.run_id)
    client.set_registered_model_alias("support", "champion", "1")
    return uri


def test_a_registered_version_and_its_alias_are_the_same_source(
    tmp_path: Path, registered: str
) -> None:
    cache = tmp_path / "cache"
    by_version = open_source(Reference("models:/support/1"), cache, tracking_uri=registered)
    by_alias = open_source(Reference("models:/support@champion"), cache, tracking_uri=registered)
    assert by_version.model.folder == by_alias.model.folder
    assert (by_alias.kind, by_alias.model_revision) == ("registry", "1")
    assert artifact_digest(by_alias.model.folder) == artifact_digest(tmp_path / "m")
    for unknown in ("models:/support/9", "models:/support@nobody", "models:/other/1"):
        with pytest.raises(InputError, match="the registry has no such model, version or alias"):
            open_source(Reference(unknown), cache, tracking_uri=registered)
    for wrong in ("latest", "0", "99999999999999999999"):
        with pytest.raises(InputError, match=f"'{wrong}' is no version"):
            open_source(Reference(f"models:/support/{wrong}"), cache, tracking_uri=registered)
    assert [p.name for p in cache.iterdir() if p.name.startswith(".")] == []


def test_opening_reads_no_weights_and_imports_no_torch(tmp_path: Path) -> None:
    import subprocess

    model, lora = checkpoint(tmp_path / "m"), adapter(tmp_path / "a")
    code = (
        "import sys; from pipeline.sources import *; "
        f"pin(open_source(Reference.parse('{model}+{lora}'))); "
        "print(sorted({'torch', 'transformers', 'mlflow', 'huggingface_hub'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_pin_states_every_file_and_one_digest_over_all(tmp_path: Path) -> None:
    model, lora = checkpoint(tmp_path / "m"), adapter(tmp_path / "a", base_model_name_or_path="m")
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (lora / "mergegate.json").write_text(json.dumps({"base_model_digest": weights_digest(model)}))
    record = pin(open_source(Reference.parse(f"{model}+{lora}")))
    assert set(record["model"]["files"]) == {"README.md", "config.json", "model.safetensors"}
    assert record["model"]["digest"] == artifact_digest(model)
    assert record["adapter"]["base_digest"] == record["model"]["weights_digest"]
    assert (record["model"]["licence"], record["adapter"]["licence"]) == ("apache-2.0", None)
    assert (record["model"]["tensors"], record["model"]["parameters"]) == (2, 8)
    assert (record["adapter"]["r"], record["adapter"]["alpha"]) == (1, 2)
    both = {"model": artifact_digest(model), "adapter": artifact_digest(lora)}
    assert record["digest"] == digest_of(both)


def test_a_pin_does_not_depend_on_where_the_folder_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = []
    for place in ("one", "two"):
        checkpoint(tmp_path / place / "m")
        monkeypatch.chdir(tmp_path / place)
        os.utime("m/config.json", (1, 1))
        records.append(pin(open_source(Reference("m"))))
    assert records[0] == records[1]


def test_a_changed_byte_of_the_adapter_changes_the_sources_digest(tmp_path: Path) -> None:
    model, lora = checkpoint(tmp_path / "m"), adapter(tmp_path / "a")
    reference = Reference.parse(f"{model}+{lora}")
    before = pin(open_source(reference))
    (lora / "README.md").write_text("x")
    after = pin(open_source(reference))
    assert before["digest"] != after["digest"]
    assert before["model"] == after["model"]
