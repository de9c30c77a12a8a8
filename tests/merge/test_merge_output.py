"""The output as bytes: the same for any threads and shards, whole or absent, never at another's cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from tiny_models import contents, recipe_of, run, weights
from torch import Tensor

from pipeline.errors import EnvironmentFault, InputError
from pipeline.merge import merge
from pipeline.merge.safetensors_writer import ShardWriter, TensorSpec, lay_out
from pipeline.sources import open_source, read_header

Write = Callable[..., dict[str, Tensor]]
DARE: dict[str, Any] = {
    "merge_method": "dare_ties",
    "base_model": "base",
    "models": [
        {"model": "x", "parameters": {"weight": 0.5, "density": 0.5}},
        {"model": "y", "parameters": {"weight": 0.7, "density": 0.8}},
    ],
}


@pytest.fixture
def family(model: Write) -> None:
    for seed, name in enumerate(("base", "x", "y")):
        model(name, seed)


@pytest.mark.usefixtures("family")
def test_the_bytes_are_the_same_for_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)  # what the caller had set must not matter either
        run(f"out{threads}", options={"threads": threads, "seed": 1}, **DARE)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert contents("out1") == contents("out2") == contents("out5")


@pytest.mark.usefixtures("family")
def test_shards_change_files_and_no_tensor() -> None:
    run("one", **DARE)
    report = run("many", options={"shard_bytes": 5000, "threads": 3}, **DARE)
    assert len(report.shards) > 3
    assert report.shards[0] == f"model-00001-of-{len(report.shards):05}.safetensors"
    one, many = weights("one"), weights("many")
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


@pytest.mark.usefixtures("family")
def test_the_index_names_each_tensor_and_transformers_reads_it() -> None:
    from transformers import AutoModelForCausalLM

    run("many", options={"shard_bytes": 5000}, **DARE)
    index = json.loads(Path("many/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in weights("many").values())
    for name, file in index["weight_map"].items():
        with safe_open(Path("many") / file, "pt") as shard:
            assert name in shard.keys()  # noqa: SIM118 - safe_open is no mapping
    network = AutoModelForCausalLM.from_pretrained("many")
    assert torch.equal(network.model.norm.weight, weights("many")["model.norm.weight"])


def test_no_shard_exceeds_its_limit_unless_one_tensor_does() -> None:
    specs = [TensorSpec(f"t{i}", "F32", (size,)) for i, size in enumerate((5, 5, 20, 1, 1, 8, 2))]
    shards = lay_out(specs, 40)
    assert [list(shard.starts) for shard in shards] == [
        ["t0", "t1"],
        ["t2"],
        ["t3", "t4", "t5"],
        ["t6"],
    ]


def test_tensors_lie_at_multiples_of_their_element_size(tmp_path: Path) -> None:
    values = {
        "a": torch.ones(3, dtype=torch.bool),
        "b": torch.ones(3, dtype=torch.bfloat16),
        "c": torch.ones(3, dtype=torch.float64),
        "d": torch.tensor(2.0),
        "e": torch.empty(0, 4),
    }
    names = {"a": "BOOL", "b": "BF16", "c": "F64", "d": "F32", "e": "F32"}
    specs = [TensorSpec(name, names[name], tuple(v.shape)) for name, v in values.items()]
    with ShardWriter(tmp_path, lay_out(specs, 10**9)) as writer:
        for name, value in reversed(values.items()):
            writer.write(name, 0, value)
    for info in read_header(tmp_path / "model.safetensors"):
        assert info.start % values[info.name].element_size() == 0
    found = weights(str(tmp_path))
    assert all(torch.equal(found[name], value) for name, value in values.items())


@pytest.mark.usefixtures("family")
def test_merge_json_holds_what_decides_the_bytes_and_nothing_of_the_moment() -> None:
    run("a", options={"seed": 3}, **DARE)
    record = json.loads(Path("a/merge.json").read_text())
    assert record["seed"] == 3
    assert record["recipe"]["digest"] == recipe_of(**DARE).digest
    assert [source["reference"] for source in record["sources"]] == ["base", "x", "y"]
    assert len(record["sources"][1]["model"]["files"]["model.safetensors"]) == 64
    assert str(Path.cwd()) not in Path("a/merge.json").read_text()


@pytest.mark.usefixtures("family")
def test_an_existing_merge_is_refused_without_force_and_replaced_with_it() -> None:
    run(**DARE)
    first = contents("out")
    with pytest.raises(InputError, match=r"out: already holds a merge\. .* --force"):
        run(options={"seed": 1}, **DARE)
    assert contents("out") == first
    run(options={"seed": 1, "force": True}, **DARE)
    assert contents("out") != first
    assert sorted(p.name for p in Path().iterdir()) == ["base", "out", "x", "y"]


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_merge_is_never_replaced(force: bool) -> None:
    Path("out").mkdir()
    (Path("out") / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a merge"):
        run(options={"force": force}, **DARE)
    assert contents("out") == {"thesis.txt": b"mine"}


@pytest.mark.usefixtures("family")
def test_an_empty_folder_is_filled() -> None:
    Path("out").mkdir()
    run(**DARE)
    assert Path("out/merge.json").is_file()


@pytest.mark.usefixtures("family")
def test_a_source_is_never_replaced_by_its_own_merge() -> None:
    run("first", merge_method="passthrough", models=["x"])
    with pytest.raises(InputError, match="first: holds the source first"):
        run("first", merge_method="passthrough", models=["first"], options={"force": True})


@pytest.mark.usefixtures("family")
def test_a_failed_merge_leaves_nothing_and_keeps_the_old_one() -> None:
    run(**DARE)
    before = contents("out")

    def fail(done: int, _: int) -> None:
        if done > 5000:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        run(options={"force": True, "seed": 9, "progress": fail}, **DARE)
    assert contents("out") == before
    assert sorted(p.name for p in Path().iterdir()) == ["base", "out", "x", "y"]


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.merge import merge
from pipeline.recipe import load_recipe
from pipeline.sources import open_source
recipe = load_recipe(Path("recipe.yaml"))
def die(done, all):
    if done > 7000:
        os.kill(os.getpid(), signal.SIGKILL)
sources = {r: open_source(r) for r in recipe.references()}
merge(recipe, sources, Path("out"), progress=die if sys.argv[1] == "die" else None)
"""


@pytest.mark.usefixtures("family")
def test_a_killed_merge_leaves_nothing_under_the_name_and_the_next_is_whole() -> None:
    Path("recipe.yaml").write_text(recipe_of(**DARE).text)

    def start(how: str) -> int:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-c", KILLED, how], env=environment).returncode

    assert start("die") == -signal.SIGKILL
    assert not Path("out").exists()
    assert Path(".out.part").is_dir()
    assert start("live") == 0
    assert not Path(".out.part").exists()
    run("again", **DARE)
    assert contents("out") == contents("again")


@pytest.mark.usefixtures("family")
def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free=1000))
    with pytest.raises(EnvironmentFault, match=r"the merge needs [\d,]+ bytes, .* has 1,000 free"):
        run(**DARE)
    assert sorted(p.name for p in Path().iterdir()) == ["base", "x", "y"]


@pytest.mark.usefixtures("family")
def test_a_write_that_fails_is_the_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(EnvironmentFault, match="No space left on device"):
            run(**DARE)
    assert not Path("out").exists()
    run(**DARE)
    assert sorted(p.name for p in Path().iterdir()) == ["base", "out", "x", "y"]


@pytest.mark.usefixtures("family")
def test_progress_counts_every_byte() -> None:
    seen: list[tuple[int, int]] = []
    recipe = recipe_of(**DARE)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    merge(recipe, sources, Path("out"), threads=3, progress=lambda *at: seen.append(at))
    done = sorted(done for done, _ in seen)
    assert len(set(done)) == 29
    assert {total for _, total in seen} == {done[-1]}
