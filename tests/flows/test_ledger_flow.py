"""What a release asks of the ledger before it judges, what it enters afterwards, and in which order."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flows import stages
from flows.ledger import champion_is_new, enter_ledger, ledger_is_new, read_ledger_report
from gates import Policy
from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import read_json, write_json, write_text
from pipeline.params import Params, load_params
from pipeline.recipe import load_recipe
from pipeline.release import store, unmerged_set
from pipeline.release.ledger import read_ledger
from pipeline.stages import champion as champion_stage
from pipeline.stages import ledger as ledger_stage
from pipeline.stages.workspace import CHAMPION as CHAMPION_FILE
from pipeline.stages.workspace import SOURCES

ROOT = Path(__file__).parents[2]
AFTER_JUDGE = ("quantize", "evaluate-quantized", "gate", "card")
JSON, TONE = "a" * 64, "b" * 64  # digests of golden sets
FILE = Path("build/tuned/ledger.json")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store without content: making its tables takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with store.connect(f"sqlite:///{file}") as client:
        client.search_experiments()
    return file


@pytest.fixture
def workspace(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the candidates of Harbor were evaluated and judged, as far as the ledger sees."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    # Absolute: MLflow keeps the file that a relative one meant when it was first used.
    content["registry"] = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    for candidate in ("naive", "tuned"):
        evaluated(candidate)
        judged(candidate)
    return tmp_path


def evaluated(candidate: str, merge: str = "") -> None:
    facts = {"json": {"golden_digest": JSON}, "tone": {"golden_digest": TONE}}
    tasks = {**facts, "public": {"golden_digest": ""}}  # a task of lm-eval's own
    head = {"model_digest": merge or f"merge of {candidate}", "tasks": tasks}
    write_json(Path("build", candidate, "evals", "merged.json"), head)


def judged(candidate: str, outcome: str = "reject", **changes: Any) -> None:
    """The verdict that the stages would have left, by the policy of params.yaml."""
    params, folder = load_params(), Path("build", candidate)
    merge = read_json(folder / "evals" / "merged.json")["model_digest"]
    verdict = {
        "outcome": outcome,
        "policy_digest": Policy.parse(params.policy).digest,
        "candidate_digests": {"merged": merge},
        **changes,
    }
    write_json(folder / "verdict.json", verdict)
    recipe = load_recipe(params.recipe(candidate)).digest
    write_json(folder / "compat.json", {"recipe_digest": recipe})


def note_ledger(params: Params, candidate: str) -> bool:
    """As the flow does: the stage runs where the ledger says something new."""
    new = ledger_is_new(params, candidate)
    if new:
        ledger_stage.run(candidate)
    return new


def note_champion(params: Params) -> bool:
    """As the flow does; whether there is a model to evaluate."""
    if champion_is_new(params):
        champion_stage.run()
    return "reference" in read_json(CHAMPION_FILE)


def change_policy(**changes: Any) -> Params:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["policy"].update(changes)
    write_text(Path("params.yaml"), yaml.safe_dump(content))
    return load_params()


def test_a_candidate_that_nobody_judged_before_is_the_first(workspace: Path) -> None:
    assert note_ledger(load_params(), "tuned")
    assert read_json(FILE) == {"uses": {JSON: 1, TONE: 1}, "judged_before": []}


def test_a_candidate_after_another_is_the_second(workspace: Path) -> None:
    enter_ledger(load_params(), "naive")
    note_ledger(load_params(), "tuned")
    assert read_json(FILE)["uses"] == {JSON: 2, TONE: 2}


def test_a_second_release_leaves_the_file_untouched_whatever_was_judged_between(
    workspace: Path,
) -> None:
    params = load_params()
    note_ledger(params, "tuned")
    enter_ledger(params, "tuned")
    before = FILE.stat()
    enter_ledger(params, "naive")
    assert not note_ledger(params, "tuned")
    assert not enter_ledger(params, "tuned")
    assert FILE.stat().st_mtime_ns == before.st_mtime_ns
    assert FILE.stat().st_ino == before.st_ino


def test_a_broken_file_is_written_anew(workspace: Path) -> None:
    write_text(FILE, "{")
    assert note_ledger(load_params(), "tuned")
    assert read_json(FILE)["uses"][JSON] == 1


def test_a_margin_that_was_widened_after_a_refusal_is_told(workspace: Path) -> None:
    strict = Policy.parse(load_params().policy)
    enter_ledger(load_params(), "tuned")
    loose = change_policy(latency={"metric": "p95", "max_ratio": 9.0})
    note_ledger(loose, "tuned")
    (told,) = read_json(FILE)["judged_before"]
    assert (told["outcome"], told["policy"], told["same"]) == ("reject", strict.digest, "weights")


def test_a_waiver_after_a_refusal_is_no_other_policy_and_a_judgement_of_its_own(
    workspace: Path,
) -> None:
    enter_ledger(load_params(), "tuned")
    waiver = {"check": "tone", "name": "A. Person", "reason": "known", "expires": "2099-01-31"}
    waived = change_policy(waivers=[waiver])
    judged("tuned", "promote")
    note_ledger(waived, "tuned")
    assert read_json(FILE)["judged_before"] == []
    assert enter_ledger(waived, "tuned")
    outcomes = [one.outcome for one in read_ledger(waived.registry_uri, waived.name)]
    assert outcomes == ["reject", "promote"]


def test_what_is_entered_names_weights_sets_recipe_and_policy(workspace: Path) -> None:
    params = load_params()
    both = {"merged": "merge of tuned", "quantized": "q"}
    judged("tuned", "promote", candidate_digests=both)
    enter_ledger(params, "tuned")
    (entry,) = read_ledger(params.registry_uri, params.name)
    policy = Policy.parse(params.policy)
    assert entry.candidate == "tuned"
    assert entry.outcome == "promote"
    assert entry.weights == both
    assert entry.golden == {"json": JSON, "tone": TONE}
    assert entry.recipe == load_recipe(params.recipe("tuned")).digest
    assert (entry.policy, entry.fixed_policy) == (policy.digest, policy.fixed_digest)


def test_a_policy_edited_while_the_release_ran_is_entered_as_it_judged(workspace: Path) -> None:
    judged_by = Policy.parse(load_params().policy).digest
    edited = change_policy(alpha=0.01)
    enter_ledger(edited, "tuned")
    (entry,) = read_ledger(edited.registry_uri, edited.name)
    assert (entry.policy, entry.fixed_policy) == (judged_by, judged_by)


def test_a_ledger_that_cannot_be_reached_ends_the_release_as_registration_does(
    workspace: Path,
) -> None:
    Path("mlflow.db").write_text("not a database" * 100)
    for ask in (note_ledger, enter_ledger):
        with pytest.raises(EnvironmentFault, match="the registry failed") as caught:
            ask(load_params(), "tuned")
        assert caught.value.exit_code == 6
    assert not FILE.exists()


def sealed(uses: int, digest: str = JSON) -> Policy:
    policy = load_params().policy
    return Policy.parse({**policy, "sealed": {"json": {"golden": digest, "uses": uses}}})


@pytest.mark.parametrize(("uses", "left"), [(3, 1), (2, 0), (1, 0)])
def test_the_report_counts_candidates_and_what_is_left(
    workspace: Path, uses: int, left: int
) -> None:
    params = load_params()
    for candidate in ("naive", "tuned"):
        enter_ledger(params, candidate)
    report = read_ledger_report(params.registry_uri, params.name, sealed(uses))
    sets = {found["digest"]: found for found in report["golden_sets"]}
    assert (sets[JSON]["candidates"], sets[JSON]["allowed"], sets[JSON]["left"]) == (2, uses, left)
    assert (sets[TONE]["candidates"], sets[TONE]["allowed"], sets[TONE]["left"]) == (2, None, None)
    assert sets[JSON]["skills"] == ["json"]
    assert [one["candidate"] for one in report["judgements"]] == ["naive", "tuned"]


def test_a_sealed_set_that_nobody_used_yet_has_all_its_uses(workspace: Path) -> None:
    params = load_params()
    enter_ledger(params, "tuned")
    report = read_ledger_report(params.registry_uri, params.name, sealed(20, "f" * 64))
    (fresh,) = (found for found in report["golden_sets"] if found["digest"] == "f" * 64)
    assert (fresh["candidates"], fresh["left"], fresh["skills"]) == (0, 20, ["json"])


def name_champion() -> Params:
    skills = load_params().policy["skills"]
    return change_policy(skills={**skills, "json": {**skills["json"], "also": ALSO}})


ALSO = {"champion": {"margin": 0.03}}


def register_champion(params: Params, kind: str) -> None:
    tags = {"mergegate.kind": kind, "mergegate.artifact_digest": "d" * 64}
    with store.connect(params.registry_uri) as client:
        client.create_registered_model(params.name)
        client.create_model_version(params.name, Path.cwd().as_uri(), tags=tags)
        client.set_registered_model_alias(params.name, "champion", "1")


def test_the_shipped_policy_does_not_ask_for_the_champion(workspace: Path) -> None:
    assert not note_champion(load_params())
    assert "does not compare" in read_json(CHAMPION_FILE)["absent"]


def test_where_there_is_no_champion_the_gate_is_told_so(workspace: Path) -> None:
    assert not note_champion(name_champion())
    assert read_json(CHAMPION_FILE) == {"absent": "there is no champion yet"}


def test_another_champion_is_something_new_to_judge_by(workspace: Path) -> None:
    params = name_champion()
    note_champion(params)
    assert not champion_is_new(params)
    register_champion(params, "merge")
    assert champion_is_new(params)
    note_champion(params)
    assert not champion_is_new(params)


def test_a_champion_is_named_by_version_and_digest(workspace: Path) -> None:
    params = name_champion()
    register_champion(params, "merge")
    assert note_champion(params)
    version = {"reference": "models:/harbor-support/1", "digest": "d" * 64}
    assert read_json(CHAMPION_FILE) == version


def test_an_unmerged_champion_is_no_model_to_compare_with(workspace: Path) -> None:
    params = name_champion()
    register_champion(params, "unmerged")
    assert not note_champion(params)
    assert "for which `unmerged` stands" in read_json(CHAMPION_FILE)["absent"]


def test_an_unmerged_champion_of_other_files_than_the_sources_now_is_not_said_to_be_the_same(
    workspace: Path,
) -> None:
    params = name_champion()
    register_champion(params, "unmerged")
    side = {"revision": None, "digest": "e" * 64}
    pins = {
        text: {"model": side, "adapter": side if "+" in text else None}
        for text in (params.base, *params.experts.values())
    }
    write_json(SOURCES, {"pins": pins})
    assert not note_champion(params)
    said = "the champion, version 1, is an unmerged set of other files than base and experts"
    assert read_json(CHAMPION_FILE)["absent"].startswith(said)
    same = unmerged_set(params.base, params.experts, pins)["digest"]
    with store.connect(params.registry_uri) as client:
        client.set_model_version_tag(params.name, "1", "mergegate.artifact_digest", same)
    assert not note_champion(params)
    assert "for which `unmerged` stands" in read_json(CHAMPION_FILE)["absent"]


def test_a_champion_of_unknown_origin_is_refused(workspace: Path) -> None:
    params = name_champion()
    register_champion(params, "something")
    with pytest.raises(InputError, match="was not registered by mergegate"):
        note_champion(params)


def test_what_asks_the_registry_runs_before_what_needs_its_answer(workspace: Path) -> None:
    order = [stage for level in stages.levels(load_params(), "tuned") for stage in level]
    asking = stages.of_registry("tuned")
    assert order.index(asking[0]) < order.index("evaluate-champion") < order.index("judge@tuned")
    assert (
        order.index("evaluate-merged@tuned") < order.index(asking[1]) < order.index("judge@tuned")
    )


@pytest.mark.parametrize(
    ("new", "stale", "expected"),
    [
        ("ledger@tuned", set(), ["ledger!", "judge", *AFTER_JUDGE]),
        ("", set(), []),
        ("", {"gate@tuned"}, ["gate", "card"]),
    ],
)
def test_the_registry_is_asked_before_the_judge_and_what_is_new_is_judged_with(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    new: str,
    stale: set[str],
    expected: list[str],
) -> None:
    from flows import release

    asked: list[str] = []
    done: list[str] = []

    def look_up(stage: str, _candidate: str) -> bool:
        asked.append(stage)
        return stage == new

    def run_level(level: list[str], forced: set[str], _jobs: int) -> None:
        done.extend(stage + "!" * (stage in forced) for stage in level)

    monkeypatch.setattr(release, "look_up", look_up)
    monkeypatch.setattr(release, "_run_level", run_level)
    monkeypatch.setattr(stages, "unwatched", lambda *_: [])
    monkeypatch.setattr(stages, "stale", lambda _: stale)
    params = load_params()
    release._run_stages(params, "tuned", stages.levels(params, "tuned"))
    assert asked == ["champion", "ledger@tuned"]
    assert [stage.replace("@tuned", "") for stage in done] == expected


@pytest.mark.parametrize(
    ("register", "expected"),
    [
        (True, ["note True", "stages", "enter", "record 7"]),
        (False, ["note False", "stages", "enter"]),
    ],
)
def test_a_verdict_is_entered_before_it_is_registered_and_by_judge_as_well(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, register: bool, expected: list[str]
) -> None:
    from flows import release
    from flows.record import Outcome

    done: list[str] = []
    outcome = Outcome("tuned", "reject", "Reject.", (), {}, {})
    monkeypatch.setattr(release, "preflight", lambda _: (load_params(), "tuned"))
    monkeypatch.setattr(release, "_run_stages", lambda *_: done.append("stages"))
    monkeypatch.setattr(release, "enter", lambda _: done.append("enter"))
    monkeypatch.setattr(release, "note", lambda registers: done.append(f"note {registers}") or 7)
    monkeypatch.setattr(release, "record", lambda _, noted: done.append(f"record {noted}") or {})
    monkeypatch.setattr(release, "read_outcome", lambda *_: outcome)
    monkeypatch.setattr(release, "create_table_artifact", lambda **_: None)
    assert release.release.fn("tuned", register=register) is outcome
    assert done == expected


def test_a_champion_that_the_candidate_was_not_compared_with_is_not_replaced(
    workspace: Path,
) -> None:
    from flows.record import _check_judged_champion
    from pipeline.release.changes import Overtaken

    params = name_champion()
    note_champion(params)
    _check_judged_champion(params, None, "ours")
    register_champion(params, "merge")
    with pytest.raises(Overtaken, match="another release became champion meanwhile"):
        _check_judged_champion(params, None, "ours")
    with pytest.raises(Overtaken, match="not the one that the candidate was compared with"):
        _check_judged_champion(params, 0, "ours")


def test_a_release_that_an_interrupted_attempt_promoted_is_not_overtaken_by_itself(
    workspace: Path,
) -> None:
    from flows.record import _check_judged_champion

    params = name_champion()
    note_champion(params)
    register_champion(params, "merge")
    with store.connect(params.registry_uri) as client:
        client.set_model_version_tag(params.name, "1", store.RELEASE_DIGEST, "ours")
    _check_judged_champion(params, None, "ours")


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    from prefect.states import Failed

    from flows.release import _may_help
    from pipeline.release.changes import Overtaken

    def helps(error: Exception) -> bool:
        run = SimpleNamespace(name="judge@tuned", run_count=1)
        return _may_help(None, run, Failed(data=error))  # type: ignore[arg-type]

    assert helps(EnvironmentFault("the server is down"))
    assert not helps(Overtaken("another release became champion"))
    assert not helps(ValueError("x"))
