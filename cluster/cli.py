"""The `dermserve` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from benchmarks.load import bench
from cluster.audit_command import app as audit
from cluster.deploy_command import deploy
from cluster.doctor_command import doctor
from cluster.down_command import down
from cluster.evaluate_command import evaluate
from cluster.exit_code import EXIT_CODES, ExitCode
from cluster.import_command import import_ham10000
from cluster.keys_command import app as keys
from cluster.models_command import app as models
from cluster.node_command import node
from cluster.package_command import package
from cluster.predict_command import predict
from cluster.predict_dir_command import predict_dir
from cluster.printable import printable
from cluster.retrain_command import app as retrain
from cluster.status_command import status
from cluster.train_command import train
from cluster.up_command import up
from cluster.upload_command import upload
from models.errors import DermServeError

app = typer.Typer(
    name="dermserve",
    help="Serve, train and look after a classifier of dermatoscopic images.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(up)
app.command()(down)
app.command()(node)
app.command()(status)
app.command()(deploy)
app.command()(predict)
app.command()(predict_dir)
app.command()(upload)
app.add_typer(retrain, name="retrain")
app.command()(doctor)
app.command()(import_ham10000)
app.command()(train)
app.command()(package)
app.command()(evaluate)
app.command()(bench)
app.add_typer(models, name="models")
app.add_typer(audit, name="audit")
app.add_typer(keys, name="keys")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of ours is one sentence, not a traceback.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    try:
        app(None if arguments is None else list(arguments), prog_name="dermserve")
    except DermServeError as error:
        # As text, not markup: a path in the message may hold brackets.
        message = printable(error.message, keep="\n")
        Console(stderr=True).print(Text.assemble(("Error: ", "red"), message), soft_wrap=True)
        sys.exit(getattr(error, "exit_code", ExitCode.FAILED))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
