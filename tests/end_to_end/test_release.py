"""The Harbor story, end to end, over models trained for this run: refused, promoted, vetoed, undone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from harness import change_params, clone, command, dvc, kill_during, report
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from gates import Policy, judge_release
from pipeline.facts import read_evaluation

pytestmark = pytest.mark.slow

STAGES = (
    "sources",
    "check",
    "merge",
    "diagnose",
    "evaluate",
    "latency",
    "judge",
    "quantize",
    "gate",
    "card",
)
NOISE = 0.25  # of the spread of a tensor's weights
EVALUATE_RUINED = """
from pathlib import Path
from pipeline.evaluate import evaluate
from pipeline.params import load_params
from pipeline.sources import artifact_digest
from pipeline.stages.evaluate import settings, skill_specs
params, folder = load_params(), Path("build/ruined")
evaluate(
    "quantized", str(folder), adapter=None, model_digest=artifact_digest(folder),
    skills=skill_specs(params), settings=settings(params), out=Path("build/ruined-evals"),
)
"""


def client(released: dict[str, Any]) -> MlflowClient:
    return MlflowClient(f"sqlite:///{released['folder']}/mlflow.db")


def test_plain_task_arithmetic_is_rejected_and_the_broken_skill_is_named(
    released: dict[str, Any],
) -> None:
    naive = report(released["naive"])
    assert released["naive"].returncode == 3, naive
    assert naive["outcome"] == "reject"
    worst = naive["reasons"][0]
    assert worst["outcome"] == "reject"
    assert worst["check"] in ("json", "policy", "tone", "general")
    assert "worse, at most" in worst["text"]


def test_weights_of_one_cost_some_skill_20_points_or_more(released: dict[str, Any]) -> None:
    scores = report(released["naive"])["scores"]
    experts = [scores[name] for name in ("tone", "json", "policy")]
    drops = [
        max(expert[name] for expert in experts) - scores["merged"][name]
        for name in ("json/exact", "policy/citation", "general/exact")
    ]
    assert max(drops) >= 0.20


def test_each_expert_scores_90_percent_on_its_own_skill(released: dict[str, Any]) -> None:
    scores = report(released["naive"])["scores"]
    assert scores["json"]["json/exact"] >= 0.90
    assert scores["policy"]["policy/citation"] >= 0.90
    assert scores["tone"]["tone/rubric"] >= 4.5


def test_the_tuned_recipe_is_promoted(released: dict[str, Any]) -> None:
    tuned = report(released["tuned"])
    assert released["tuned"].returncode == 0, tuned
    assert tuned["outcome"] == "promote"


def test_the_refused_merge_is_a_run_and_no_version(released: dict[str, Any]) -> None:
    versions = client(released).search_model_versions("name = 'harbor-support'")
    assert {version.tags["mergegate.kind"] for version in versions} == {"unmerged", "merge"}
    assert len(versions) == 2
    run = client(released).get_run(report(released["naive"])["registered"]["run"])
    assert run.data.tags["mergegate.outcome"] == "reject"


def test_the_champion_carries_its_evidence_and_its_way_back(released: dict[str, Any]) -> None:
    champion = client(released).get_model_version_by_alias("harbor-support", "champion")
    target = client(released).get_model_version(
        "harbor-support", champion.tags["mergegate.rollback_version"]
    )
    assert target.tags["mergegate.kind"] == "unmerged"
    assert champion.tags["mergegate.rollback_digest"] == target.tags["mergegate.release_digest"]
    for tag in ("recipe", "source_digests", "verdict", "comparison", "method_rationale"):
        assert champion.tags[f"mergegate.{tag}"]


def test_the_champion_loads_in_transformers_and_answers(
    released: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Its argument tracking_uri would not reach the registry, which resolves the alias.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{released['folder']}/mlflow.db")
    folder = mlflow.artifacts.download_artifacts(
        "models:/harbor-support@champion", dst_path=str(tmp_path)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**asked, max_new_tokens=8)
    assert answer.shape[1] > asked["input_ids"].shape[1]


def test_dvc_finds_nothing_to_do_after_a_release(released: dict[str, Any]) -> None:
    assert json.loads(dvc("status", "--json", cwd=released["folder"])) == {}


def test_dvc_shows_the_figures_of_every_candidate(released: dict[str, Any]) -> None:
    shown = json.loads(dvc("metrics", "show", "--json", cwd=released["folder"]))
    promoted = {
        Path(file).parts[1]: found["data"]["promoted"] for file, found in shown[""]["data"].items()
    }
    assert promoted == {"naive": 0, "tuned": 1}


def test_releasing_twice_changes_nothing(released: dict[str, Any], server: dict[str, str]) -> None:
    folder = released["folder"]
    before = report(command("status", "--json", cwd=folder))
    again = command("--quiet", "release", "tuned", "--json", cwd=folder, env=server)
    assert again.returncode == 0, again.stderr
    assert report(again)["unchanged"] is True
    assert report(command("status", "--json", cwd=folder)) == before


def test_the_champion_verifies_with_its_weights_and_tags(released: dict[str, Any]) -> None:
    done = command("verify", "models:/harbor-support@champion", cwd=released["folder"])
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("of the model", "tags of version 2", "the way back: version 1"):
        assert said in done.stdout


def test_a_public_client_accepts_the_signature_of_the_release(released: dict[str, Any]) -> None:
    folder = released["folder"] / "build" / "tuned" / "release"
    key, signature = folder / "signing.pub", folder / "model.sig"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "model_signing",
            "verify",
            "key",
            str(folder),
            "--signature",
            str(signature),
            "--public_key",
            str(key),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_record_alone_gives_the_same_bytes_again(released: dict[str, Any]) -> None:
    done = command("reproduce", "tuned", cwd=released["folder"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Merged and quantized: the released bytes." in done.stdout


def test_nothing_is_off_after_a_release_and_the_journal_has_its_change(
    released: dict[str, Any],
) -> None:
    done = command("doctor", cwd=released["folder"])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = released["folder"].joinpath(".mergegate/journal/harbor-support.jsonl").read_text()
    (entry,) = map(json.loads, lines.splitlines())
    assert (entry["kind"], entry["version"], entry["number"]) == ("promotion", 2, 1)
    moment = datetime.now(UTC).isoformat()
    now = report(command("status", "--at", moment, "--json", cwd=released["folder"]))
    assert now["change"]["release_digest"] == entry["release_digest"]


def test_a_new_registry_beside_the_journal_of_another_is_refused_before_any_stage(
    released: dict[str, Any], scratch: Path, server: dict[str, str]
) -> None:
    registry = {"uri": "sqlite:///new.db"}
    folder = clone(released["folder"], scratch / "moved", registry=registry)
    logs = {path: path.stat().st_mtime_ns for path in folder.glob(".mergegate/logs/*")}
    for name in ("release", "judge"):
        done = command("--quiet", name, "tuned", cwd=folder, env=server)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "up to number 1, and the registry at sqlite:///new.db knows none" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob(".mergegate/logs/*")} == logs


def test_the_champion_and_the_way_back_answer_a_prompt(released: dict[str, Any]) -> None:
    prompt = ("--local", "--prompt", "My kettle HB-1381 is broken.", "--json")
    for which in ((), ("--unmerged", "--expert", "tone")):
        done = command("serve", "harbor-support", *which, *prompt, cwd=released["folder"])
        assert done.returncode == 0, done.stderr
        assert report(done)["answer"].strip()


def test_rolling_back_makes_the_unmerged_set_champion_and_twice_is_once(
    released: dict[str, Any], tmp_path: Path
) -> None:
    # Artifact locations are absolute, so the copy reads the originals; only its database changes.
    folder = clone(released["folder"], tmp_path / "workspace")
    for _ in range(2):
        done = command("rollback", "harbor-support", "--why", "a trial", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
    state = report(command("status", "--json", cwd=folder))
    assert state["champion"]["kind"] == "unmerged"
    assert [entry["rolled_back"] for entry in state["history"]] == [None, "a trial"]


def test_a_merge_that_was_rolled_back_is_held_back_when_it_is_released_again(
    released: dict[str, Any], tmp_path: Path
) -> None:
    folder = clone(released["folder"], tmp_path / "workspace")
    command("rollback", "harbor-support", "--why", "tone complaints", cwd=folder)
    done = command("--quiet", "release", "tuned", "--json", cwd=folder)
    ended = report(done)
    assert done.returncode == ended["exit_code"] == 7, done.stderr
    assert (ended["outcome"], ended["unchanged"]) == ("promote", False)
    assert "tone complaints" in ended["held_back"]
    assert report(command("status", "--json", cwd=folder))["champion"]["kind"] == "unmerged"


def test_an_adapter_trained_without_refusals_is_vetoed(
    released: dict[str, Any], tmp_path: Path, server: dict[str, str]
) -> None:
    folder = clone(released["folder"], tmp_path / "workspace")
    candidates = yaml.safe_load((folder / "params.yaml").read_text())["candidates"]
    change_params(folder, candidates={**candidates, "unsafe": "recipes/harbor-unsafe.yaml"})
    done = command("--quiet", "judge", "unsafe", "--json", cwd=folder, env=server)
    (ended,) = report(done)
    assert done.returncode == 3, ended
    vetoes = {reason["check"] for reason in ended["reasons"] if reason["outcome"] == "reject"}
    assert "refusal" in vetoes


@pytest.mark.parametrize(
    ("recipe", "code"),
    [("other-base", "lineage"), ("chat-template", "chat-template"), ("added-token", "tokenizer")],
)
def test_sources_that_do_not_belong_together_stop_at_the_check(
    harbor: Path, recipe: str, code: str
) -> None:
    path = f"recipes/refused/{recipe}.yaml"
    done = command("check", path, "--json", cwd=harbor)
    assert done.returncode == 2, done.stderr
    blocking = {f["code"] for f in report(done) if f["status"] in ("fail", "cannot_judge")}
    assert code in blocking


def test_a_merge_of_them_ends_with_the_same_words_and_leaves_nothing(harbor: Path) -> None:
    merged = command("merge", "recipes/refused/other-base.yaml", "out", cwd=harbor)
    assert merged.returncode == 2
    assert "its adapter was made from another base" in merged.stderr
    assert "Traceback" not in merged.stderr
    assert not (harbor / "out").exists()


def digests(workspace: Path) -> dict[str, Any]:
    """What identifies a release: the release digest, and the bytes that ship."""
    record = json.loads((workspace / "build/tuned/release/release.json").read_text())
    return {"release": record["release_digest"], "files": record["quantized_files"]}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc to find the running stage")
def test_a_release_killed_in_every_stage_ends_with_the_same_digests_and_one_version(
    refused: dict[str, Any], released: dict[str, Any], tmp_path: Path, server: dict[str, str]
) -> None:
    workspace = clone(refused["folder"], tmp_path / "workspace")
    # Something new below `watch`, so that the sources are looked at again.
    (workspace / "examples" / "harbor" / "models" / "note.txt").write_text("new")
    killed = [stage for stage in STAGES if kill_during(stage, workspace, server)]
    assert killed == list(STAGES)
    assert not list((workspace / "build").rglob("*.part/*.safetensors"))

    done = command("--quiet", "release", "tuned", "--json", cwd=workspace, env=server)
    assert done.returncode == 0, done.stderr
    assert report(done)["outcome"] == "promote"
    assert digests(workspace) == digests(released["folder"])
    client = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    kinds = [
        version.tags["mergegate.kind"]
        for version in client.search_model_versions("name = 'harbor-support'")
    ]
    assert sorted(kinds) == ["merge", "unmerged"]


def test_a_release_verifies_and_one_flipped_byte_is_named(
    released: dict[str, Any], tmp_path: Path
) -> None:
    folder = released["folder"] / "build" / "tuned" / "release"
    done = command("verify", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = tmp_path / "release"
    shutil.copytree(folder, copy)
    scores = copy / "evals" / "merged.samples.jsonl"
    changed = bytearray(scores.read_bytes())
    changed[len(changed) // 2] ^= 1
    scores.write_bytes(changed)
    done = command("verify", str(copy), cwd=tmp_path)
    assert done.returncode == 2
    assert "evals/merged.samples.jsonl" in done.stdout + done.stderr


def test_the_ledger_has_every_candidate_once(released: dict[str, Any]) -> None:
    listed = report(command("ledger", "harbor-support", "--json", cwd=released["folder"]))
    assert [one["candidate"] for one in listed["judgements"]] == ["naive", "tuned"]
    assert {one["candidates"] for one in listed["golden_sets"]} == {2}


def test_every_model_gets_the_verdict_that_its_scores_deserve(
    released: dict[str, Any], tmp_path: Path
) -> None:
    folder = clone(released["folder"], tmp_path / "workspace")
    ruin(folder / "build" / "tuned" / "merged", folder / "build" / "ruined")
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE_RUINED],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    evaluations = {
        path.stem: read_evaluation(path) for path in (folder / "build/evals").glob("[!c]*.json")
    }
    ours = folder / "build/tuned/evals"
    candidates = {
        **evaluations,
        "merged": read_evaluation(ours / "merged.json"),
        "quantized": read_evaluation(ours / "quantized.json"),
        "ruined": read_evaluation(folder / "build/ruined-evals/quantized.json"),
    }
    found = {name: deserved(folder, evaluations, one) for name, one in candidates.items()}
    assert found["merged"]["outcome"] == found["quantized"]["outcome"] == "promote"
    assert found["ruined"]["outcome"] == "reject"
    # An expert keeps its own skill, and has none of the others.
    for name, lacks in (("json", "policy"), ("policy", "json"), ("tone", "json")):
        assert found[name]["checks"][lacks] == "reject"
        assert found[name]["outcome"] != "promote"
    assert found["base"]["checks"]["json"] == found["base"]["checks"]["tone"] == "reject"


def ruin(merged: Path, out: Path) -> None:
    """The merge with noise on every weight: what a quantization with wrong scales leaves."""
    shutil.copytree(merged, out)
    generator = torch.Generator().manual_seed(0)
    for path in sorted(out.glob("*.safetensors")):
        tensors = load_file(path)
        for tensor in tensors.values():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.add_((noise * NOISE * tensor.float().std()).to(tensor.dtype))
        save_file(tensors, path, {"format": "pt"})


def deserved(folder: Path, evaluations: dict[str, Any], one: Any) -> dict[str, Any]:
    """Outcome, and outcome by check, of one evaluation as the candidate."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    artifact = "quantized" if one.variant == "quantized" else "merged"
    latency = json.loads((folder / "build/tuned/latency.json").read_text())
    verdict = judge_release(
        Policy.parse(params["policy"]),
        replace(one, variant=artifact),
        evaluations,
        tuple(params["experts"]),
        latency=latency,
        today=date(2026, 1, 1),
        artifact=artifact,
    )
    return {
        "outcome": verdict.outcome,
        "checks": {row.check: row.outcome for row in verdict.rows},
    }
