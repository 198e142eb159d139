"""The command behind launch.py: flags in, one clear line out when something is wrong."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

import ltjax
from ltjax import recipes
from ltjax.exits import (
    fail,
    flag_error,
    lost,
    open_what_is_closed,
    program_with_python,
    raised_in,
    uncaught,
    unexpected,
)

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe: a Python file with get_config(); --config.FIELD=VALUE overrides."
)

_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Folder of the run, or of seeds trained together; runs/NAME-DATA-seedN by default."
    " Several for a report: A,B,C.",
)

_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict", "export", "inspect", "hessian", "posthoc", "report"],
    "What to do.",
)

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "One of several processes, found by jax.distributed (Slurm, MPI, TPU pod, ...).",
)

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, where the processes are not found by themselves."
)

_NUM_PROCESSES = flags.DEFINE_integer("num_processes", -1, "With --coordinator: how many.")

_PROCESS_ID = flags.DEFINE_integer(
    "process_id", -1, "With --coordinator: which one this is, from 0."
)

_OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "Report's folder (the work directory, or ./report of several, by default); predictions' CSV"
    " (WORKDIR/predictions.csv); export's folder (WORKDIR/export); inspect's (WORKDIR or"
    " ./inspect).",
)

_INPUT = flags.DEFINE_string(
    "input",
    "",
    "(predict) A folder of images, an image, a list (a path a line), a .csv or an .npz."
    " (inspect, without --config) A folder with a sub-folder a class or with train.csv and"
    " test.csv, a .csv or an .npz.",
)

_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "last", ["last", "best"], "(predict, export) Which epoch."
)

_PRIOR = flags.DEFINE_string(
    "prior",
    "",
    "(predict, export) How frequent the classes are where the images come from: train,"
    " uniform, or counts 120,30,7; as the run assumes by default.",
)

_FLIP = flags.DEFINE_bool("flip", False, "(predict) Average with the mirrored image.")

_FIVE_CROP = flags.DEFINE_bool("five_crop", False, "(predict) Average over middle and corners.")

_LIST = flags.DEFINE_bool("list", False, "Lists the recipes with their figures, and ends.")


def run() -> None:
    """Entry point: of launch.py, of the command `ltjax` and of `python -m ltjax`."""
    open_what_is_closed()
    names = (
        "config",
        "list",
        "workdir",
        "mode",
        "output",
        "input",
        "checkpoint",
        "prior",
        "flip",
        "five_crop",
        "distributed",
        "coordinator",
        "num_processes",
        "process_id",
    )
    for name in names:  # --help shows the flags of the program's own file
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    with recipes.importable():  # a config of one's own anywhere imports `configs.base`
        app.run(_main, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        argv = _with_paths(argv)
    except (ValueError, FileNotFoundError) as error:
        fail(f"--config: {error}")
    try:
        return flags.FLAGS(argv)
    except Exception as error:  # absl and ml_collections raise many types; each means a wrong flag
        fail(
            f"{flag_error(error, argv)}"
            f" ({program_with_python()} --help lists the flags, configs/base.py the fields)"
        )


def _with_paths(argv: Sequence[str]) -> list[str]:
    """--config=quickstart, a recipe's name, becomes the path of its file."""
    made = list(argv)
    for k, argument in enumerate(made):
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        if equals:
            made[k] = f"{flag}={recipes.path_of(value)}"
        elif k + 1 < len(made) and not made[k + 1].startswith("-"):
            made[k + 1] = str(recipes.path_of(made[k + 1]))
    return made


def _main(argv: Sequence[str]) -> None:
    if argv[1:]:
        fail(f"unexpected argument {argv[1]!r}; every option is --name=value")
    if _LIST.value:
        print(recipes.table())
        return
    for name in ("jax", "orbax", "matplotlib"):  # no information lines; errors still come through
        logging.getLogger(name).setLevel(logging.ERROR)
    # Orbax logs with tracebacks what it then raises, and what it left behind of a failed read or
    # save calls into a loop that is closed.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    sys.excepthook = uncaught
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks ± still gets the rest
    from jax.errors import JaxRuntimeError

    from ltjax import devices
    from ltjax.training.loop import Diverged, Stopped

    devices.keep_compiled_programs()
    try:
        if _DISTRIBUTED.value or _COORDINATOR.value:
            devices.join_processes(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        modes = {
            "train": _train,
            "evaluate": _evaluate,
            "predict": _predict,
            "export": _export,
            "inspect": _inspect,
            "hessian": _hessian,
            "posthoc": _posthoc,
            "report": _report,
        }
        modes[_MODE.value]()
    except KeyboardInterrupt:
        fail(
            "interrupted; the same command continues from the last checkpoint, if there is one",
            status=130,
        )
    except Stopped as stopped:
        fail(str(stopped), status=128 + stopped.signum)
    except BrokenPipeError:  # while reporting; training stops by itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail("the pipe that this writes to broke", status=128 + signal.SIGPIPE)
    except Diverged as diverged:
        fail(str(diverged), status=3)
    except JaxRuntimeError as error:
        if not devices.several_processes():
            raise
        lost(error)
    except (RuntimeError, AssertionError) as error:
        if "LTJAX_DEBUG" in os.environ or raised_in(error).name != "xla_bridge.py":
            raise
        wanted, reason = os.environ.get("JAX_PLATFORMS", ""), " ".join(str(error).split())[:200]
        fail(
            f"JAX finds no device of JAX_PLATFORMS={wanted!r} here ({reason or 'none'}); unset it,"
            " or install the build for it (pip install 'ltjax[cuda]' or 'ltjax[tpu]')"
        )
    except (ValueError, OSError, ImportError) as error:
        if "LTJAX_DEBUG" in os.environ:
            raise
        fail(f"{error} (LTJAX_DEBUG=1 shows where)" if unexpected(error) else str(error))


def _train() -> None:
    from ltjax import devices, report
    from ltjax.training.loop import seed_folders, train, train_seeds
    from ltjax.workdir.workdir import writing

    config = _config()
    workdir = _workdir(config)
    results = train_seeds(config, workdir) if tuple(config.seeds) else [train(config, workdir)]
    if devices.is_lead() and results[0]["confusion"] is None:
        print("no report: there are no test and no validation images (config.data.validation)")
    elif devices.is_lead():
        with writing(workdir):
            report.write(seed_folders(config, workdir) or [workdir], workdir)


def _evaluate() -> None:
    from ltjax import devices, report
    from ltjax.training.scoring import evaluate

    config = _config()
    metrics = evaluate(config, _workdir(config))
    if devices.is_lead():
        report.print_evaluation(config, metrics)


def _predict() -> None:
    from ltjax import predict

    workdir = _finished_run()
    if not _INPUT.value:
        raise ValueError("--input is missing: a folder of images, an image, a list or an .npz")
    trained = ltjax.load(workdir, checkpoint=_CHECKPOINT.value)
    source = predict.open_source(
        Path(_INPUT.value).expanduser(),
        trained.image_shape[2],
        predict.roots_of(trained),
        trained.config.data.columns.path,
    )
    output = Path(_OUTPUT.value or workdir / "predictions.csv")
    summary = predict.predict_to_csv(
        trained,
        source,
        output,
        prior=predict.parse_prior(_PRIOR.value),
        flip=_FLIP.value,
        five_crop=_FIVE_CROP.value,
    )
    predict.tell(summary, source, output)


def _export() -> None:
    from ltjax import predict

    workdir = _finished_run()
    trained = ltjax.load(workdir, checkpoint=_CHECKPOINT.value)
    folder = Path(_OUTPUT.value or workdir / "export")
    print(trained.export(folder, prior=predict.parse_prior(_PRIOR.value)) / "README.md")


def _inspect() -> None:
    from ltjax import data, inspection
    from ltjax.experiment.experiment import class_groups, prepared
    from ltjax.terminal import progress_bar

    if (_CONFIG.value is None) == (not _INPUT.value):
        raise ValueError(
            "--mode=inspect needs --input=PATH (a folder with a sub-folder a class or with"
            " train.csv and test.csv, a .csv or an .npz) or --config with its data, one of them"
        )
    if _INPUT.value:
        dataset, groups = data.opened(_INPUT.value), None
    else:
        config = _config()
        dataset = prepared(config.data)
        groups = class_groups(config.data, data.training_counts(dataset))
    folder = Path(_OUTPUT.value or _WORKDIR.value or "inspect").expanduser()
    total = sum(len(getattr(dataset, f"{split}_labels")) for split in ("train", "val", "test"))
    with progress_bar("reading") as bar:
        task = bar.add_task("", total=total)
        found = inspection.inspect(
            dataset, folder, groups=groups, at=lambda done: bar.update(task, completed=done)
        )
    inspection.tell(found, folder)


def _finished_run() -> Path:
    """--workdir of a run that is used as it is."""
    if _CONFIG.value is not None:
        raise ValueError(f"--mode={_MODE.value} has its config from the run; leave --config out")
    if not _WORKDIR.value:
        raise ValueError(f"--mode={_MODE.value} needs --workdir=RUN, a run's work directory")
    return Path(_WORKDIR.value).expanduser()


def _hessian() -> None:
    from ltjax import report
    from ltjax.training.curvature import analyse

    config = _config()
    workdir = _workdir(config)
    analyse(config, workdir, lambda line: print(line, flush=True))
    report.write_spectra([workdir], workdir)


def _posthoc() -> None:
    from ltjax import report
    from ltjax.training.posthoc import analyse

    config = _config()
    workdir = _workdir(config)
    analyse(config, workdir, lambda line: print(line, flush=True))
    report.write_posthoc([workdir], workdir)


def _report() -> None:
    from ltjax import report

    workdirs = [Path(part) for part in _WORKDIR.value.split(",") if part]
    if not workdirs:
        raise ValueError("--mode=report needs --workdir=DIR, or several: --workdir=A,B,C")
    output = Path(_OUTPUT.value or (workdirs[0] if len(workdirs) == 1 else "report"))
    runs = [run for workdir in workdirs for run in _runs_in(workdir)]
    if all((run / "posthoc.json").is_file() for run in runs):
        report.write_posthoc(runs, output)  # also of folders without a run
    else:
        report.write(runs, output)


def _runs_in(workdir: Path) -> list[Path]:
    """The folder itself, or those of its seeds where they were trained together."""
    seeds = [path for path in workdir.glob("seed*") if (path / "config.json").is_file()]
    if (workdir / "config.json").exists() or not seeds:
        return [workdir]
    return sorted(seeds, key=lambda path: (len(path.name), path.name))


def _workdir(config) -> Path:
    data = config.data.name.replace(":", "-").replace("/", "-")
    return Path(
        _WORKDIR.value
        or f"runs/{config.name}-{data}-seed{'s' if tuple(config.seeds) else config.seed}"
    )


def _config():
    from ltjax.experiment.settings import resolve

    if _CONFIG.value is None:
        if flags.FLAGS["config"].present:
            raise ValueError("get_config() of --config returns nothing; expected a ConfigDict")
        raise ValueError("--config is missing; for instance --config=configs/quickstart.py")
    try:
        _CONFIG.value.lock()
    except OSError as error:
        raise ValueError(f"--config: {' '.join(str(error).split())}") from None
    return resolve(_CONFIG.value)
