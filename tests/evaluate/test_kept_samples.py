"""An evaluation that is killed in the middle of a skill asks only for what is missing, and writes the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.kept import SAMPLES, KeptAnswers
from pipeline.evaluate.reuse import Store
from pipeline.evaluate.tasks import SkillTask
from pipeline.evaluate.watch import count_requests
from pipeline.facts import canonical_json

ROOT = Path(__file__).parents[2]
SETTINGS = {"batch_size": 4, "max_new_tokens": 6, "system": "order yes", "seed": 7}
WORDS = ("order", "ticket", "refund", "ship", "late", "warm", "cold", "yes", "no", "queue")
CHOICE = """
task: choice
output_type: multiple_choice
dataset_path: json
test_split: test
doc_to_text: "{{prompt}}"
doc_to_choice: choices
doc_to_target: target
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
# Evaluates as the tests do, but each batch is noted in a file and takes its time.
SLOW = """
import json, sys, time
from pathlib import Path
from lm_eval.models.huggingface import HFLM
from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.reuse import Store

said = json.loads(sys.argv[1])
for name in ("_model_generate", "_model_call"):
    def slow(self, *args, _own=getattr(HFLM, name), **options):
        with open(said["log"], "a") as log:
            log.write("batch\\n")
        time.sleep(said["seconds"])
        return _own(self, *args, **options)
    setattr(HFLM, name, slow)
skills = {n: SkillSpec(s["task"], Path(s["golden"]), s["metrics"]) for n, s in said["skills"].items()}
evaluate("base", said["model"], adapter=None, model_digest="digest", skills=skills,
    settings=Settings(**said["settings"]), out=Path(said["out"]), store=Store(Path(said["store"])))
"""


@pytest.fixture
def skills(task: Path, tmp_path: Path, write_rows: Any) -> dict[str, dict[str, Any]]:
    """A skill of 22 answers, and one of 9 choices between two or three texts."""
    draw = random.Random(3)

    def rows(count: int, **fields: Callable[[], Any]) -> list[dict[str, Any]]:
        made = ({key: field() for key, field in fields.items()} for _ in range(count))
        return [{"id": f"r{i}", **row} for i, row in enumerate(made)]

    def prompt() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(2, 14)))

    answered = rows(22, prompt=prompt, target=lambda: {"yes": 1})
    chosen = rows(
        9, prompt=prompt, choices=lambda: draw.sample(WORDS, draw.randint(2, 3)), target=lambda: 1
    )
    choice = tmp_path / "evals" / "choice" / "choice.yaml"
    choice.parent.mkdir()
    choice.write_text(CHOICE)
    return {
        "words": {
            "task": str(task),
            "golden": str(write_rows(tmp_path / "words.jsonl", answered)),
            "metrics": ["length", "keys"],
        },
        "choice": {
            "task": str(choice),
            "golden": str(write_rows(tmp_path / "choice.jsonl", chosen)),
            "metrics": ["acc", "acc_norm"],
        },
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each batch that the model computes."""
    from lm_eval.models.huggingface import HFLM

    rows: list[int] = []

    def counted(own: Any) -> Any:
        def call(self: Any, *args: Any, **options: Any) -> Any:
            rows.append(len(args[0] if args else options["context"]))
            return own(self, *args, **options)

        return call

    for name in ("_model_generate", "_model_call"):
        monkeypatch.setattr(HFLM, name, counted(getattr(HFLM, name)))
    return rows


@pytest.fixture
def run(model: Path, skills: dict[str, dict[str, Any]], tmp_path: Path) -> Any:
    """Evaluate in this process; gives the bytes of the three files."""

    def run(store: Store | None, out: str = "out", **settings: Any) -> dict[str, bytes]:
        evaluate(
            "base",
            str(model),
            adapter=None,
            model_digest="digest",
            skills={
                n: SkillSpec(s["task"], Path(s["golden"]), tuple(s["metrics"]))
                for n, s in skills.items()
            },
            settings=Settings(**{**SETTINGS, **settings}),
            out=tmp_path / out,
            store=store,
        )
        return {path.name: path.read_bytes() for path in sorted((tmp_path / out).iterdir())}

    return run


def interrupted(run: Any, store: Store, monkeypatch: pytest.MonkeyPatch, after: int) -> list[bytes]:
    """End the evaluation after so many kept batches, as a kill would; gives the lines that are left."""
    add, left = KeptAnswers.add, [after]

    def added(self: KeptAnswers, batch: str, answers: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, batch, answers)

    monkeypatch.setattr(KeptAnswers, "add", added)
    with pytest.raises(KeyboardInterrupt):
        run(store)
    monkeypatch.setattr(KeptAnswers, "add", add)
    return [
        line for path in store.folder.rglob(SAMPLES) for line in path.read_bytes().splitlines(True)
    ]


def test_a_kill_in_the_middle_of_a_skill_costs_only_the_batch_that_was_under_way(
    run: Any, skills: dict[str, Any], model: Path, asked: list[int], tmp_path: Path
) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    said = {
        "log": str(log),
        "seconds": 0.3,
        "skills": skills,
        "model": str(model),
        "settings": SETTINGS,
        "out": str(tmp_path / "killed"),
        "store": str(kept),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, json.dumps(said)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().split()) >= 3):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not (tmp_path / "killed").exists()
    begun = len(log.read_text().split())
    (left,) = kept.rglob(SAMPLES)
    assert len(left.read_bytes().splitlines()) == begun - 1

    store = Store(kept)
    resumed = run(store, out="resumed")
    missing = len(asked)
    fresh = run(None, out="fresh")
    assert resumed == fresh
    assert missing == len(asked) - missing - (begun - 1)
    assert store.resumed == {"words": 4 * (begun - 1)}
    assert not store.notes
    assert not list(kept.rglob(SAMPLES))
    assert len(list(kept.rglob("result.json"))) == 2


def test_an_evaluation_interrupted_after_any_batch_asks_for_the_others_and_writes_the_same(
    run: Any, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(None)
    batches = len(asked)
    for after in range(1, batches):
        store = Store(tmp_path / f"kept-{after}")
        interrupted(run, store, monkeypatch, after)
        del asked[:]
        assert run(store) == expected
        assert len(asked) == batches - after


def _cut(line: bytes, draw: random.Random) -> bytes:
    return line[: draw.randrange(len(line) - 1)]


def _flip(line: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(line) - 1)
    return line[:at] + bytes([line[at] ^ 1 << draw.randrange(8)]) + line[at + 1 :]


def _answer(line: bytes, draw: random.Random) -> bytes:
    value = json.loads(line)
    value["answers"][0] = "altered"
    return canonical_json(value).encode() + b"\n"


def _nest(line: bytes, draw: random.Random) -> bytes:
    return b"[" * 100_000 + b"\n"


def _list(line: bytes, draw: random.Random) -> bytes:
    return b'[{"answers": 1}]\n{"batch": [], "answers": "x", "sha256": null}\nnull\n'


DAMAGES = (_cut, _flip, _answer, _nest, _list)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_line_is_dropped_and_its_batch_asked_again(
    run: Any, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    expected = run(None)
    batches = len(asked)
    draw = random.Random(damage.__name__)
    store = Store(tmp_path / "kept")
    lines = interrupted(run, store, monkeypatch, after=4)
    assert len(lines) == 4
    number = draw.randrange(4)
    lines[number] = damage(lines[number], draw)
    (path,) = store.folder.rglob(SAMPLES)
    path.write_bytes(b"".join(lines))
    del asked[:]
    assert run(store) == expected
    assert len(asked) >= batches - 3
    assert any(f"{path}: does not read back (" in note for note in store.notes)


def test_any_damage_of_the_file_changes_no_byte_of_the_evaluation(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(None)
    draw = random.Random(1)
    for number in range(6):
        store = Store(tmp_path / f"kept-{number}")
        lines = interrupted(run, store, monkeypatch, after=draw.randint(1, 9))
        for _ in range(draw.randint(0, 3)):
            at = draw.randrange(len(lines)) if lines else 0
            lines[at : at + 1] = [draw.choice(DAMAGES)(line, draw) for line in lines[at : at + 1]]
        draw.shuffle(lines)
        for path in store.folder.rglob(SAMPLES):
            path.write_bytes(b"".join(lines))
        assert run(store) == expected


def test_a_line_of_another_entry_is_dropped(tmp_path: Path) -> None:
    for key in ("one", "other"):
        kept = KeptAnswers(tmp_path / SAMPLES, key, [], 1 << 20)
        assert kept.get("batch", 2) is None
        kept.add("batch", [f"answer of {key}", "\u2028"])
        kept.close()
    kept = KeptAnswers(tmp_path / SAMPLES, "one", [], 1 << 20)
    assert kept.get("batch", 2) == ["answer of one", "\u2028"]
    assert kept.get("batch", 3) is None


def test_what_follows_a_torn_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES
    for batch in ("a", "b"):
        kept = KeptAnswers(path, "key", [], 1 << 20)
        kept.add(batch, [batch])
        kept.close()
        with path.open("ab") as file:
            file.write(b'{"answers":["to')
    notes: list[str] = []
    kept = KeptAnswers(path, "key", notes, 1 << 20)
    assert (kept.get("a", 1), kept.get("b", 1)) == (["a"], ["b"])
    assert notes == [f"{path}: does not read back (2 batches); evaluated again."]


@pytest.mark.parametrize(
    "answer", [float("-inf"), "\ud800", object()], ids=["infinity", "half a pair", "object"]
)
def test_an_answer_that_json_does_not_have_is_not_kept(tmp_path: Path, answer: Any) -> None:
    kept = KeptAnswers(tmp_path / SAMPLES, "key", [], 1 << 20)
    kept.add("a", [answer])
    kept.add("b", ["fine"])
    kept.close()
    again = KeptAnswers(tmp_path / SAMPLES, "key", [], 1 << 20)
    assert (again.get("a", 1), again.get("b", 1)) == (None, ["fine"])


def _folder(path: Path) -> None:
    path.mkdir(parents=True)


def _pipe(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize("make", [_folder, _pipe, _link], ids=lambda make: make.__name__)
def test_what_stands_in_the_place_of_the_file_costs_no_evaluation(
    run: Any, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "kept")
    expected = run(store, out="first")
    for result in store.folder.rglob("result.json"):
        folder = result.parent
        result.unlink()
        folder.rmdir()
        make(folder / SAMPLES)
    store = Store(tmp_path / "kept")
    assert run(store, out="second") == expected
    assert len(list(store.folder.rglob("result.json"))) == 2


def test_a_full_disk_costs_only_what_is_kept(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(None)
    write, tries = os.write, [0]

    def half(descriptor: int, data: bytes) -> int:
        if not data.startswith(b'{"answers"'):
            return write(descriptor, data)
        tries[0] += 1
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    assert run(Store(tmp_path / "kept")) == expected
    assert tries == [2]  # one in each skill


def test_every_request_is_counted_and_those_kept_from_before_as_done(
    run: Any,
    skills: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metered: list[Any],
) -> None:
    rows = Path(skills["choice"]["golden"]).read_text().splitlines()
    total = 22 + sum(len(json.loads(row)["choices"]) for row in rows)
    run(None)
    assert metered == [("evaluate base", done, total, "samples") for done in range(total + 1)]
    store = Store(tmp_path / "kept")
    interrupted(run, store, monkeypatch, after=2)
    del metered[:]
    run(store)
    assert [done for _, done, _, _ in metered] == [0, 4, *range(8, total + 1)]


def test_requests_of_a_limit_and_of_mutual_information_are_counted(
    run: Any, skills: dict[str, Any], metered: list[Any]
) -> None:
    task = Path(skills["choice"]["task"])
    task.write_text(
        task.read_text() + CHOICE.splitlines()[-1].replace("acc_norm", "acc_mutual_info")
    )
    run(None, limit=3)
    rows = Path(skills["choice"]["golden"]).read_text().splitlines()[:3]
    total = 3 + 2 * sum(len(json.loads(row)["choices"]) for row in rows)
    assert metered[0][2] == total
    assert metered[-1][1] == total


def test_requests_that_a_tasks_own_code_decides_are_not_counted() -> None:
    part = SimpleNamespace(get_config=lambda _: 2, OUTPUT_TYPE="multiple_choice", eval_docs=[{}])
    task = SkillTask("skill", "task", "digest", "", (), {"skill": part})
    assert count_requests(task, None) is None
    part.doc_to_choice, part._metric_fn_list = lambda _: ["a", "b", "c"], {}
    assert count_requests(task, None) == 6


def test_a_store_on_a_read_only_disk_costs_no_evaluation(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write anywhere")
    assert run(Store(folder)) == run(None)


def test_samples_of_skills_that_never_ended_are_pruned_with_the_store(tmp_path: Path) -> None:
    from pipeline.evaluate.reuse import Key

    store = Store(tmp_path / "kept", max_entries=2)
    keys = [Key({"number": number}) for number in range(3)]
    for age, key in enumerate(keys):
        with store.samples(key, "words") as kept:
            kept.add("batch", ["answer"])
        os.utime(store.folder / key.name / SAMPLES, (1_000 + age, 1_000 + age))
    store.prune()
    assert [(store.folder / key.name).exists() for key in keys] == [False, True, True]
    store.max_bytes = 1
    store.prune()
    assert not list(store.folder.iterdir())


def test_two_evaluations_of_the_same_entry_at_once_keep_whole_lines(tmp_path: Path) -> None:
    both = [KeptAnswers(tmp_path / SAMPLES, "key", [], 1 << 30) for _ in range(2)]
    for number in range(50):
        for kept in both:
            kept.add(f"batch {number}", [f"{number}" * 10_000])
    notes: list[str] = []
    found = KeptAnswers(tmp_path / SAMPLES, "key", notes, 1 << 30)
    assert all(found.get(f"batch {n}", 1) == [f"{n}" * 10_000] for n in range(50))
    assert not notes
