"""The ledger: each judgement once, none lost, none altered; and how a candidate stands in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.release.ledger import (
    Judgement,
    append,
    candidates_on,
    read_ledger,
    shown_ledger,
    standing,
)

JSON, TONE, FRESH = "a" * 64, "b" * 64, "c" * 64  # digests of golden sets
SETS = {"json": JSON, "tone": TONE}
DAY = 86_400_000  # milliseconds


def judgement(merge: str = "m1", **changes: Any) -> Judgement:
    values = {
        "candidate": "tuned",
        "outcome": "reject",
        "weights": {"merged": merge},
        "golden": SETS,
        "recipe": "r1",
        "policy": "p1",
        "fixed_policy": "p1",
    }
    return Judgement(**{**values, **changes})


@pytest.fixture
def ledger(tmp_path: Path, empty_store: Path) -> str:
    """An MLflow store of the test's own, without a ledger."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, uri)


def runs(uri: str) -> list[Any]:
    store = client(uri)
    experiment = store.get_experiment_by_name("harbor ledger")
    return list(store.search_runs([experiment.experiment_id]))


def test_what_is_entered_is_read_again(ledger: str) -> None:
    ours = judgement(weights={"merged": "m1", "quantized": "q1"}, outcome="promote", when=DAY)
    assert append(ledger, "harbor", ours)
    assert read_ledger(ledger, "harbor") == [ours]
    assert read_ledger(ledger, "harbor")[0].day == "1970-01-02"
    assert [run.info.status for run in runs(ledger)] == ["FINISHED"]


def test_a_judgement_without_a_time_gets_the_present_one(ledger: str) -> None:
    append(ledger, "harbor", judgement())
    assert read_ledger(ledger, "harbor")[0].day > "2020"


def test_the_same_judgement_is_entered_once(ledger: str) -> None:
    assert append(ledger, "harbor", judgement())
    assert not append(ledger, "harbor", judgement(candidate="another-name"))
    assert len(runs(ledger)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"merged": "m2"}},
        {"weights": {"merged": "m1", "quantized": "q1"}},
        {"policy": "p2"},
        {"golden": {"json": FRESH, "tone": TONE}},
        {"outcome": "promote"},
    ],
)
def test_other_weights_policy_sets_or_outcome_make_another_judgement(
    ledger: str, change: dict[str, Any]
) -> None:
    append(ledger, "harbor", judgement())
    assert append(ledger, "harbor", judgement(**change))
    assert len(read_ledger(ledger, "harbor")) == 2


def test_models_have_ledgers_of_their_own(ledger: str) -> None:
    append(ledger, "harbor", judgement())
    assert read_ledger(ledger, "other") == []


def test_two_that_were_entered_at_once_are_read_as_one(ledger: str) -> None:
    append(ledger, "harbor", judgement(when=DAY))
    (first,) = runs(ledger)
    store = client(ledger)
    store.create_run(first.info.experiment_id, start_time=2 * DAY, tags=dict(first.data.tags))
    assert len(runs(ledger)) == 2
    assert [one.when for one in read_ledger(ledger, "harbor")] == [DAY]


def test_processes_that_append_at_the_same_time_lose_nothing(ledger: str) -> None:
    code = """
import sys
from pipeline.release.ledger import Judgement, append
uri, who = sys.argv[1:]
for n in (f"own-{who}", "shared"):
    append(uri, "harbor", Judgement(n, "reject", {"merged": n}, {"json": "a" * 64}, "r", "p", "p"))
"""
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", code, ledger, str(n)], cwd=root) for n in range(2)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    found = sorted(one.merge for one in read_ledger(ledger, "harbor"))
    assert found == ["own-0", "own-1", "shared"]


def test_more_judgements_than_a_page_holds_are_all_read(
    ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        append(ledger, "harbor", judgement(f"m{number}", when=number + 1))
    plain = MlflowClient.search_runs

    def two_at_a_time(*arguments: Any, **named: Any) -> Any:
        return plain(*arguments, **{**named, "max_results": 2})

    monkeypatch.setattr(MlflowClient, "search_runs", two_at_a_time)
    assert [one.merge for one in read_ledger(ledger, "harbor")] == ["m0", "m1", "m2", "m3", "m4"]


def test_a_deleted_run_still_counts(ledger: str) -> None:
    append(ledger, "harbor", judgement())
    client(ledger).delete_run(runs(ledger)[0].info.run_id)
    assert len(read_ledger(ledger, "harbor")) == 1
    assert not append(ledger, "harbor", judgement())


def test_a_deleted_ledger_is_refused_and_the_way_out_named(ledger: str) -> None:
    append(ledger, "harbor", judgement())
    store = client(ledger)
    store.delete_experiment(store.get_experiment_by_name("harbor ledger").experiment_id)
    with pytest.raises(InputError, match="mlflow experiments restore --experiment-id"):
        append(ledger, "harbor", judgement("m2"))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("mergegate.outcome", "promote"),
        ("mergegate.merged", "m2"),
        ("mergegate.policy", "p2"),
        ("mergegate.golden.json", FRESH),
        ("mergegate.golden.new", FRESH),
        ("mergegate.judgement", "0" * 64),
    ],
)
def test_an_edited_judgement_is_refused_by_its_run(ledger: str, tag: str, value: str) -> None:
    append(ledger, "harbor", judgement())
    run = runs(ledger)[0].info.run_id
    client(ledger).set_tag(run, tag, value)
    with pytest.raises(CorruptArtifactError, match=run):
        read_ledger(ledger, "harbor")


def test_a_judgement_that_lost_a_tag_is_refused(ledger: str) -> None:
    append(ledger, "harbor", judgement())
    run = runs(ledger)[0].info.run_id
    client(ledger).delete_tag(run, "mergegate.merged")
    with pytest.raises(CorruptArtifactError, match="tags were changed"):
        read_ledger(ledger, "harbor")


def test_a_registry_that_does_not_answer_is_the_environment_s_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for use in (read_ledger, lambda uri, name: append(uri, name, judgement())):
        with pytest.raises(EnvironmentFault, match="the registry failed"):
            use("http://127.0.0.1:9", "harbor")


def test_showing_a_ledger_that_does_not_exist_names_the_nearest(ledger: str) -> None:
    with pytest.raises(InputError, match="Nothing was judged here yet"):
        shown_ledger(ledger, "harbor")
    append(ledger, "harbor", judgement())
    with pytest.raises(InputError, match="Did you mean harbor"):
        shown_ledger(ledger, "harbour")
    assert len(shown_ledger(ledger, "harbor")) == 1


def test_showing_a_ledger_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no registry here"):
        shown_ledger(f"sqlite:///{tmp_path}/mlflow.db", "harbor")
    assert list(tmp_path.iterdir()) == []


def stands(entries: list[Judgement], merge: str, **changes: Any) -> dict[str, Any]:
    values = {"golden": SETS, "recipe": "r1", "fixed_policy": "p1", **changes}
    return standing(entries, merge=merge, **values)


def test_the_first_candidate_is_the_first_on_every_set() -> None:
    assert stands([], "m1") == {"uses": {JSON: 1, TONE: 1}, "judged_before": []}


def test_a_new_candidate_counts_those_before_it_and_itself() -> None:
    before = [judgement("m1"), judgement("m2", recipe="r2")]
    assert stands(before, "m3", recipe="r3")["uses"] == {JSON: 3, TONE: 3}


def test_the_number_of_a_candidate_stays_however_many_come_after_it() -> None:
    alone = [judgement("m1", when=1)]
    later = [*alone, judgement("m2", recipe="r2", when=2), judgement("m3", recipe="r3", when=3)]
    assert stands(later, "m1") == stands(alone, "m1") == stands([], "m1")


def test_a_candidate_that_is_judged_again_counts_once() -> None:
    twice = [judgement("m1"), judgement("m1", policy="p2", fixed_policy="p2")]
    assert stands(twice, "m2")["uses"] == {JSON: 2, TONE: 2}


def test_the_same_recipe_with_other_weights_is_another_candidate() -> None:
    assert stands([judgement("m1"), judgement("m2")], "m3")["uses"][JSON] == 3


def test_a_fresh_set_begins_at_one_and_the_others_go_on() -> None:
    fresh = {"json": FRESH, "tone": TONE}
    assert stands([judgement("m1")], "m2", golden=fresh)["uses"] == {FRESH: 1, TONE: 2}


def test_a_set_that_two_skills_share_is_used_once_by_a_candidate() -> None:
    shared = {"json": JSON, "tone": JSON}
    assert stands([judgement("m1", golden=shared)], "m2", golden=shared)["uses"] == {JSON: 2}


def test_a_policy_that_was_changed_after_a_refusal_is_told() -> None:
    refused = judgement("m1", policy="strict", fixed_policy="strict", when=DAY)
    assert stands([refused], "m1", fixed_policy="loose")["judged_before"] == [
        {
            "candidate": "tuned",
            "day": "1970-01-02",
            "fixed_policy": "strict",
            "outcome": "reject",
            "policy": "strict",
            "same": "weights",
        }
    ]


def test_the_same_recipe_under_another_policy_is_told_as_such() -> None:
    (told,) = stands([judgement("m1")], "m2", fixed_policy="loose")["judged_before"]
    assert told["same"] == "recipe"


@pytest.mark.parametrize(
    "entry",
    [
        judgement("m1", policy="p1-with-waiver"),  # a waiver answers a result
        judgement("m2", recipe="r2", policy="p2", fixed_policy="p2"),  # another candidate
        judgement("m1", policy="p2", fixed_policy="p2", golden={"json": FRESH}),  # other examples
    ],
)
def test_what_says_nothing_of_a_loosened_policy_is_not_told(entry: Judgement) -> None:
    assert stands([entry], "m1")["judged_before"] == []


def test_what_came_after_the_first_judgement_is_not_told_of_it() -> None:
    entries = [judgement("m1", when=1), judgement("m1", policy="p2", fixed_policy="p2", when=2)]
    assert stands(entries, "m1")["judged_before"] == []
    assert len(stands(entries, "m1", fixed_policy="p2")["judged_before"]) == 1


def test_one_line_is_told_of_each_policy_and_outcome() -> None:
    weekly = [judgement(f"m{week}", when=week * DAY) for week in range(1, 20)]
    told = stands(weekly, "m99", fixed_policy="p2")["judged_before"]
    assert [one["day"] for one in told] == ["1970-01-02"]


def test_candidates_on_a_set_come_in_the_order_of_their_first_use() -> None:
    entries = [judgement("m2"), judgement("m1"), judgement("m2", outcome="promote")]
    assert [one.merge for one in candidates_on(entries)[JSON]] == ["m2", "m1"]


def test_the_documented_chances_are_those_of_the_formula() -> None:
    from scipy.stats import norm

    text = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    rows = [line.strip("|").split("|") for line in text.splitlines() if " point" in line]
    found = [[int(cell.split()[0]) for cell in row] for row in rows if len(row) == 7]
    assert len(found) == 9
    for samples, points, *chances in found:
        least = points / 100 / (0.12 / samples) ** 0.5
        computed = [100 * (1 - norm.cdf(least) ** k) for k in (1, 5, 10, 20, 50)]
        assert chances == [round(chance) for chance in computed]
    passing = [round(100 * (1 - 0.95**k)) for k in (5, 10, 20, 50)]
    said = "{} % for 5 candidates, {} % for 10, {} % for 20\nand {} % for 50".format(*passing)
    assert said in text
