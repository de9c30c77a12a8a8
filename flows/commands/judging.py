"""Commands of the gate alone: gate, power."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import say
from flows.app import GATE, Json, app


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
