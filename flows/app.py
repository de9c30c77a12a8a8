"""The application that commands are added to, and the arguments that several of them have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import environment, say
from pipeline.errors import InputError

app = typer.Typer(
    name="mergegate",
    help="Merge fine-tuned language models into one release, or refuse with evidence.",
    epilog="Examples: mergegate check recipes/harbor-tuned.yaml · mergegate merge recipes/harbor-tuned.yaml out/ · "
    "mergegate release · mergegate gate --help · mergegate status harbor-support. "
    "Exit codes: 0 done or promoted, 1 a fault of ours, 2 bad input, 3 rejected, 4 inconclusive, "
    "5 the gate could not judge, 6 the environment failed, 7 promoted but held back after a rollback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# The groups of `mergegate --help`.
RELEASE, MERGE, GATE = "Release", "Merge", "The gate alone"
AUDIT, REGISTRY = "Audit", "Registry"
PANELS = (RELEASE, MERGE, GATE, AUDIT, REGISTRY)


def given(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """`value`, or bad input where it is empty on the command line: a variable that is not set stands for no default."""
    source = context.get_parameter_source(str(parameter.name))
    if source is not None and source.name == "COMMANDLINE" and value in ("", Path()):
        raise typer.BadParameter("is empty. Name one, or leave it out.")
    return value


Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]
Recipe = Annotated[Path, typer.Argument(help="A recipe in mergekit's YAML grammar.")]
Name = Annotated[
    str,
    typer.Argument(help="The registered model; by default the one of params.yaml.", callback=given),
]
Uri = Annotated[
    str,
    typer.Option(help="MLflow tracking URI; by default the one of params.yaml.", callback=given),
]


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


def registry_of_workspace() -> str:
    """The registry of params.yaml. Raises InputError, with the options that do without, where there is none."""
    if not Path("params.yaml").is_file():
        raise InputError(
            "params.yaml: not in this folder. Run the command in a workspace, or name the registry with --uri "
            "(and the model)."
        )
    from pipeline.params import load_params

    return load_params().registry_uri
