"""One device, eight devices, two processes of four: the same run. Processes talk over the loopback
address.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from ltjax.experiment import settings
from ltjax.training import loop, scoring
from tests.conftest import ROOT
from tests.photographs import write_list_set
from tests.test_configs import load
from tests.test_mistakes import rows_of

pytest.importorskip("grain")

SMALL = {
    "model.name": "resnet8",
    "model.width": 4,
    "training.epochs": 2,
    "logging.tensorboard": False,
    "checkpoint.every": 1,
}
MEMORY = {
    "training.batch_size": 64,
    "evaluation.batch_size": 96,
    "learning_rate.base": 0.02,  # at 0.1 the loss rises at first, and rounding with it
    **SMALL,
}
STREAMED = {
    "data.train_list": "train.txt",
    "data.test_list": "test.txt",
    "data.groups": (),
    "data.image_size": 32,
    "data.shorter_side": 36,
    "training.batch_size": 8,
    "evaluation.batch_size": 8,
    "learning_rate.base": 0.02,
    "sam.schedule": "constant",
    "sam.rho": 0.05,
    **SMALL,
}


def flags(name, fields):
    """Of launch.py."""
    options = (f"--config.{field}={value}" for field, value in fields.items())
    return f"--config=configs/{name}.py", *options


def alone(name, fields):
    """The same config, resolved, for one device of this process."""
    config = load(name)
    config.update_from_flattened_dict({**fields, "training.cpu_devices": 1})
    return settings.resolve(config)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(environment, processes, *arguments, last=()):
    """launch.py as so many processes that find each other; `last`: flags of the last alone."""
    port = free_port()
    commands = [
        [
            *(sys.executable, "launch.py", *arguments, *(last if number == processes - 1 else ())),
            *(f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}"),
            f"--process_id={number}",
        ]
        for number in range(processes)
    ]
    options = {
        "cwd": ROOT,
        "env": environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return [subprocess.Popen(command, **options) for command in commands]


def finish(started, timeout=240):
    outputs = [process.communicate(timeout=timeout) for process in started]
    assert [process.returncode for process in started] == [0] * len(started), outputs
    return outputs


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_runs(one, other, tolerance):
    for ours, theirs in zip(rows(one), rows(other), strict=True):
        for name in ("train_loss", "test_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance), name
        for name in ("step", "train_accuracy", "test_accuracy", "per_class"):
            assert ours[name] == pytest.approx(theirs[name], abs=0.02), name
    counted = [
        np.sum(json.loads((run / "result.json").read_text())["confusion"]) for run in (one, other)
    ]
    assert counted[0] == counted[1]


def assert_mistakes_of_the_whole_test_set(workdir, config):
    """Those that the processes listed are those that one process finds with their network: each
    image once, and as many as the confusion matrix says. Evaluates the run.
    """
    listed = rows_of(workdir)
    (workdir / "misclassified.png").unlink()
    confusion = np.asarray(json.loads((workdir / "result.json").read_text())["confusion"])
    evaluated = scoring.evaluate(config, workdir)
    alone = rows_of(workdir)
    first = next(iter(listed[0]))
    named = [[row[name] for name in (first, "true", "predicted")] for row in listed]
    assert len({row[0] for row in named}) == len(named) == confusion.sum() - np.trace(confusion)
    assert sorted(named) == sorted([row[k] for k in (first, "true", "predicted")] for row in alone)
    return evaluated


def test_two_processes_of_four_devices_train_as_one_device_and_restore_there(environment, tmp_path):
    """14 steps with SAM, LDAM, DRW and a short last batch; evaluation batches of 96 leave a short
    one of 500 images.
    """
    one, many = tmp_path / "one", tmp_path / "many"
    arguments = (*flags("quickstart", MEMORY), "--config.training.cpu_devices=4")
    outputs = finish(start(environment, 2, *arguments, f"--workdir={many}"))
    assert "8 x cpu" in outputs[0][0]
    assert outputs[1][0].replace("[Gloo]", "").count("epoch") == 0, "the second process is silent"
    loop.train(alone("quickstart", MEMORY), one)
    # Float32's sums over devices in another order, through 14 steps of SAM: seen are 3e-7.
    assert_same_runs(one, many, 1e-4)
    assert np.sum(json.loads((many / "result.json").read_text())["confusion"]) == 500
    evaluated = assert_mistakes_of_the_whole_test_set(many, alone("quickstart", MEMORY))
    before = rows(many)
    assert evaluated["test_accuracy"] == pytest.approx(before[-1]["test_accuracy"], abs=1e-9)
    damage(many / "checkpoints/14/state")
    both = start(environment, 2, *arguments, f"--workdir={many}")
    assert "checkpoints/14 is damaged" in finish(both)[0][0]
    assert [path.name[:3] for path in (many / "damaged").iterdir()] == ["14-"]
    assert [row["test_accuracy"] for row in rows(many)] == [row["test_accuracy"] for row in before]


def damage(folder):
    largest = max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    largest.write_bytes(b"")


def test_two_processes_share_the_decoding_of_photographs(environment, tmp_path):
    """46 training images in batches of 8 leave a short one that every device computes whole; 12
    test images are each counted once.
    """
    write_list_set(tmp_path / "photographs")
    one, many = tmp_path / "one", tmp_path / "many"
    name, fields = (
        "imagenet_lt_ldam_drw_sam",
        {"data.dir": str(tmp_path / "photographs")} | STREAMED,
    )
    arguments = (*flags(name, fields), "--config.training.cpu_devices=2")
    finish(start(environment, 2, *arguments, f"--workdir={many}"))
    loop.train(alone(name, fields), one)
    assert_same_runs(one, many, 2e-3)
    assert np.sum(json.loads((many / "result.json").read_text())["confusion"]) == 12
    assert_mistakes_of_the_whole_test_set(many, alone(name, fields))


def test_a_lost_process_ends_the_others_within_a_minute_with_a_message(environment, tmp_path):
    lost = 0  # the one through which they found each other
    started = start(
        environment,
        2,
        *flags("quickstart", MEMORY),
        "--config.training.epochs=2000",
        "--config.training.cpu_devices=2",
        f"--workdir={tmp_path}",
    )
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.stat().st_size):
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.2)
    os.kill(started[lost].pid, signal.SIGKILL)
    _, errors = started[1 - lost].communicate(timeout=60)
    started[lost].communicate()
    assert started[1 - lost].returncode != 0
    assert "another process was lost" in errors or "another task died" in errors, errors[-2000:]


def test_an_error_of_one_process_ends_the_others_within_a_minute(environment, tmp_path):
    arguments = (
        *flags("quickstart", MEMORY),
        "--config.training.cpu_devices=2",
        f"--workdir={tmp_path}",
    )
    started = start(environment, 2, *arguments, last=["--config.loss.name=ldma"])
    outputs = [process.communicate(timeout=60) for process in started]
    assert started[0].returncode != 0, outputs
    assert started[1].returncode == 2, outputs
    assert "config.loss.name is 'ldma'; did you mean 'ldam'?" in outputs[1][1]


MEETING = """
import sys, time
import jax
from ltjax import devices

number = int(sys.argv[2])
devices.join_processes(sys.argv[1], 2, number)
jax.config.update("jax_num_cpu_devices", 1 + number)
jax.devices()
time.sleep(2 * number)
print(devices.together())
if number == 0:
    print(devices.together(seconds=1))
"""


def test_processes_of_unequal_devices_end_together_if_they_come_in_time(environment):
    """The second comes two seconds later, and to the second meeting not at all."""
    place = f"127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, place, str(number)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]
    outputs = [said.replace("[Gloo]", "").split() for said, _ in finish(started, timeout=60)]
    assert [[word for word in words if word in ("True", "False")] for words in outputs] == [
        ["True", "False"],
        ["True"],
    ]


def test_processes_that_do_not_find_each_other_say_how(launch):
    finished = launch(*flags("quickstart", MEMORY), "--distributed", timeout=60)
    assert finished.returncode == 2
    line = finished.stderr.strip().splitlines()[-1]
    assert line.startswith("launch.py: the processes could not join")
    assert "--coordinator=HOST:PORT" in line
