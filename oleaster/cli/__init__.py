"""The command line `oleaster VERB`: docs/cli.md describes every verb and its JSON.

Exit status: 0 success; 1 a check that the verb ran did not hold; 2 the work could not be done
(wrong use, bad input, a full disk), said in one sentence on stderr; 130 interrupted or terminated;
141 nobody read the output to its end.
"""

import errno
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from oleaster import __version__
from oleaster.cli import (
    accuracy,
    demo,
    designs,
    explore,
    gemm,
    hardware,
    models,
    nerf,
    report,
    reproduce,
    run,
    simulate,
    synth,
    tensors,
    waves,
)
from oleaster.cli.output import CommandError, remember_command
from oleaster.config import DesignError
from oleaster.gemm import GemmError
from oleaster.io import FileError
from oleaster.models.fetch import FetchError
from oleaster.models.formats import FormatError
from oleaster.models.nerf.field import FieldError
from oleaster.models.quantize import QuantizeError
from oleaster.plots import PlotError
from oleaster.sim.driver import DeviceError
from oleaster.sim.networks.layer import NetworkError
from oleaster.sim.performance.design import DesignFault
from oleaster.sim.performance.energy import EnergyError
from oleaster.sim.rtl.toolchain import ToolError
from oleaster.waves.file import WaveError

_OURS = (
    CommandError,
    DesignError,
    DesignFault,
    DeviceError,
    EnergyError,
    FetchError,
    FieldError,
    FileError,
    FormatError,
    GemmError,
    NetworkError,
    PlotError,
    QuantizeError,
    ToolError,
    WaveError,
)

_PYDANTIC = (
    ("Input should be a valid integer, unable to parse string as an integer", "not a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "not a number"),
    ("Input should be ", "it must be "),
)

app = typer.Typer(
    name="oleaster",
    help="Generate, simulate and verify accelerators for outlier-victim-pair transformers.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(gemm.gemm)
app.command()(tensors.quantize)
app.command()(tensors.dequantize)
app.command()(tensors.formats)
app.command()(hardware.units)
app.command()(hardware.rtl)
app.command()(hardware.cosim)
app.command()(waves.waves)
app.add_typer(models.app, name="models")
app.add_typer(nerf.app, name="nerf")
app.command()(accuracy.accuracy)
app.command()(run.run)
app.command()(simulate.simulate)
app.command()(designs.designs)
app.command()(designs.networks)
app.command()(explore.explore)
app.command()(synth.synth)
app.command()(reproduce.reproduce)
app.command()(report.report)
app.command()(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oleaster {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default the process's) and return its exit status.

    A request to terminate, as batch systems send, is an interrupt: long work saves its state.
    """
    remember_command(sys.argv[1:] if arguments is None else arguments)
    catches = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if catches else None
    try:
        return _run(arguments)
    finally:
        if catches:
            signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, standalone_mode=False) or 0
    except SystemExit:
        # Only when nobody reads our output any more; a shell's number for a broken pipe.
        return 128 + signal.SIGPIPE
    except typer.TyperException as error:
        return _wrong_use(error)
    except _ours() as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except OSError as error:
        # Files are written by functions that name them; what is left to fill is what is printed to.
        place = "standard output" if error.errno == errno.ENOSPC else None
        where = f"{error.filename or place}: " if error.filename or place else ""
        return _fail(f"{where}{error.strerror or error}")
    if status == 130:
        warnings.simplefilter("ignore")  # Amaranth's, of circuits that were cut off
        print("interrupted", file=sys.stderr)
    return int(status)


def _ours() -> tuple[type[Exception], ...]:
    late = (  # their modules are slow to import, and few verbs need them
        getattr(module, name)
        for where, name in (("hw.emit", "EmitError"), ("explore.error", "StudyError"))
        if (module := sys.modules.get(f"oleaster.{where}"))
    )
    return (*_OURS, *late)


def _wrong_use(error: typer.TyperException) -> int:
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    for theirs, ours in _PYDANTIC:
        message = message.replace(theirs, ours)
    if not message:  # called without a verb: the help has been printed
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "oleaster"
    return _fail(f"{message} (see `{command} --help`)")


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2
