"""Trains an experiment.

    python train.py --config=configs/digits.py --workdir=runs/digits [--config.key=value ...] [--dry_run] [--profile]
                    [--allow_config_change=key,key] [--init_from=RUN[:STEP]]
                    [--distributed | --coordinator=... --num_processes=... --process_id=...]

--config       the experiment: a Python file with get_config(), or the name of one that jaxgan brings (digits)
--config.key   changes one setting; docs/configuration.md lists and explains them all
--workdir      the run folder; runs/ and the name of the configuration if not given
--dry_run      builds everything, compiles a step, tells what it costs, and writes no run folder
--profile      traces a few dispatches into WORKDIR/profile, for TensorBoard and ui.perfetto.dev
--allow_config_change  settings, or groups of them such as optimizer, that may differ from those that the run folder
                       began with, although steps depend on them
--init_from    begins a new run with the networks of another one, whose data, classes or size may differ: arrays that
               fit by name and shape are copied, the others are listed and start afresh, as do the optimizers
--distributed  several processes train together, which find each other by SLURM, Open MPI, Kubernetes or a TPU pod
--coordinator, --num_processes, --process_id
               the same by hand: HOST:PORT of process 0, how many there are, and which one this is

The same command resumes a run that was stopped; a larger --config.steps continues a finished one.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.train())

import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import jaxgan.configs
from jaxgan import config as configuration
from jaxgan.core import multihost
from jaxgan.core import settings as declarations
from jaxgan.core.multihost import ClusterSpec
from jaxgan.core.settings import Choice
from jaxgan.errors import Parser, UserError, check_path, choose, exit_code
from jaxgan.train import Options, train

CONFIGS = Path(next(iter(jaxgan.configs.__path__)))  # those that are installed


def load_config(path: str) -> ConfigDict:
    """What the file's get_config() returns; a configuration is a Python file, so anything can go wrong in it.

    Args:
        path: of a file, or the name of one that jaxgan brings: "digits", "ring".
    """
    file = Path(path)
    if file.suffix == ".py" and not file.exists():
        brought = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.py")))
        raise UserError(f"--config={path}: there is no such file; jaxgan brings {brought}")
    if file.suffix != ".py" and not file.is_file():
        names = [str(each.relative_to(CONFIGS).with_suffix("")) for each in CONFIGS.rglob("*.py")]
        file = CONFIGS / f"{choose('configuration', path, names)}.py"
    try:
        config = runpy.run_path(str(file))["get_config"]()
    except Exception as error:
        raise UserError(f"--config={path} cannot be read ({type(error).__name__}: {str(error)[:300]})") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config() must return jaxgan.config.default() with other values")
    try:
        configuration.validate(config)
    except UserError as error:
        raise UserError(f"--config={path}: {error}") from error
    return config


def parse(argv: list[str]) -> tuple[ConfigDict, Options]:
    """The configuration and the options."""
    parser = Parser("train.py", usage=__doc__, add_help=False)
    parser.add_argument("--config", default="digits")
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--allow_config_change", default="")
    parser.add_argument("--init_from", default="", metavar="RUN[:STEP]")
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    options, overrides = parser.parse_known_args(argv)
    for argument in overrides:
        if not argument.startswith("--config."):
            parser.check_option(argument)
    notes: list[str] = []
    config = override(load_config(options.config), overrides, notes.append)
    workdir = options.workdir or Path("runs") / Path(options.config).stem
    check_path("workdir", workdir)
    cluster = ClusterSpec(options.distributed, options.coordinator, options.num_processes, options.process_id)
    switches = options.dry_run, options.profile, options.allow_config_change, options.init_from
    return config, Options(workdir, *switches, cluster, tuple(notes))


def override(config: ConfigDict, arguments: list[str], note: Callable[[str], object] = print) -> ConfigDict:
    """The configuration after --config.name=value, choices first: they decide which other settings there are.

    Args:
        config: before.
        arguments: of the command line.
        note: is called with a line about each choice whose settings were dropped.

    Raises:
        UserError: there is no such setting, or the value does not fit it.
    """
    asked = {}
    for argument in arguments:
        if not argument.startswith("--config."):
            raise UserError(f"{argument!r} is not an option: write --config.name=value (see train.py --help)")
        name, _, value = argument.removeprefix("--config.").partition("=")
        asked[name] = value
    while True:
        flat = declarations.flatten(config)
        resolved = declarations.resolve(configuration.SETTINGS, flat)
        changes = {
            name: value
            for name, value in asked.items()
            if isinstance(resolved.get(name), Choice) and flat[name] != value
        }
        if not changes:
            break
        name, value = next(iter(changes.items()))  # the first one may take others away
        config, dropped = configuration.with_changes(config, {name: value})
        lost = {other: old for other, old in dropped.items() if other not in asked}
        if lost:
            listed = ", ".join(f"config.{other}={old!r}" for other, old in lost.items())
            note(f"config.{name}={value} has no {listed}: dropped")
    for name in asked:
        declarations.check_name(configuration.SETTINGS, resolved, flat, name)
    texts = {name: value for name, value in asked.items() if len(resolved[name].types) > 1}
    values = flags.FlagValues()
    own = {f"--config.{name}={value}" for name, value in texts.items()}
    argv = ["train.py", *(argument for argument in arguments if argument not in own)]
    holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except flags.Error as error:
        raise UserError(_plain(str(error), flat)) from error
    for name, value in texts.items():
        declarations.assign(holder.value, name, int(value) if value.isdecimal() else value, resolved[name].types)
    return holder.value


def _plain(message: str, flat: Mapping[str, Any]) -> str:
    """What absl says of a value that cannot be parsed, without Python's words."""
    found = re.match(r"flag --config\.([^=]+)=(.*?): ", message, re.DOTALL)
    if found is None:
        return message
    usual = flat[found[1]]
    kind = {bool: "True or False", int: "a whole number", float: "a number"}.get(type(usual), f"like {usual!r}")
    return f"config.{found[1]}={found[2]} must be {kind}"


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    with multihost.defer_to_heartbeat():
        return multihost.shutdown(exit_code(lambda: train(*parse(argv))))
