"""Evaluating a variant: what is asked, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.chat import token_ids
from pipeline.facts import Evaluation, digest_of, read_evaluation

SETTINGS = Settings(batch_size=4, max_new_tokens=6, system="order yes", seed=7)


@pytest.fixture
def run(model: Path, task: Path, golden: Path, tmp_path: Path) -> Any:
    """Evaluate `model` on the skill «words»; keywords change one thing."""

    def run(variant: str = "base", **changes: Any) -> Evaluation:
        arguments: dict[str, Any] = {
            "model": str(model),
            "adapter": None,
            "model_digest": "digest",
            "skills": {"words": SkillSpec(str(task), golden, ("length", "keys"))},
            "settings": SETTINGS,
            "out": tmp_path / "out",
            **changes,
        }
        return evaluate(variant, arguments.pop("model"), **arguments)

    return run


def answers(out: Path, variant: str = "base") -> list[str]:
    lines = (out / f"{variant}.answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines]


def test_answers_are_what_the_model_generates_for_the_rendered_prompt(
    run: Any, model: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run()
    tokenizer = AutoTokenizer.from_pretrained(model)
    lm = AutoModelForCausalLM.from_pretrained(model).eval()
    expected = []
    for row in rows:
        ids = torch.tensor([token_ids(tokenizer, "order yes", row["prompt"])])
        made = lm.generate(input_ids=ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
        expected.append(tokenizer.decode(made, skip_special_tokens=True))
    assert answers(tmp_path / "out") == expected
    assert len(set(expected)) > 1


def test_every_golden_row_is_scored_once_with_its_own_target(run: Any) -> None:
    evaluation = run()
    keys = [s for s in evaluation.scores if s.metric == "keys"]
    assert [s.sample_id for s in keys] == [f"words-{i:04d}" for i in range(6)]
    assert [s.score for s in keys] == [1, 2, 3, 4, 5, 6]
    assert evaluation.tasks["words"].samples == 6


def test_metric_code_that_changes_its_document_does_not_change_the_digest(
    run: Any, task: Path, rows: list[dict[str, Any]]
) -> None:
    code = task.parent / "metrics.py"
    code.write_text(
        "def process_results(doc, results):\n"
        "    return {'length': len(doc.pop('prompt')), 'keys': len(doc.pop('target'))}\n"
    )
    task.write_text(task.read_text().replace('"{{target | tojson}}"', "id"))
    assert [s.sample_digest for s in run().scores[:6]] == [digest_of(row) for row in rows]


def test_what_is_written_reads_back_the_same(run: Any, tmp_path: Path) -> None:
    assert run() == read_evaluation(tmp_path / "out" / "base.json")


def test_attributes_are_written_with_every_score_and_read_back(
    run: Any, rows: list[dict[str, Any]], golden: Path, task: Path, write_rows: Any, tmp_path: Path
) -> None:
    write_rows(golden, [{**row, "language": "de" if i < 2 else "en"} for i, row in enumerate(rows)])
    spec = SkillSpec(str(task), golden, ("length", "keys"), ("language",))
    run(skills={"words": spec})
    read = read_evaluation(tmp_path / "out" / "base.json")
    assert [dict(s.attributes)["language"] for s in read.scores] == [*(["de"] * 2 + ["en"] * 4)] * 2


def test_a_field_that_no_row_has_is_refused_before_the_model_is_read(
    run: Any, golden: Path, task: Path
) -> None:
    spec = SkillSpec(str(task), golden, ("length",), ("language",))
    with pytest.raises(InputError, match="names 'language', which row words-0000 does not have"):
        run(skills={"words": spec}, model="no such model")


def test_two_runs_write_the_same_bytes(run: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(out=tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_record_names_the_reference_and_no_folder_of_this_machine(
    run: Any, tmp_path: Path
) -> None:
    assert run(reference="acme/base@abc").model == "acme/base@abc"
    assert str(tmp_path) not in (tmp_path / "out" / "base.json").read_text()


def test_an_adapter_answers_as_the_model_it_would_merge_to(
    run: Any, model: Path, adapter: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "merged")
    run("base")
    run("expert", adapter=adapter)
    run("merged", model=str(tmp_path / "merged"))
    out = tmp_path / "out"
    assert answers(out, "expert") == answers(out, "merged") != answers(out, "base")


def test_a_limit_scores_the_first_rows_and_is_on_record(run: Any) -> None:
    evaluation = run(settings=Settings(batch_size=4, max_new_tokens=6, limit=2))
    assert {s.sample_id for s in evaluation.scores} == {"words-0000", "words-0001"}
    assert evaluation.settings["limit"] == 2


def test_a_changed_chat_template_shows_in_the_settings(
    run: Any, model: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(model, tmp_path / "changed")
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text().replace("<end> ", "<end> no "))
    digests = {run(model=str(m)).settings["prompts_digest"] for m in (model, model, changed)}
    assert len(digests) == 2


def test_evaluation_prints_nothing(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    run()
    assert capfd.readouterr() == ("", "")


def test_a_skill_is_announced_as_it_begins_and_as_it_ends(run: Any) -> None:
    lines: list[str] = []
    run(say=lines.append)
    assert lines == ["base: words: evaluating 6 samples.", "base: words: 6 samples in 0 s."]


def test_nothing_is_written_when_a_metric_fails(run: Any, task: Path, tmp_path: Path) -> None:
    code = task.parent / "metrics.py"
    code.write_text("def process_results(doc, results):\n    return {'length': 1 / 0}\n")
    with pytest.raises(InputError, match="failed on sample words-0000: ZeroDivisionError"):
        run()
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_does_not_fit_is_refused(
    run: Any, rows: list[dict[str, Any]], golden: Path, write_rows: Any
) -> None:
    rows[3]["prompt"] = " ".join(["late"] * 90)
    write_rows(golden, rows)
    with pytest.raises(InputError, match=r"1 prompts do not fit.*words:3 \(97 tokens\)"):
        run()


def test_answers_longer_than_the_model_are_refused(run: Any) -> None:
    with pytest.raises(InputError, match="max_new_tokens is 96; it must be below 96"):
        run(settings=Settings(max_new_tokens=96))


def test_a_model_whose_answers_cannot_end_is_refused(run: Any, model: Path, tmp_path: Path) -> None:
    endless = shutil.copytree(model, tmp_path / "endless")
    (endless / "generation_config.json").unlink()
    config = json.loads((endless / "config.json").read_text())
    (endless / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    with pytest.raises(InputError, match="eos_token_id, so no answer would end"):
        run(model=str(endless))


@pytest.fixture
def server() -> Iterator[str]:
    """A chat-completions server on loopback that answers with the name of the model asked for."""
    pytest.importorskip("tenacity", reason="lm-eval's API backends need `lm-eval[api]`")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = f"{asked['model']} {len(asked['messages'])}"
            reply = {"choices": [{"index": 0, "message": {"content": text}}]}
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep standard error clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1/chat/completions"
        http.shutdown()


def test_a_server_is_asked_for_the_variant_by_name(run: Any, server: str, tmp_path: Path) -> None:
    settings = Settings(
        backend="local-chat-completions",
        model_args={"model": "support-{variant}", "base_url": server},
        batch_size=1,
        max_new_tokens=6,
        system="order yes",
    )
    run("tuned", settings=settings)
    assert answers(tmp_path / "out", "tuned") == ["support-tuned 2"] * 6


def test_any_backend_of_lm_eval_is_passed_its_arguments(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.models
    from lm_eval.api import registry
    from lm_eval.api.model import LM

    class Echo(LM):
        """Answers each prompt with the arguments that it was made with."""

        def __init__(self, name: str, batch_size: int) -> None:
            super().__init__()
            self.answer = f"{name} {batch_size}"

        def generate_until(self, requests: list[Any]) -> list[str]:
            return [self.answer for _ in requests]

        def apply_chat_template(self, chat: Any, add_generation_prompt: bool = True) -> str:
            return str(chat)

        tokenizer_name = ""
        loglikelihood = loglikelihood_rolling = None

    monkeypatch.setitem(lm_eval.models.MODEL_MAPPING, "echo", "here:Echo")
    monkeypatch.setattr(registry, "get_model", {"echo": Echo}.__getitem__)
    settings = Settings(backend="echo", model_args={"name": "support-{variant}"}, batch_size=3)
    evaluation = run("tuned", settings=settings)
    assert answers(tmp_path / "out", "tuned") == ["support-tuned 3"] * 6
    assert evaluation.settings["model_args"] == {"name": "support-{variant}"}
