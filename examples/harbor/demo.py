"""`make demo`: build the Harbor family, refuse one merge, release another, rehearse the way back, and sum up."""

from __future__ import annotations

import subprocess
import sys
import time

from rich.console import Console

from flows import environment, say

EXPECTED = {"naive": "reject", "tuned": "promote"}
CONSOLE = Console(highlight=False)


def main() -> int:
    """0 where both verdicts and the rehearsal are as the guide's story has them; else 1."""
    environment.prepare()
    started = time.monotonic()
    step("Build the Harbor Support family: a base and its adapters, trained on the spot")
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "examples/harbor/dvc.yaml"], check=True
    )

    # After the environment is prepared: Prefect reads its settings when it is imported.
    from flows.record import roll_back
    from flows.release import release
    from pipeline.params import load_params

    step("Release «naive»: plain task arithmetic, every weight 1")
    naive = release("naive")
    say.outcome(naive)
    step("Release «tuned»: TIES with tuned weights")
    tuned = release("tuned")
    say.outcome(tuned)
    step("Rehearse the way back to the unmerged adapters")
    params = load_params()
    report = roll_back(params.registry_uri, params.name, why="", rehearse=True)
    say.rolled_back(report)
    return _summary(naive.outcome, tuned.outcome, time.monotonic() - started)


def step(title: str) -> None:
    """A heading between the parts of the demonstration."""
    CONSOLE.rule(f"[bold]{title}", align="left", style="dim")


def _summary(naive: str, tuned: str, seconds: float) -> int:
    CONSOLE.rule("[bold]In short", align="left", style="dim")
    CONSOLE.print(f"naive: {naive}; tuned: {tuned}; {seconds:.0f} s. To see more:")
    for command, what in (
        ("mergegate verdict naive", "why it was refused"),
        ("mergegate status harbor-support", "champion, rollback target, history"),
        ("less build/tuned/release/README.md", "the model card"),
        ("mlflow ui --backend-store-uri sqlite:///mlflow.db", "the registry's page, on localhost:5000"),
        ("dvc metrics show", "the figures of every candidate"),
    ):
        CONSOLE.print(f"  .venv/bin/{command:<52} {what}" if not command.startswith("less") else f"  {command:<62} {what}")
    return int({"naive": naive, "tuned": tuned} != EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
