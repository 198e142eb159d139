"""launch.py as its user meets it: started as a program, killed, given wrong flags."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.conftest import ROOT

SMALL = (
    *(
        "--config=configs/quickstart.py",
        "--config.model.name=resnet8",
        "--config.model.width=4",
        "--config.training.batch_size=64",
    ),
    *(
        "--config.training.epochs=4",
        "--config.training.cpu_devices=1",
        "--config.checkpoint.every=1",
    ),
)


def parameters(workdir):
    """Leaves of the newest checkpoint's parameters."""
    from ltjax.experiment import experiment, settings
    from ltjax.workdir.checkpoint import Checkpoints
    from tests.test_configs import load

    config = load("quickstart")
    config.model.name, config.model.width, config.training.cpu_devices = "resnet8", 4, 1
    built = experiment.build(settings.resolve(config))
    state = Checkpoints(workdir).restore(built.state_like).state
    return int(state.step), jax.tree.leaves(jax.device_get(state.params))


def test_help_shows_the_flags(launch):
    done = launch("--help")
    for flag in ("--config", "--workdir", "--mode", "--output"):
        assert flag in done.stdout


def test_train_report_and_evaluate(launch, tmp_path):
    workdir = tmp_path / "run"
    done = launch(*SMALL, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "epoch 4/4" in done.stdout
    assert "417 training images (124 to 6 a class" in done.stdout
    assert "\x1b" not in done.stdout  # plain lines where there is no terminal
    for name in (
        "config.json",
        "metrics.jsonl",
        "result.json",
        "report.html",
        "curves.png",
        "per_class.png",
        "confusion.png",
        "tensorboard",
    ):
        assert (workdir / name).exists(), name
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    evaluated = launch(*SMALL, f"--workdir={workdir}", "--mode=evaluate")
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"{100 * last['test_accuracy']:.2f} %" in evaluated.stdout
    assert f"per class, %: 0 {100 * last['per_class'][0]:.1f}, 1 " in evaluated.stdout
    reported = launch(
        "--mode=report", f"--workdir={workdir},{workdir}", f"--output={tmp_path / 'both'}"
    )
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "both" / "report.html").exists()


def test_an_authors_checkpoint_is_evaluated(launch, tmp_path):
    import torch

    from parity_tests import reference

    torch.manual_seed(0)
    network = reference.ResNet(1, 10, normalized=True, channels=1).eval()
    state_dict = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save(
        {"epoch": 200, "arch": "resnet8", "state_dict": state_dict}, tmp_path / "ckpt.pth.tar"
    )
    from ltjax import data

    dataset = data.load("digits")
    images = (
        torch.tensor(dataset.test_images.transpose(0, 3, 1, 2)).float() / 255 - 0.3053
    ) / 0.3760
    expected = float((network(images).argmax(1).numpy() == dataset.test_labels).mean())
    flags = ("--config=configs/quickstart.py", "--config.model.name=resnet8", "--mode=evaluate")
    done = launch(*flags, f"--config.init_from={tmp_path / 'ckpt.pth.tar'}")
    assert done.returncode == 0, done.stderr
    assert f"{100 * expected:.2f} %" in done.stdout


def test_twenty_kills_at_any_moment_end_in_bitwise_the_same_parameters(environment, tmp_path):
    """SIGKILL while compiling, training, evaluating, saving (within epochs too) and reporting."""
    flags = [flag for flag in SMALL if "epochs" not in flag]
    flags += ["--config.training.epochs=12", "--config.checkpoint.minutes=0.01"]
    flags += ["--config.logging.tensorboard=False"]

    def campaign(kills, workdir):
        program = [sys.executable, str(ROOT / "tests/kill_campaign.py"), "3", str(kills)]
        done = subprocess.run(
            [*program, *flags, f"--workdir={workdir}"],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=500,
            check=True,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
        return [json.loads(line) for line in lines], done

    starts, told = campaign(20, tmp_path / "killed")
    assert [code for _, code in starts] == 20 * [-signal.SIGKILL] + [0], (starts, told.stderr)
    assert len({name for name, _ in starts}) == 6
    assert [code for _, code in campaign(0, tmp_path / "whole")[0]] == [0]
    (steps, whole), (killed_steps, killed) = (
        parameters(tmp_path / name) for name in ("whole", "killed")
    )
    assert steps == killed_steps == 12 * 7
    for a, b in zip(whole, killed, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [row["test_accuracy"] for row in rows[0]] == [row["test_accuracy"] for row in rows[1]]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGPIPE])
def test_a_stop_signal_saves_and_says_how_to_continue(environment, tmp_path, signum):
    """A broken pipe too, as of `launch.py ... | head`."""
    flags = [flag for flag in SMALL if "epochs" not in flag]
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        *flags,
        "--config.training.epochs=4000",
        f"--workdir={tmp_path / 'run'}",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    if signum == signal.SIGPIPE:
        process.stdout.close()
        with process.stderr:
            errors = process.stderr.read()
        process.wait(60)
    else:
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert len(errors.strip().splitlines()) == 1
    assert f"stopped by {signal.Signals(signum).name} and saved at epoch" in errors
    assert f"--workdir={tmp_path / 'run'} continues" in errors
    assert any((tmp_path / "run" / "checkpoints").iterdir())


WRONG = [
    (
        ["--config=configs/quickstart.py", "--config.data.nmae=x"],
        "unknown config field 'data.nmae'; did you mean 'data.name'?",
    ),
    (
        ["--config=configs/quickstart.py", "--config.sam.roh", "0.1"],
        "unknown config field 'sam.roh'; did you mean 'sam.rho'?",
    ),
    (
        ["--config=configs/quickstart.py", "--config.loss.name=ldma"],
        "config.loss.name is 'ldma'; did you mean 'ldam'? known: cross_entropy",
    ),
    (
        ["--config=configs/quickstart.py", "--config.sam.rho=much"],
        "flag --config.sam.rho=much: could not convert string to float",
    ),
    (
        ["--config=configs/quickstart.py", "--config.seed=1.5"],
        "flag --config.seed=1.5: invalid literal for int()",
    ),
    (["--config=configs/nothing.py"], "configs/nothing.py"),
    (["--config=tests/recipes/nothing.py"], "--config has no get_config(); expected one"),
    (["--config=tests/recipes/small.py"], "fields, such as stages, stage, parameters; begin"),
    (
        ["--config=configs/quickstart.py", "--config.init_from=http://example.org/w.pth"],
        "http://example.org/w.pth is an address; download it and give the file's path",
    ),
    (
        ["--conifg=configs/quickstart.py"],
        "Unknown command line flag 'conifg'. Did you mean: config",
    ),
    (
        ["--config=configs/quickstart.py", "--mode=trian"],
        "value should be one of <train|evaluate|",
    ),
    ([], "--config is missing; for instance --config=configs/quickstart.py"),
    (["--config=configs/quickstart.py", "stray"], "unexpected argument 'stray'"),
    (["--mode=report"], "--mode=report needs --workdir=DIR"),
    (["--mode=report", "--workdir=/no/such/run"], "/no/such/run holds no run"),
    (
        ["--config=configs/quickstart.py", "--config.init_from=/no/such.pth", "--mode=evaluate"],
        "/no/such.pth: no such weight file",
    ),
    (
        ["--config=configs/quickstart.py", "--config.data.factor=0.001"],
        "class 7 would have 0 images",
    ),
    (
        ["--config=configs/ce.py", "--config.data.download=False"],
        "cifar10 found nowhere and data.download is off; give --config.data.dir",
    ),
    (
        ["--config=configs/ce.py", "--config.data.dir=/no/such/folder"],
        "data.dir is '/no/such/folder', which does not exist",
    ),
    (
        ["--config=configs/quickstart.py", "--config.logging.wandb=True"],
        "config.logging.wandb needs the wandb package",
    ),
]


@pytest.mark.parametrize(
    ("flags", "told"), WRONG, ids=[" ".join(flags) or "nothing" for flags, _ in WRONG]
)
def test_wrong_input_is_one_line_that_says_what_to_do(launch, tmp_path, flags, told):
    if "--mode" not in " ".join(flags) and flags:
        flags = [*flags, f"--workdir={tmp_path / 'run'}"]
    done = launch(*flags, HOME=str(tmp_path), timeout=60)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_platform_that_is_not_there_is_named(launch, tmp_path):
    done = launch("--config=configs/quickstart.py", f"--workdir={tmp_path}", JAX_PLATFORMS="rocm")
    assert done.returncode == 2
    assert "JAX finds no device of JAX_PLATFORMS='rocm' here" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_corrupt_archive_is_named_by_the_command(launch, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b not an archive")
    done = launch(
        "--config=configs/ce.py", f"--config.data.dir={tmp_path}", f"--workdir={tmp_path / 'run'}"
    )
    assert done.returncode == 2
    assert f"{tmp_path / 'cifar-10-python.tar.gz'}: truncated or corrupt archive" in done.stderr


@pytest.mark.parametrize("module", ["losses", "reweighting", "imbalance", "sampling", "metrics"])
def test_the_small_modules_import_jax_and_numpy_only(module):
    heavy = ("flax", "optax", "orbax", "sklearn", "torch", "matplotlib", "ml_collections")
    own = f"ltjax.{module}"
    found = (
        f"[m for m in sys.modules if m.split('.')[0] in {heavy}"
        f" or m.startswith('ltjax.') and not m.startswith(('{own}', 'ltjax.counts'))]"
    )
    code = f"import sys, ltjax.{module}; print({found})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"
