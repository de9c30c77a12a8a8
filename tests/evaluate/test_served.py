"""A server started for a variant has its weights, or the evaluation is refused; it ends with the evaluation."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.errors import EnvironmentFault, InputError
from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.backend import Endpoint
from pipeline.evaluate.served.folder import SERVED, one_folder
from pipeline.evaluate.served.identity import Behind
from pipeline.evaluate.served.probes import Probe, probes_of
from pipeline.evaluate.served.server import started
from pipeline.facts import Evaluation, Served, read_evaluation
from pipeline.sources import Reference, open_source

SERVER = Path(__file__).with_name("openai_server.py")
CHAT, COMPLETIONS = "local-chat-completions", "local-completions"
PROBES = tuple(
    Probe("words", text)
    for text in ("order late", "refund warm yes", "ship no queue", "cold ticket", "late late order")
)


def command(*options: str) -> str:
    """evaluate.serve with the test server."""
    words = [sys.executable, str(SERVER), "--model", "{model}", "--port", "{port}", *options]
    return shlex.join(words)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder for logs."""
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")


@pytest.fixture(scope="module")
def running(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One server of `model`, for all tests that need no server of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("shared"))
        with serve(model) as endpoint:
            yield endpoint


def as_(endpoint: Endpoint, how: str) -> Endpoint:
    """The same server, told how to answer."""
    return Endpoint(f"{endpoint.url}/{how}", endpoint.model)


def serve(model: Path, *options: str, backend: str = CHAT, timeout: int = 120) -> Any:
    return started(
        command(*options), variant="tuned", model=model, backend=backend, timeout=timeout
    )


@pytest.fixture
def run(model: Path, task: Path, golden: Path, tmp_path: Path) -> Callable[..., Evaluation]:
    """Evaluate `model` behind an endpoint."""

    def run(endpoint: Endpoint | None, backend: str = CHAT, **changes: Any) -> Evaluation:
        arguments: dict[str, Any] = {
            "model": str(model),
            "adapter": None,
            "model_digest": "digest",
            "skills": {"words": SkillSpec(str(task), golden, ("length", "keys"))},
            "settings": Settings(backend, batch_size=1, max_new_tokens=6, system="order yes"),
            "out": tmp_path / "out",
            "behind": Behind(PROBES, "", endpoint),
            **changes,
        }
        return evaluate("tuned", arguments.pop("model"), **arguments)

    return run


@pytest.mark.parametrize("backend", [CHAT, COMPLETIONS])
def test_a_served_variant_scores_as_in_process_and_its_weights_are_shown(
    run: Any, running: Endpoint, model: Path, backend: str, tmp_path: Path
) -> None:
    found = run(running, backend)
    here = run(None, "hf", behind=None, out=tmp_path / "here")
    assert [s.score for s in found.scores] == [s.score for s in here.scores]
    served = found.served
    assert served is not None
    assert (served.identity, served.faults, served.probes) == ("checked", [], len(PROBES))
    assert served.agreeing == served.tokens >= 16
    assert served.compared > 0
    assert served.largest_difference < 0.001
    assert read_evaluation(tmp_path / "out" / "tuned.json") == found
    assert here.served is None


@pytest.fixture(scope="module")
def near(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` with every weight changed a little: it gives the same answers, as quantized weights do."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(model, tmp_path_factory.mktemp("models") / "near"))
    file = folder / "model.safetensors"
    torch.manual_seed(3)
    changed = {k: v * (1 + 0.002 * torch.randn_like(v)) for k, v in load_file(file).items()}
    save_file(changed, file, metadata={"format": "pt"})
    return folder


def test_log_probabilities_tell_weights_from_those_that_answer_alike(
    run: Any, running: Endpoint, model: Path, near: Path
) -> None:
    found = run(running, behind=Behind(PROBES, "", running, ("near", near))).served
    assert (found.identity, found.apart_from) == ("checked", "near")
    akin = Behind(PROBES, "", running, ("merged", model))
    with pytest.raises(
        InputError, match=r"has the weights of .*base \(merged\), not those of .*near"
    ):
        run(running, model=str(near), behind=akin)


def test_without_log_probabilities_weights_that_answer_alike_are_not_told_apart(
    run: Any, running: Endpoint, model: Path, near: Path
) -> None:
    silent = as_(running, "no-logprobs=1")
    found = run(
        silent, model=str(near), behind=Behind(PROBES, "", silent, ("merged", model))
    ).served
    assert (found.identity, found.apart_from) == ("checked", "")


def test_other_weights_are_refused_with_the_probe_and_what_each_says(
    run: Any, running: Endpoint, model: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError,
        match=r"tuned: the server at .* does not have the weights of .*\+.*adapter.* probes differ\. "
        r"To probe 1 \(of words\) it answered .* where the weights say .* nats likelier, at most 0\.5",
    ):
        run(running, adapter=adapter)
    assert not (tmp_path / "out" / "tuned.json").exists()


def test_an_adapter_is_served_as_one_folder_that_is_gone_afterwards(
    run: Any, model: Path, adapter: Path
) -> None:
    source = open_source(Reference.parse(f"{model}+{adapter}"))
    with one_folder(source, "d" * 64, Path("hashes.json")) as folder:
        assert folder == SERVED / ("d" * 32)
        with serve(folder.absolute()) as endpoint:
            found = run(endpoint, adapter=adapter)
    assert found.served
    assert found.served.identity == "checked"
    assert not folder.exists()


@pytest.mark.parametrize("text", ["order order order", "", "Hello, how may I help?"])
def test_a_stub_that_always_says_the_same_is_refused(
    run: Any, running: Endpoint, text: str
) -> None:
    with pytest.raises(InputError, match=r"does not have the weights"):
        run(as_(running, f"say={quote(text)}"))


def test_another_chat_template_is_refused(run: Any, running: Endpoint) -> None:
    with pytest.raises(
        InputError, match=r"it counts \d+ tokens in the prompt, and the chat template"
    ):
        run(as_(running, "extra=1"))


def test_log_probabilities_are_compared_only_where_a_server_gives_them(
    run: Any, running: Endpoint
) -> None:
    served = run(as_(running, "no-logprobs=1")).served
    assert (served.identity, served.compared, served.largest_difference) == ("checked", 0, 0.0)


def test_an_engine_of_half_precision_has_the_same_weights(run: Any, running: Endpoint) -> None:
    served = run(as_(running, "dtype=bfloat16")).served
    assert served.identity == "checked"
    assert 0 < served.largest_difference < served.limit


def test_an_answer_without_text_is_not_scored_as_an_empty_one(run: Any, running: Endpoint) -> None:
    silent = Behind((), "Ann Lee", as_(running, "silent=1"))
    with pytest.raises(InputError, match=r"the server gave an answer without a text"):
        run(None, behind=silent)


def test_who_vouches_is_recorded_and_nothing_is_asked(run: Any, running: Endpoint) -> None:
    found = run(None, behind=Behind((), "Ann Lee", as_(running, "say=order")))
    assert found.served == Served("trusted", by="Ann Lee")


def test_without_probes_or_a_person_nothing_is_known(run: Any, running: Endpoint) -> None:
    found = run(running, behind=Behind(endpoint=running))
    assert found.served == Served("unidentified")


def test_a_log_likelihood_over_chat_ends_in_words(run: Any, running: Endpoint, task: Path) -> None:
    task.write_text(
        task.read_text()
        .replace(
            "output_type: generate_until",
            "output_type: multiple_choice\ndoc_to_choice: ['order', 'late']",
        )
        .replace('doc_to_target: "{{target | tojson}}"', "doc_to_target: 0")
        .partition("process_results")[0]
        + "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    )
    golden = next(task.parents[2].glob("*.jsonl"))
    skills = {"words": SkillSpec(str(task), golden, ("acc",))}
    with pytest.raises(
        InputError, match=r"evaluate\.skills\.words asks for something that local-chat"
    ):
        run(running, skills=skills)
    assert run(running, COMPLETIONS, skills=skills).scores


@pytest.mark.parametrize("concurrent", [1, 4])
@pytest.mark.parametrize("trusted", ["", "Ann Lee"])
def test_a_server_that_cannot_be_reached_is_a_fault_of_the_environment(
    run: Any, concurrent: int, trusted: str
) -> None:
    nowhere = Endpoint("http://127.0.0.1:9", "x")
    arguments = {"num_concurrent": concurrent, "max_retries": 1}
    settings = Settings(CHAT, arguments, batch_size=1, max_new_tokens=6)
    with pytest.raises(EnvironmentFault, match=r"server behind local-chat-completions failed"):
        run(None, settings=settings, behind=Behind(PROBES, trusted, nowhere))


def test_a_request_that_is_refused_is_input(run: Any, running: Endpoint) -> None:
    with pytest.raises(InputError, match=r"refuses a request .*404.*no such path"):
        run(as_(running, "gone=1"))


def test_requests_beside_each_other_give_the_same_scores(
    run: Any, running: Endpoint, tmp_path: Path
) -> None:
    settings = Settings(CHAT, {"num_concurrent": 4}, 1, max_new_tokens=6, system="order yes")
    beside = run(running, settings=settings, out=tmp_path / "beside")
    assert beside.scores == run(running).scores


def test_weights_that_do_not_fit_into_the_memory_need_a_person(
    run: Any, running: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluate.served.weights.memory", lambda: 1000)
    with pytest.raises(
        InputError, match=r"GB as float32, .* `evaluate\.served_by: \{trusted: NAME\}`"
    ):
        run(running)


def test_a_server_without_health_and_models_is_waited_for_by_a_completion(model: Path) -> None:
    with serve(model, "--bare") as endpoint:
        assert endpoint.model == "tuned"


def test_a_model_is_asked_for_by_its_variant_where_several_are_listed(model: Path) -> None:
    with serve(model, "--names", "base", "tuned") as endpoint:
        assert endpoint.model == "tuned"
    with (
        pytest.raises(InputError, match=r"lists the models base, json, and it is not clear which"),
        serve(model, "--names", "base", "json"),
    ):
        pass


def test_a_server_that_ends_early_is_told_with_its_last_words(model: Path) -> None:
    with (
        pytest.raises(
            EnvironmentFault,
            match=r"(?s)The server of tuned ended with exit code 1\. The last lines of "
            r"\.mergegate/logs/serve-tuned\.log:\n  loading .*\n  no accelerator was found",
        ),
        serve(model, "--fail"),
    ):
        pass


def test_a_server_that_dies_in_the_evaluation_is_told_with_its_last_words(
    run: Any, model: Path, rows: list[dict[str, Any]]
) -> None:
    with (
        pytest.raises(EnvironmentFault, match=r"(?s)exit code 3.*out of memory"),
        serve(model, "--die-at", rows[4]["prompt"]) as endpoint,
    ):
        run(endpoint)


def test_a_server_that_never_answers_is_waited_for_with_patience_that_ends(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(
            EnvironmentFault, match=r"did not answer .* within 1 s, evaluate.serve_timeout"
        ),
        serve(model, "--never", timeout=1),
    ):
        pass
    assert "tuned: waiting for its server at http://127.0.0.1:" in capsys.readouterr().err


def test_an_ended_evaluation_leaves_no_process_of_its_server(model: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    with serve(model, "--child", str(child)):
        assert alive(int(child.read_text()))
    assert not alive(int(child.read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_evaluation_leaves_no_process_of_its_server(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    child = tmp_path / "child"
    code = (
        "import time; from pathlib import Path; from pipeline.evaluate.served.server import started\n"
        f"with started({command('--child', str(child))!r}, variant='tuned', model=Path({str(model)!r}), "
        f"backend={CHAT!r}, timeout=120):\n"
        "    print('serving', flush=True); time.sleep(600)\n"
    )
    stage = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert stage.stdout
    assert stage.stdout.readline() == "serving\n"
    servers = [int(child.read_text()), *processes(str(child))]
    assert len(servers) == 3  # its child, its keeper, itself
    stage.send_signal(number)
    stage.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, servers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, servers))


def test_probes_are_of_every_skill_and_of_the_set_that_is_preferred(tmp_path: Path) -> None:
    for name in ("tune/a", "test/a", "test/b"):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        rows = [{"id": f"{i}", "prompt": f"{name} {i}", "target": "x"} for i in range(3)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = {
        skill: [tmp_path / split / f"{skill}.jsonl" for split in ("tune", "test")]
        for skill in ("a", "b")
    }
    assert [probe.prompt for probe in probes_of(sets, 3)] == ["tune/a 0", "test/b 0", "tune/a 1"]
    assert len(probes_of({})) == 16  # tasks of lm-eval's own have no golden sets


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes(argument: str) -> list[int]:
    """The processes with an argument on their command line, this one excepted."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if argument in words and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found
