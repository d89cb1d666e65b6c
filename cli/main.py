"""The `masktune` command."""

from __future__ import annotations

import errno
import sys

import typer

from cli import admin, checkpoints, datasets, demo, jobs, keys, run, up
from cli.embedded import EmbeddedError
from cli.errors import CliError
from cli.signals import StopRequested
from masktune_core.errors import MaskTuneError

app = typer.Typer(
    name="masktune",
    help="Repair image classifiers that learnt a shortcut: the MaskTune service, its client, and local runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("run")(run.run)
app.add_typer(keys.app, name="keys")
app.add_typer(datasets.app, name="datasets")
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(jobs.app, name="jobs")
app.add_typer(admin.app, name="admin")


def main() -> None:
    """Run the command; whatever it fails with becomes text on stderr and an exit code."""
    try:
        app()
    except StopRequested as stop:
        _fail(f"stopped by {stop}", stop.exit_code)
    except CliError as error:
        _fail(str(error), error.exit_code)
    except EmbeddedError as error:
        _fail(str(error), 1)
    except MaskTuneError as error:
        _fail(f"{error} [{error.code}]", 1)
    except OSError as error:
        _fail(_told(error), 1)


def _told(error: OSError) -> str:
    """What the system could not do, with what, and the way out where it is always the same."""
    where = f"{error.filename}: " if error.filename is not None else ""
    way_out = "; free some space, or write to another disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{where}{error.strerror or error}{way_out}"


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"masktune: {message}\n")
    sys.exit(code)
