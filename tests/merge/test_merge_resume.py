"""An interrupted merge goes on: what is there is verified and used, and the bytes are those of one that ran through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import contents, run

from pipeline.errors import EnvironmentFault
from pipeline.merge import engine, journal, safetensors_writer

RECIPE = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": m, "parameters": {"weight": 0.5, "density": 0.4}} for m in "xy"],
}
PART = Path(".out.part")


@pytest.fixture
def computed(model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models to merge, every tensor noted in the journal, and the names of the tensors that are computed."""
    for seed, name in enumerate(("base", "x", "y")):
        model(name, seed)
    monkeypatch.setattr(journal, "_NOTED", 0)
    names: list[str] = []
    compute = engine.compute

    def counted(plan: Any, step: Any, *rest: Any) -> None:
        names.append(step.name)
        compute(plan, step, *rest)

    monkeypatch.setattr(engine, "compute", counted)
    return names


def interrupt(after: int, **options: Any) -> None:
    """Start the merge and stop it when so many bytes are done."""

    def stop(done: int, _: int) -> None:
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options={"progress": stop, "threads": 1, **options}, **RECIPE)
    assert not Path("out").exists()
    assert PART.is_dir()


def test_what_is_there_is_not_computed_again(computed: list[str]) -> None:
    run("whole", **RECIPE)
    everything = len(computed)
    interrupt(9000)
    begun = computed[everything:]
    assert 0 < len(begun) < everything
    run(**RECIPE)
    again = computed[everything + len(begun) :]
    assert len(again) == everything - len(begun)
    assert contents("out") == contents("whole")
    assert not PART.exists()


@pytest.mark.parametrize("shard_bytes", [3000, 10**9])
def test_bytes_that_changed_meanwhile_are_found(computed: list[str], shard_bytes: int) -> None:
    run("whole", options={"shard_bytes": shard_bytes}, **RECIPE)
    interrupt(9000, shard_bytes=shard_bytes)
    first = min(PART.glob("model*.safetensors"))
    data = bytearray(first.read_bytes())
    data[-1 if shard_bytes == 3000 else 4000] ^= 1
    first.write_bytes(data)
    run(options={"shard_bytes": shard_bytes}, **RECIPE)
    assert contents("out") == contents("whole")
    assert computed


@pytest.mark.parametrize("change", ["seed", "recipe", "source", "shards"])
def test_another_merge_does_not_go_on_from_it(
    computed: list[str], change: str, model: Callable[..., Any]
) -> None:
    interrupt(9000)
    before = len(computed)
    recipe = {**RECIPE, "parameters": {"lambda": 0.5}} if change == "recipe" else RECIPE
    options = {"seed": {"seed": 1}, "shards": {"shard_bytes": 3000}}.get(change, {})
    if change == "source":
        Path("y/model.safetensors").write_bytes(Path("base/model.safetensors").read_bytes())
    run(options=options, **recipe)
    assert len(computed) - before == 29
    assert not PART.exists()


def test_a_journal_cut_in_the_middle_of_a_line_still_serves(computed: list[str]) -> None:
    run("whole", **RECIPE)
    interrupt(9000)
    notes = PART / journal.JOURNAL
    notes.write_text(notes.read_text()[:-20])
    run(**RECIPE)
    assert contents("out") == contents("whole")
    assert computed


def test_a_disk_that_fills_up_leaves_what_was_written(
    computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("whole", **RECIPE)
    write, left = safetensors_writer._write_at, [12]

    def fills(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise EnvironmentFault("No space left on device")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors_writer, "_write_at", fills)
        with pytest.raises(EnvironmentFault):
            run(options={"threads": 1}, **RECIPE)
    before = len(computed)
    run(**RECIPE)
    assert len(computed) - before < 29
    assert contents("out") == contents("whole")


def test_bad_input_leaves_nothing_to_go_on_from(computed: list[str]) -> None:
    tensors = load_file("y/model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * float("nan")
    save_file(tensors, "y/model.safetensors", {"format": "pt"})
    with pytest.raises(Exception, match=r"y: model\.norm\.weight has infinite or undefined"):
        run(**RECIPE)
    assert not PART.exists()
    assert computed
