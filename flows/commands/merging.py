"""Commands about one recipe: check, plan, diagnose, merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows import say
from flows.app import MERGE, Json, Recipe, app
from pipeline.errors import InputError


@app.command(
    rich_help_panel=MERGE, epilog="Example: mergegate check recipes/refused/chat-template.yaml"
)
def check(
    recipe: Recipe,
    every: Annotated[bool, typer.Option("--all", help="Show each finding that passes.")] = False,
    json: Json = False,
) -> None:
    """Find whether a recipe's sources belong together: shapes, tokenizer, chat template, lineage, licence.

    Exit code 2 where a finding blocks; each names the fields that differ and the way out.
    """
    from flows.single import check_recipe

    findings = check_recipe(recipe)
    say.as_json(say.findings_json(findings)) if json else say.findings(findings, every=every)
    if any(finding.blocks for finding in findings):
        raise typer.Exit(2)


@app.command(rich_help_panel=MERGE, epilog="Example: mergegate plan recipes/harbor-tuned.yaml")
def plan(
    recipe: Recipe,
    threads: Annotated[
        int | None, typer.Option(help="As for `mergegate merge`; by default one per core.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Say what a merge would read, compute and write, with memory, disk and time, from headers alone.

    Names every fault that headers show (exit code 2). `mergegate check` looks at the weights too.
    """
    from flows.single import plan_recipe

    findings, costs = plan_recipe(recipe, threads=threads)
    if json:
        say.as_json({"findings": say.findings_json(findings), "estimate": costs and asdict(costs)})
    else:
        say.findings(findings, every=False)
        if costs:
            say.estimate(costs)
    if any(finding.blocks for finding in findings):
        raise typer.Exit(2)


@app.command(
    rich_help_panel=MERGE,
    epilog="Example: mergegate diagnose recipes/harbor-tuned.yaml --png heatmap.png",
)
def diagnose(
    recipe: Recipe,
    png: Annotated[
        Path | None, typer.Option(help="Draw a heat map, layers by kinds of module, here.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Tensors read at the same time; by default one per core.", min=1),
    ] = None,
    json: Json = False,
) -> None:
    """Measure the differences of a recipe's sources from the base, and suggest a method for them.

    Norms, angles and sign conflicts of each pair, mass in the largest entries, effective ranks: by layer and kind of
    module, in one pass over the weights. Nothing is merged. A suggestion is where to begin, not a verdict.
    """
    from flows.single import diagnose_recipe

    found = diagnose_recipe(recipe, threads=threads, png=png)
    if json:
        say.as_json(found.to_json())
        return
    from pipeline.diagnose import lines

    for line in lines(found):
        say.line(line)


@app.command(
    rich_help_panel=MERGE,
    epilog="Example: mergegate merge recipes/harbor-tuned.yaml out/ --threads 2",
)
def merge(
    recipe: Recipe,
    out: Annotated[
        Path, typer.Argument(help="The folder to write; it appears only when it is whole.")
    ],
    seed: Annotated[int, typer.Option(help="Seed of the random methods (DARE, DELLA).", min=0)] = 0,
    threads: Annotated[
        int | None,
        typer.Option(help="Tensors worked on at the same time; by default one per core.", min=1),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where blocks are computed: cpu, cuda, cuda:1, ...")
    ] = "cpu",
    as_adapter: Annotated[
        int | None,
        typer.Option(
            metavar="RANK",
            help="Write a PEFT adapter over the base instead: the best of this rank, with its error.",
            min=1,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it exists.")] = False,
    json: Json = False,
) -> None:
    """Merge by a recipe into a Hugging Face checkpoint, after the checks of `mergegate check`.

    The same recipe, seed and sources give the same bytes for any number of threads. A merge that was interrupted goes
    on where it was. With --as-adapter the merged difference becomes a LoRA adapter, for servers that swap adapters.
    """
    from flows.single import merge_recipe, merge_recipe_as_adapter

    if as_adapter is not None:
        if device != "cpu":
            raise InputError("--as-adapter is computed on the CPU; leave --device out.")
        adapter = merge_recipe_as_adapter(
            recipe, out, rank=as_adapter, seed=seed, threads=threads, force=force
        )
        say.as_json({**asdict(adapter), "out": str(out)}) if json else say.adapter(adapter)
        return
    report = merge_recipe(recipe, out, seed=seed, threads=threads, device=device, force=force)
    say.as_json({**asdict(report), "out": str(out)}) if json else say.merged(report)
