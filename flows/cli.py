"""The command `mergegate`: arguments in, words and exit codes out. What it does is done elsewhere.

Exit codes: 0 done or promoted, 1 a fault of ours, 2 bad input, 3 rejected, 4 inconclusive, 5 the gate could not judge,
6 the environment failed. The module is long because every command has its function here, and nothing but that.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import environment, say
from pipeline.errors import InputError, MergegateError

if TYPE_CHECKING:
    from gates import Policy

app = typer.Typer(
    name="mergegate",
    help="Merge fine-tuned language models into one release, or refuse with evidence.",
    epilog="Examples: mergegate check recipes/harbor-tuned.yaml · mergegate merge recipes/harbor-tuned.yaml out/ · "
    "mergegate release · mergegate gate --help · mergegate status harbor-support. "
    "Exit codes: 0 done or promoted, 1 a fault of ours, 2 bad input, 3 rejected, 4 inconclusive, "
    "5 the gate could not judge, 6 the environment failed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# The groups of `mergegate --help`.
RELEASE, MERGE, GATE, REGISTRY = "Release", "Merge", "The gate alone", "Registry"

Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]
Recipe = Annotated[Path, typer.Argument(help="A recipe in mergekit's YAML grammar.")]
Name = Annotated[
    str, typer.Argument(help="The registered model; by default the one of params.yaml.")
]
Uri = Annotated[str, typer.Option(help="MLflow tracking URI; by default the one of params.yaml.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say.line(f"mergegate {version('mergegate')}")
        raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    environment.prepare(quiet=quiet)


@app.command(rich_help_panel=RELEASE, epilog="Example: mergegate release tuned")
def release(
    candidate: Annotated[
        str,
        typer.Argument(help="A candidate of params.yaml; by default the one that `release` names."),
    ] = "",
    json: Json = False,
) -> None:
    """Check, merge, evaluate, judge, quantize, judge again, and register what is promoted.

    Runs in a folder with params.yaml and dvc.yaml. Stages whose inputs have not changed are not run again, so a release
    that was interrupted goes on where it was. Exit code 0 means promoted, 3 rejected, 4 inconclusive, 5 cannot judge.
    """
    from flows.preflight import preflight

    preflight(candidate)
    from flows.release import release as flow  # starts Prefect, so only for what can run

    outcome = flow(candidate)
    say.as_json(outcome.to_json()) if json else say.outcome(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command(
    rich_help_panel=RELEASE,
    epilog="Example: mergegate judge --since origin/main --markdown verdict.md",
)
def judge(
    candidates: Annotated[
        list[str] | None, typer.Argument(help="Candidates of params.yaml.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Without CANDIDATES: those whose recipe differs from this git revision."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the verdicts as Markdown here.")
    ] = None,
    json: Json = False,
) -> None:
    """Run every stage of a release, but register nothing: for pull requests and for trying a recipe.

    The exit code is that of the worst verdict.
    """
    from flows.judge import chosen, to_markdown
    from flows.preflight import preflight
    from pipeline.facts import write_text

    names = chosen(candidates or [], since)
    for name in names:
        preflight(name)
    from flows.release import release as flow

    outcomes = [flow(name, register=False) for name in names]
    if markdown:
        write_text(markdown, to_markdown(outcomes))
    if json:
        say.as_json([outcome.to_json() for outcome in outcomes])
    else:
        for outcome in outcomes:
            say.outcome(outcome)
        if not outcomes:
            say.line(f"No recipe differs from {since}, so there is nothing to judge.")
    raise typer.Exit(max((outcome.exit_code for outcome in outcomes), default=0))


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


@app.command(
    rich_help_panel=GATE,
    epilog="Example: mergegate gate --policy policy.yaml --reference old.jsonl --candidate new.jsonl",
)
def gate(
    policy: Annotated[
        Path, typer.Option(help="A YAML file that holds a policy, or has one under `policy`.")
    ],
    reference: Annotated[
        Path, typer.Option(help="Scores that the candidate is compared with: a file or a folder.")
    ],
    candidate: Annotated[Path, typer.Option(help="Scores to judge: a file or a folder.")],
    skill: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|TASK=NAME",
            help="The skill of rows that name none; or the skill that a task's scores are of.",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="Scores of a further reference that the policy names."
        ),
    ] = None,
    no_latency: Annotated[
        bool,
        typer.Option("--no-latency", help="Pass over the policy's latency check, and say so."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the verdict as JSON here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write it as Markdown here.")] = None,
    json: Json = False,
) -> None:
    """Judge two files of per-sample scores, from any harness, by a policy. No model is loaded.

    Each line of a file is {"id": ..., "score": ...}, a row of mergegate's own, or a line of lm-eval's --log_samples;
    docs/gate.md has all forms. Exit code 0 means promoted, 3 rejected, 4 inconclusive, 5 cannot judge, 2 bad input.
    """
    from flows import gate as gates_alone
    from flows.record import EXIT_CODES

    verdict = gates_alone.gate(
        policy,
        reference,
        candidate,
        skills=skill or (),
        also=also or (),
        without_latency=no_latency,
        out=out,
        markdown=markdown,
    )
    if json:
        say.as_json(verdict.to_json())
    else:
        gates_alone.show(verdict, candidate.name)
    raise typer.Exit(EXIT_CODES[verdict.outcome])


@app.command(rich_help_panel=GATE, epilog="Example: mergegate power --strict")
def power(
    params: Annotated[
        Path, typer.Argument(help="A params.yaml; or a policy, with --reference.")
    ] = Path("params.yaml"),
    reference: Annotated[
        Path | None,
        typer.Option(help="Scores of the reference, where there is no golden set to count."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 4 where some margin cannot be shown.")
    ] = False,
    json: Json = False,
) -> None:
    """Say, before any compute is spent, what the golden sets can show: the smallest loss, and the examples it takes.

    For each skill: the chance to promote a candidate that is exactly as good as its reference, and how many examples
    would make it four in five. How often two models differ is taken from earlier scores in build/, or assumed.
    """
    from flows import power as planned

    checks = planned.plan(params, reference)
    say.as_json(planned.to_json(checks)) if json else planned.show(checks)
    if strict and not all(check.ok for check in checks):
        raise typer.Exit(4)


@app.command(rich_help_panel=RELEASE, epilog="Example: mergegate verdict naive")
def verdict(
    candidate: Annotated[str, typer.Argument(help="A candidate of params.yaml.")] = "",
    json: Json = False,
) -> None:
    """Show the verdict of the last release of a candidate, with its reasons and the table of variants."""
    from flows.record import read_last_outcome
    from pipeline.params import load_params

    params = load_params()
    outcome = read_last_outcome(params, candidate or params.release)
    say.as_json(outcome.to_json()) if json else say.outcome(outcome)


@app.command(rich_help_panel=GATE, epilog="Example: mergegate verify build/tuned/release")
def verify(
    release: Annotated[
        str, typer.Argument(help="A release folder, or a candidate whose release is in build/.")
    ],
    json: Json = False,
) -> None:
    """Check a release against itself: every digest, and the verdict computed again from what it stores.

    Offline, without a model, in seconds. Exit code 0 where all agrees; 2 where anything differs, with file and field.
    """
    from flows import verify as verification

    found = verification.verify(verification.find_release(release))
    say.as_json(found.to_json()) if json else verification.show(found)
    raise typer.Exit(found.exit_code)


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate status harbor-support")
def status(name: Name = "", uri: Uri = "", json: Json = False) -> None:
    """Show a registered model: its champion, the rollback target, and the history of versions."""
    from flows.record import read_status

    report = read_status(*_registry(uri, name))
    say.as_json(report) if json else say.status(report)


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate ledger harbor-support --json")
def ledger(name: Name = "", uri: Uri = "", json: Json = False) -> None:
    """Show who was judged on which golden set, when and with what outcome, and how many uses are left.

    The more merges are tried on one set, the likelier one passes by luck. How many a set may serve is said in the
    policy, under `sealed`; docs/ledger.md says how to refresh one.
    """
    from flows.ledger import read_ledger_report

    uri, name = _registry(uri, name)
    report = read_ledger_report(uri, name, _policy_of(name))
    say.as_json(report) if json else say.ledger(report)


@app.command(
    rich_help_panel=REGISTRY,
    epilog='Example: mergegate rollback harbor-support --why "tone complaints since Monday"',
)
def rollback(
    name: Name = "",
    why: Annotated[str, typer.Option(help="The reason, kept in the registry.")] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Load and probe the target, but leave the champion.")
    ] = False,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Move the champion to its rollback target, after loading the target and checking its digest.

    The target of a merge is the unmerged set: the base and the adapters, as they were released with it.
    """
    from flows.record import roll_back

    report = roll_back(*_registry(uri, name), why=why, rehearse=rehearse)
    say.as_json(report) if json else say.rolled_back(report)


@app.command(rich_help_panel=RELEASE, epilog='Example: mergegate schedule --cron "0 3 * * 1"')
def schedule(
    cron: Annotated[str, typer.Option(help="When to release: minute hour day month weekday.")],
    candidate: Annotated[str, typer.Argument(help="A candidate of params.yaml.")] = "",
) -> None:
    """Serve the release of this folder as a Prefect deployment that runs at the times of --cron, until stopped.

    Schedules are kept by a Prefect server: start one with `prefect server start` and name it in PREFECT_API_URL.
    """
    from flows.schedule import serve

    serve(cron, candidate)


def _registry(uri: str, name: str) -> tuple[str, str]:
    """The registry's URI and the model's name, from params.yaml where the command line is silent."""
    if uri and name:
        return uri, name
    from pipeline.params import load_params

    params = load_params()
    return uri or params.registry_uri, name or params.name


def _policy_of(name: str) -> Policy | None:
    """The policy of the current folder, where its params.yaml is that of the model `name`."""
    from gates import Policy
    from pipeline.params import load_params

    if not Path("params.yaml").is_file():
        return None
    params = load_params()
    return Policy.parse(params.policy, "params.yaml: policy") if params.name == name else None


def main() -> None:
    """Run the command; every failure ends in one message on standard error and its exit code."""
    # Importing torch makes several hundred thousand objects that stay; looking through them again and again while
    # they are made takes half a second of a command that takes two.
    gc.set_threshold(50_000, 20, 50)
    sys.exit(guarded(lambda: app(standalone_mode=True)))


def guarded(command: Callable[[], Any]) -> int:
    """The exit code of `command`, its failure said in words. MERGEGATE_DEBUG=1 adds the traceback."""
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except MergegateError as error:
        if os.environ.get("MERGEGATE_DEBUG"):
            traceback.print_exc()
        return say.failure(str(error), error.exit_code)
    except KeyboardInterrupt:
        return say.failure("Interrupted. Nothing is half-written; the same command goes on.", 130)
    except OSError as error:
        return say.failure(f"{error.filename or 'The machine'}: {error.strerror or error}.", 6)
    except Exception as error:
        if os.environ.get("MERGEGATE_DEBUG"):
            traceback.print_exc()
        return say.failure(
            f"A fault of mergegate's own: {type(error).__name__}: {error}. "
            "Run again with MERGEGATE_DEBUG=1 for the traceback, and report it.",
            1,
        )
    return 0
