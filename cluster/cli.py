"""The `dermserve` command."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from benchmarks.load import bench
from cluster.audit_command import app as audit
from cluster.doctor_command import doctor
from cluster.evaluate_command import evaluate
from cluster.import_command import import_ham10000
from cluster.keys_command import app as keys
from cluster.models_command import app as models
from cluster.package_command import package
from cluster.train_command import train
from cluster.up_command import up
from models.errors import DermServeError

app = typer.Typer(
    name="dermserve",
    help="Serve, train and look after a classifier of dermatoscopic images.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(up)
app.command()(doctor)
app.command()(import_ham10000)
app.command()(train)
app.command()(package)
app.command()(evaluate)
app.command()(bench)
app.add_typer(models, name="models")
app.add_typer(audit, name="audit")
app.add_typer(keys, name="keys")


def main() -> None:
    """Run the command line; an error of ours is one sentence, not a traceback."""
    try:
        app()
    except DermServeError as error:
        # As text, not markup: a path in the message may hold brackets.
        message = Text.assemble(("Error: ", "red"), error.message)
        Console(stderr=True).print(message, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
