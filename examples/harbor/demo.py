"""`make demo`: build the Harbor family, refuse one merge, release another, rehearse the way back, and sum up."""

from __future__ import annotations

import subprocess
import sys
import time

from rich.console import Console

from flows import environment, say
from flows.cli import guarded
from flows.record import Outcome, roll_back
from pipeline.params import load_params

EXPECTED = {"naive": "reject", "tuned": "promote"}
MORE = {
    ".venv/bin/mergegate verdict naive": "why the first was refused",
    ".venv/bin/mergegate status harbor-support": "champion, way back, history",
    "xdg-open build/tuned/release/report.html": "the report: intervals, lineage, examples",
    "less build/tuned/release/README.md": "the model card",
    ".venv/bin/mergegate verify models:/harbor-support@champion": "signature, digests, verdict, weights",
    ".venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db": "the registry's page",
    ".venv/bin/dvc metrics show": "the figures of every candidate",
}
CONSOLE = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def main() -> int:
    """0 where both verdicts and the rehearsal are as the guide's story has them; else 1."""
    environment.prepare()
    started = time.monotonic()
    step("Build the Harbor Support family: a base and its adapters, trained on the spot")
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "examples/harbor/dvc.yaml"], check=True
    )

    # After the environment is prepared: Prefect reads its settings when it is imported.
    from flows.release import release

    step("Release «naive»: plain task arithmetic, every weight 1")
    naive = release("naive")
    say.outcome(naive)
    step("Release «tuned»: TIES with tuned weights")
    tuned = release("tuned")
    say.outcome(tuned)
    if tuned.outcome == "promote":
        step("Rehearse the way back to the unmerged adapters")
        params = load_params()
        say.rolled_back(roll_back(params.registry_uri, params.name, why="", rehearse=True))
    return _summary(naive, tuned, time.monotonic() - started)


def step(title: str) -> None:
    """A heading between the parts of the demonstration."""
    CONSOLE.rule(f"[bold]{title}", align="left", style="dim")


def _summary(naive: Outcome, tuned: Outcome, seconds: float) -> int:
    step("In short")
    for ended in (naive, tuned):
        CONSOLE.print(f"{ended.candidate:>6}  {ended.sentence}")
    CONSOLE.print(f"It took {seconds:.0f} s. To see more:")
    for command, what in MORE.items():
        CONSOLE.print(f"  {command:<70} {what}")
    return int({ended.candidate: ended.outcome for ended in (naive, tuned)} != EXPECTED)


if __name__ == "__main__":
    sys.exit(guarded(lambda: sys.exit(main())))
