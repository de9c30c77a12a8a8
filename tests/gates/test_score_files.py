"""Files of scores: the forms that are read, and the words for whatever is not one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gates import judge, score_lines
from gates.score_columns import general_scores
from gates.score_files import read_scores
from gates.score_rows import UNCHECKED, Asked, RowError, general_score
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import Evaluation, Score, TaskFacts, write_evaluation

ASKED = Asked(metrics={"json": "exact"}, groupings={"json": ()}, skill="json")
GROUPED = replace(ASKED, groupings={"json": ("language",)})
TIME = "2026-11-22T12-44-01.638681"


def written(folder: Path, *rows: Any, name: str = "scores.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def only(folder: Path, row: Mapping[str, Any], asked: Asked = ASKED) -> Score:
    """The one score of a file with that row."""
    (score,) = read_scores(written(folder, row), asked).scores
    return score


def refusal(folder: Path, content: bytes, asked: Asked = ASKED) -> str:
    path = folder / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_scores(path, asked)
    return str(caught.value).replace(f"{folder}/", "")


def logged(number: int, value: Any = 1.0, **more: Any) -> dict[str, Any]:
    """A line as lm-eval 0.4.13 writes it with --log_samples."""
    return {
        "doc_id": number,
        "doc": {"id": f"q{number}", "question": "?", "language": "de" if number % 2 else "en"},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": "?", "arg_1": {"until": ["\n"]}}},
        "resps": [["4"]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": ["exact"],
        "doc_hash": f"doc {number}",
        "prompt_hash": f"prompt {number}",
        "target_hash": f"target {number}",
        "exact": value,
        **more,
    }


def results(**more: Any) -> dict[str, Any]:
    """The results beside the log, as far as they are read."""
    return {
        "lm_eval_version": "0.4.13",
        "config": {
            "model": "hf",
            "model_args": {"pretrained": "x"},
            "gen_kwargs": {},
            "limit": None,
        },
        "configs": {"json": {"task": "json", "num_fewshot": 0, "metadata": {"pretrained": "x"}}},
        "versions": {"json": 1.0},
        "n-samples": {"json": {"original": 2, "effective": 2}},
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template_sha": "abc",
        **more,
    }


def run_of_lm_eval(folder: Path, *rows: Any, task: str = "json", **more: Any) -> Path:
    written(folder, *rows, name=f"samples_{task}_{TIME}.jsonl")
    (folder / f"results_{TIME}.json").write_text(json.dumps(results(**more)))
    return folder


# General rows


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"id": "a", "score": 0.5}, Score("json", "exact", "a", UNCHECKED, 0.5)),
        ({"id": "a", "exact": 1}, Score("json", "exact", "a", UNCHECKED, 1.0)),
        ({"id": "a", "exact": 1, "score": 9}, Score("json", "exact", "a", UNCHECKED, 1.0)),
        ({"id": 17, "exact": True}, Score("json", "exact", "17", UNCHECKED, 1.0)),
        ({"sample_id": "a", "score": 0, "digest": "d"}, Score("json", "exact", "a", "d", 0.0)),
        ({"id": "a", "metric": "f1", "score": 0.5}, Score("json", "f1", "a", UNCHECKED, 0.5)),
        ({"id": "a", "skill": "tone", "metric": "m", "score": 2}, Score("tone", "m", "a", UNCHECKED, 2.0)),
        (
            {"skill": "json", "metric": "exact", "sample_id": "a", "sample_digest": "d", "score": 1.0},
            Score("json", "exact", "a", "d", 1.0),
        ),
        (
            {"id": "a", "score": 1.0, "attributes": {"n": 3, "language": "de", "ok": True}},
            Score("json", "exact", "a", UNCHECKED, 1.0, (("language", "de"), ("n", "3"), ("ok", "true"))),
        ),
    ],
)  # fmt: skip
def test_a_general_row_is_a_score(row: dict[str, Any], score: Score, tmp_path: Path) -> None:
    assert only(tmp_path, row) == score


def test_a_prompt_says_what_was_asked(tmp_path: Path) -> None:
    first, again, other = (
        only(tmp_path, {"id": "a", "score": 1, "prompt": prompt}).sample_digest
        for prompt in ("2 + 2?", "2 + 2?", [{"role": "user", "content": "2 + 2?"}])
    )
    assert first == again != other
    assert UNCHECKED not in (first, other)


def test_fields_that_the_policy_groups_by_become_attributes(tmp_path: Path) -> None:
    row = {"id": "a", "score": 1, "language": "de", "model": "x"}
    assert only(tmp_path, row, GROUPED).attributes == (("language", "de"),)
    assert only(tmp_path, row).attributes == ()


def test_names_in_files_may_stand_for_skills(tmp_path: Path) -> None:
    asked = replace(ASKED, tasks={"tool_calls": "json"}, met=set())
    assert only(tmp_path, {"id": "a", "skill": "tool_calls", "score": 1}, asked).skill == "json"
    assert asked.met == {"tool_calls"}


def test_a_skill_of_which_the_policy_knows_nothing_is_reported_without_a_score(
    tmp_path: Path,
) -> None:
    side = read_scores(written(tmp_path, {"id": "a", "skill": "jsn", "loss": 1}), ASKED)
    assert side.scores == []
    assert set(side.tasks) == {"jsn"}


def test_nan_and_infinities_are_read_for_the_gate_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"id":"a","score":NaN}\n{"id":"b","score":-Infinity}\n{"id":"c","score":1e999}'
    )
    found = [repr(score.score) for score in read_scores(path, ASKED).scores]
    assert found == ["nan", "-inf", "inf"]


def test_blank_lines_windows_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain = b'{"id":"a","score":1.0}\n{"id":"b","score":0.0}\n'
    path = tmp_path / "s.jsonl"
    path.write_bytes(plain)
    expected = read_scores(path, ASKED).scores
    for content in (
        b"\xef\xbb\xbf" + plain,
        plain.replace(b"\n", b"\r\n"),
        plain.replace(b"\n", b"\n \n"),
        plain.removesuffix(b"\n"),
    ):
        path.write_bytes(content)
        assert read_scores(path, ASKED).scores == expected


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"id":"a\u2028b","score":1}\n', encoding="utf-8")
    assert read_scores(path, ASKED).scores[0].sample_id == "a\u2028b"


def test_lines_that_span_blocks_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, *({"id": f"sample-{i}", "score": i / 100} for i in range(100)))
    expected = read_scores(path, ASKED)
    monkeypatch.setattr(score_lines, "_BLOCK", 37)
    found = read_scores(path, ASKED)
    assert found.scores == expected.scores
    assert found.digest == expected.digest


PLAIN_ROWS: list[Callable[[int], dict[str, Any]]] = [
    lambda i: {"id": f"a{i}", "score": i / 10},
    lambda i: {"id": i, "exact": i % 2 == 0},
    lambda i: {"id": i, "exact": 1, "language": "de"},
    lambda i: {"id": i, "exact": 1, "language": i % 2},
    lambda i: {"id": i, "exact": 1, "language": i % 2 == 0},
    lambda i: {"id": str(i), "score": 1, "digest": f"d{i}"},
    lambda i: {"skill": "json", "metric": f"m{i % 2}", "sample_id": "x", "sample_digest": "d", "score": 1.0},
    lambda i: {"id": i, "skill": "tone" if i % 2 else "json", "metric": "m", "score": 0.5},
    lambda i: {"id": i, "score": 1, "attributes": {"n": i}},
]  # fmt: skip


@pytest.mark.parametrize("form", PLAIN_ROWS)
@pytest.mark.parametrize("asked", [ASKED, GROUPED])
def test_rows_at_once_give_what_rows_one_by_one_give(
    form: Callable[[int], dict[str, Any]], asked: Asked
) -> None:
    rows = [form(i) for i in range(6)]
    kinds: dict[str, str] = {}
    at_once = general_scores(rows, asked, kinds)
    one_by_one = [general_score(row, asked) for row in rows]
    assert at_once == [score for _, _, score in one_by_one]
    assert [vars(score) for score in at_once] == [
        vars(score) for _, _, score in one_by_one if score
    ]
    assert kinds == {skill: kind for skill, kind, _ in one_by_one}


@pytest.mark.parametrize(
    "row",
    [
        {"id": None, "score": 1},
        {"id": "", "score": 1},
        {"id": True, "score": 1},
        {"id": "a", "score": "1"},
        {"id": "a", "score": None},
        {"id": "a", "score": [1]},
        {"id": "a", "score": 1, "digest": ""},
        {"id": "a", "score": 1, "digest": 3},
        {"id": "a", "score": 1, "skill": 3},
        {"id": "a", "score": 1, "skill": ""},
        {"id": "a", "metric": "exact", "value": 1},
        {"id": "a", "metric": 4, "score": 1},
        {"id": "a" * 1001, "score": 1},
        {"id": 10**200, "score": 1},
        {"id": "a", "exactt": 1},
        {"id": "a", "score": 1, "attributes": ["de"]},
        {"id": "a", "score": 1, "attributes": {"language": ""}},
        {"id": "a", "score": 1, "attributes": {"language": "d\ne"}},
        {"id": "a", "score": 1, "attributes": {"n": float("nan")}},
        {"score": 1},
    ],
)
def test_a_row_that_is_refused_by_itself_is_refused_among_others(row: dict[str, Any]) -> None:
    assert general_scores([row, dict(row)], ASKED, {}) is None
    with pytest.raises(RowError):
        general_score(row, ASKED)


# What is no file of scores


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "bad.jsonl: empty. Write one object with id and score on each line."),
        (b"\n \n", "bad.jsonl: empty."),
        (b"\x1f\x8b\x08rest", "bad.jsonl: compressed; plain text is read. Unpack it first."),
        (b"\x00" * 99, "bad.jsonl, line 1: not JSON"),
        (b"\x89PNG\r\n\x1a\n", "bad.jsonl, line 1: not UTF-8 text"),
        (b'{"id":"a","score":1}\n{"id":"\xe9","score":1}\n', "bad.jsonl, line 2: not UTF-8 text"),
        (b'{"id":"a","score":1}\n{"id":"b","sco', "bad.jsonl, line 2: not JSON (Unterminated"),
        (b'[{"id":"a","score":1}]', "line 1: an array, not an object. Write one object"),
        (b"17", "line 1: a number, not an object"),
        (b'{"id":"a","score":1} {"id":"b","score":1}', "line 1: something follows the object"),
        (b'{"id":"a","score":1},{"id":"b","score":1}', "line 1: something follows the object"),
        (b'{"id":"a","score":1,"id":"b"}', "line 1: the key 'id' is given twice in one object."),
        (b'{"id":"a","score":1,"x":{"y":1,"y":1}}', "line 1: the key 'y' is given twice"),
        (b'{"id":"a","score":1' + b"0" * 5000 + b"}", "line 1: a number of thousands of digits"),
        (b'{"id":"a","x":' + b"[" * 99_999 + b"]" * 99_999 + b"}", "line 1: its values are nested"),
        (b'{"id":"\\ud800","score":1}', "line 1: half of a surrogate pair"),
        (b'{"id":"a","score":"0.5"}', 'score is "0.5"; it must be one number, or true or false. Write it without'),
        (b'{"id":"a","score":null}', "line 1: score is null; it must be one number, or true or false."),
        (b'{"id":"a","exct":1}', 'no field "exact", which the policy asks of json, and no field score.'),
        (b'{"id":"a","exct":1}', "Did you mean exct?"),
        (b'{"id":"a","score":1}\n{"id":"b","score":1,"digest":"d"}', "line 2: a digest, while the rows of json"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_named_with_its_line(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, content)


def test_two_faults_that_would_cancel_out_do_not(tmp_path: Path) -> None:
    """One line holds two objects and two lines hold one, so that the numbers agree."""
    content = b'{"id":"a","score":1},{"id":"b","score":1}\n{"id":"c","score":1,"x":[1\n2]}\n'
    assert "line 1: something follows the object" in refusal(tmp_path, content)


def test_several_skills_need_to_be_named_in_the_rows(tmp_path: Path) -> None:
    asked = Asked(metrics={"json": "exact", "tone": "rubric"})
    assert "--skill NAME" in refusal(tmp_path, b'{"id":"a","score":1}', asked)


def test_a_line_and_a_file_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_lines, "_BLOCK", 100)
    monkeypatch.setattr(score_lines, "MAX_LINE", 1000)
    long = b'{"id":"a","score":1}\n{"id":"' + b"x" * 2000 + b'","score":1}'
    assert "bad.jsonl, line 2: longer than 1,000 bytes" in refusal(tmp_path, long)
    monkeypatch.setattr(score_lines, "MAX_LINES", 3)
    many = b'{"id":"a","score":1}\n' * 4
    assert "more than 3 lines; at most so many are read" in refusal(tmp_path, many)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    missing = "no such file"
    for name, words in (("pipe.jsonl", "pipe"), ("no.jsonl", missing), ("no.json", missing)):
        with pytest.raises(InputError, match=words):
            read_scores(tmp_path / name, ASKED)


# lm-eval's logs


def test_a_log_of_lm_eval_is_scores_with_ids_by_task_and_number(tmp_path: Path) -> None:
    run_of_lm_eval(tmp_path / "out", logged(0), logged(1, 0.0))
    side = read_scores(tmp_path / "out", GROUPED)
    assert [(s.skill, s.sample_id, s.score) for s in side.scores] == [
        ("json", "json:000000", 1.0),
        ("json", "json:000001", 0.0),
    ]
    assert side.scores[1].attributes == (("language", "de"),)
    assert side.scores[0].sample_digest != side.scores[1].sample_digest
    assert side.harness == "lm-eval 0.4.13"
    assert side.settings["chat_template_sha"] == "abc"
    assert side.tasks["json"].samples == 2


def test_a_log_alone_states_no_harness(tmp_path: Path) -> None:
    path = written(tmp_path, logged(0), name=f"samples_json_{TIME}.jsonl")
    side = read_scores(path, ASKED)
    assert (side.harness, side.settings, side.tasks["json"].task_digest) == ("", {}, "")


@pytest.mark.parametrize("key", ["doc_hash", "prompt_hash", "target_hash"])
def test_each_hash_of_lm_eval_counts(key: str, tmp_path: Path) -> None:
    first, other = (
        only(tmp_path, logged(0, **change)).sample_digest for change in ({}, {key: "another"})
    )
    assert first != other
    without = json.dumps(logged(0, **{key: ""})).encode()
    assert "no doc_hash, prompt_hash or target_hash" in refusal(tmp_path, without)


def test_the_model_is_no_part_of_a_task_and_its_prompts_are(tmp_path: Path) -> None:
    task = {"task": "json", "num_fewshot": 0, "process_docs": "<function f at 0x7f01>"}
    same = {**task, "metadata": {"pretrained": "y"}, "process_docs": "<function f at 0x7f99>"}
    digests = []
    for number, config in enumerate((task, same, {**task, "num_fewshot": 5})):
        folder = run_of_lm_eval(tmp_path / str(number), logged(0), configs={"json": config})
        digests.append(read_scores(folder, ASKED).tasks["json"].task_digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_metric_names_its_filter_where_there_are_several(tmp_path: Path) -> None:
    rows = [logged(0, 1.0, filter="strict"), logged(0, 0.0, filter="loose")]
    content = "\n".join(map(json.dumps, rows)).encode()
    assert "Write the metric as exact,loose or exact,strict." in refusal(tmp_path, content)
    asked = replace(ASKED, metrics={"json": "exact,strict"})
    (score,) = read_scores(written(tmp_path, *rows), asked).scores
    assert (score.metric, score.score) == ("exact,strict", 1.0)
    other = replace(ASKED, metrics={"json": "exact,strikt"})
    assert "exact,loose or exact,strict" in refusal(tmp_path, content, other)


def test_tasks_of_a_group_are_one_skill(tmp_path: Path) -> None:
    for task in ("mmlu_a", "mmlu_b"):
        written(tmp_path, logged(0), name=f"out/samples_{task}_{TIME}.jsonl")
    asked = replace(ASKED, tasks={"mmlu_a": "json", "mmlu_b": "json"})
    side = read_scores(tmp_path / "out", asked)
    assert [score.sample_id for score in side.scores] == ["mmlu_a:000000", "mmlu_b:000000"]
    assert side.tasks["json"].samples == 2


def test_a_folder_with_two_runs_is_ambiguous(tmp_path: Path) -> None:
    for time in (TIME, "2026-11-23T00-00-00.000000"):
        written(tmp_path, logged(0), name=f"out/model/samples_json_{time}.jsonl")
    with pytest.raises(InputError, match="holds 2 runs of lm-eval"):
        read_scores(tmp_path / "out", ASKED)


def test_a_folder_without_logs_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samples_TASK_TIME\.jsonl, as lm-eval writes them"):
        read_scores(tmp_path, ASKED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["acc"]}, 'no metric "exact", which the policy asks of json'),
        ({"exact": [1, 0]}, "exact is [1, 0]; it must be one number"),
        ({"doc_id": -1}, "doc_id is -1; it must be a whole number, 0 or more"),
        ({"doc_id": True}, "doc_id is true"),
        ({"doc_hash": None}, "no doc_hash, prompt_hash or target_hash"),
    ],
)
def test_a_broken_log_is_named_with_its_line(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    content = "\n".join(map(json.dumps, (logged(0), logged(1, **change)))).encode()
    assert f"bad.jsonl, line 2: {words}" in refusal(tmp_path, content)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": 3, "lm_eval_version": 1}'])
def test_results_that_do_not_read_are_refused(content: str, tmp_path: Path) -> None:
    folder = run_of_lm_eval(tmp_path / "out", logged(0))
    (folder / f"results_{TIME}.json").write_text(content)
    with pytest.raises(InputError, match="not the results of lm-eval"):
        read_scores(folder, ASKED)


# Evaluations as mergegate stores them


def stored(folder: Path) -> Path:
    evaluation = Evaluation(
        variant="json",
        model="base+json-lora",
        model_digest="abc",
        harness="lm-eval 0.4.13",
        settings={"limit": None},
        tasks={"json": TaskFacts("json", "t", "g", 1)},
        scores=(Score("json", "exact", "a", "d", 1.0),),
    )
    write_evaluation(folder, evaluation)
    return folder / "json.json"


def test_a_stored_evaluation_states_everything(tmp_path: Path) -> None:
    side = read_scores(stored(tmp_path), ASKED)
    assert (side.model_digest, side.harness) == ("abc", "lm-eval 0.4.13")
    assert side.tasks == {"json": TaskFacts("json", "t", "g", 1)}
    assert side.scores == [Score("json", "exact", "a", "d", 1.0)]


def test_its_samples_alone_are_general_rows(tmp_path: Path) -> None:
    side = read_scores(stored(tmp_path).with_name("json.samples.jsonl"), ASKED)
    assert side.scores == [Score("json", "exact", "a", "d", 1.0)]
    assert side.harness == ""


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"samples": 3}', "3", "{"])
def test_another_json_file_is_no_evaluation(content: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(CorruptArtifactError):
        read_scores(path, ASKED)


def test_changed_samples_of_a_stored_evaluation_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path)
    samples = path.with_name("json.samples.jsonl")
    samples.write_text(samples.read_text().replace("1.0", "0.0"))
    with pytest.raises(CorruptArtifactError, match="changed since"):
        read_scores(path, ASKED)


# The installed lm-eval


def test_what_the_installed_lm_eval_logs_is_read(tmp_path: Path) -> None:
    """A run of its dummy model, written by its own tracker, as `lm_eval --log_samples` does."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    data = tmp_path / "data.jsonl"
    data.write_text(
        '{"q": "1+1", "a": "lol", "language": "en"}\n{"q": "2+2", "a": "4", "language": "de"}\n'
    )
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    found = simple_evaluate(
        "dummy", tasks=[task], log_samples=True, bootstrap_iters=0, evaluation_tracker=tracker
    )
    assert found is not None
    samples = found.pop("samples")
    found.update(lm_eval_version="0.4.13")
    tracker.save_results_aggregated(results=found, samples=samples)
    tracker.save_results_samples(task_name="sums", samples=samples["sums"])
    asked = Asked({"sums": "exact_match"}, {"sums": ("language",)})
    side = read_scores(tmp_path / "out", asked)
    assert [(s.sample_id, s.score, s.attributes) for s in side.scores] == [
        ("sums:000000", 1.0, (("language", "en"),)),
        ("sums:000001", 0.0, (("language", "de"),)),
    ]
    assert side.harness == "lm-eval 0.4.13"
    assert side.tasks["sums"].samples == 2
    assert len(side.tasks["sums"].task_digest) == 64


def test_logs_under_other_names_pair_by_their_skill(tmp_path: Path) -> None:
    first, other = (
        read_scores(written(tmp_path, logged(7), name=name), ASKED).scores[0]
        for name in ("old.jsonl", "new.jsonl")
    )
    assert first == other
    assert first.sample_id == "json:000007"


def test_equal_values_of_two_types_are_two_groups(tmp_path: Path) -> None:
    rows = [{"id": i, "score": 1, "language": value} for i, value in enumerate((1, True, 1.0, "1"))]
    side = read_scores(written(tmp_path, *rows), GROUPED)
    assert [dict(s.attributes)["language"] for s in side.scores] == ["1", "true", "1.0", "1"]


def judged_run(folder: Path, direction: str, **more: Any) -> Any:
    """Two runs of lm-eval of which the second scores better, judged by a policy with that direction."""
    rule = {"metric": "exact", "reference": "old", "margin": 0.5, "floor": 0.0}
    policy = {"skills": {"json": {**rule, "direction": direction}}, "safety": {}}
    sides = []
    for name in ("old", "new"):
        (folder / name).mkdir()
        rows = [logged(i, float(name == "new" or i % 2)) for i in range(60)]
        samples = {"n-samples": {"json": {"original": 60, "effective": 60}}}
        sides.append(run_of_lm_eval(folder / name, *rows, **{**samples, **more}))
    return judge(policy, *sides)


def test_what_lm_eval_calls_worse_is_not_taken_for_better(tmp_path: Path) -> None:
    lower = {"higher_is_better": {"json": {"exact": False}}}
    with pytest.raises(InputError, match="less of exact is better, and the policy the contrary"):
        judged_run(tmp_path, "higher", **lower)


def test_a_run_with_a_limit_cannot_be_judged(tmp_path: Path) -> None:
    config = {**results()["config"], "limit": 60}
    found = judged_run(tmp_path, "higher", config=config)
    assert found.outcome == "cannot judge"
    assert "only the first 60 samples" in found.reasons[0].text
