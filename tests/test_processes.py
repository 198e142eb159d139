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

from tests.conftest import ROOT
from tests.photographs import write_list_set

pytest.importorskip("grain")

SMALL = (
    *(
        "--config.model.name=resnet8",
        "--config.model.width=4",
        "--config.training.epochs=2",
        "--config.logging.tensorboard=False",
    ),
    *("--config.checkpoint.every=1",),
)
MEMORY = (
    "--config=configs/quickstart.py",
    "--config.training.batch_size=64",
    "--config.evaluation.batch_size=96",
    *SMALL,
)


def streamed(folder):
    return (
        *(
            "--config=configs/imagenet_lt_ldam_drw_sam.py",
            f"--config.data.dir={folder}",
            "--config.data.train_list=train.txt",
        ),
        *(
            "--config.data.test_list=test.txt",
            "--config.data.groups=()",
            "--config.data.image_size=32",
            "--config.data.shorter_side=36",
        ),
        *(
            "--config.training.batch_size=8",
            "--config.evaluation.batch_size=8",
            "--config.learning_rate.base=0.02",
            *SMALL,
        ),
        *("--config.sam.schedule=constant", "--config.sam.rho=0.05"),
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(environment, processes, *arguments, last=()):
    """launch.py as so many processes that find each other; `last`: flags of the last alone."""
    port = free_port()
    commands = [
        [sys.executable, "launch.py", *arguments, *(last if number == processes - 1 else ())]
        + (
            [
                f"--coordinator=127.0.0.1:{port}",
                f"--num_processes={processes}",
                f"--process_id={number}",
            ]
            if processes > 1
            else []
        )
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


def test_two_processes_of_four_devices_train_as_one_device_and_restore_there(environment, tmp_path):
    """14 steps with SAM, LDAM, DRW and a short last batch; evaluation batches of 96 leave a short
    one of 500 images.
    """
    one, many = tmp_path / "one", tmp_path / "many"
    outputs = finish(
        start(environment, 2, *MEMORY, "--config.training.cpu_devices=4", f"--workdir={many}")
    )
    assert "8 x cpu" in outputs[0][0]
    assert outputs[1][0].replace("[Gloo]", "").count("epoch") == 0, "the second process is silent"
    finish(start(environment, 1, *MEMORY, "--config.training.cpu_devices=1", f"--workdir={one}"))
    # Sums over devices in another order, through 14 steps of SAM at a learning rate of 0.1.
    assert_same_runs(one, many, 2e-3)
    assert np.sum(json.loads((many / "result.json").read_text())["confusion"]) == 500
    (evaluated,) = finish(
        start(
            environment,
            1,
            *MEMORY,
            "--config.training.cpu_devices=1",
            f"--workdir={many}",
            "--mode=evaluate",
        )
    )
    assert f"{100 * rows(many)[-1]['test_accuracy']:.2f}" in evaluated[0]
    before = rows(many)
    damage(many / "checkpoints/14/state")
    both = start(environment, 2, *MEMORY, "--config.training.cpu_devices=4", f"--workdir={many}")
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
    arguments = streamed(tmp_path / "photographs")
    finish(
        start(environment, 2, *arguments, "--config.training.cpu_devices=2", f"--workdir={many}")
    )
    finish(start(environment, 1, *arguments, "--config.training.cpu_devices=1", f"--workdir={one}"))
    assert_same_runs(one, many, 2e-3)
    assert np.sum(json.loads((many / "result.json").read_text())["confusion"]) == 12


def test_a_lost_process_ends_the_others_within_a_minute_with_a_message(environment, tmp_path):
    lost = 0  # the one through which they found each other
    started = start(
        environment,
        2,
        *MEMORY,
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
    arguments = (*MEMORY, "--config.training.cpu_devices=2", f"--workdir={tmp_path}")
    started = start(environment, 2, *arguments, last=["--config.loss.name=ldma"])
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode == 0 for process in started] == [False, False]
    assert started[1].returncode == 2
    assert "config.loss.name is 'ldma'; did you mean 'ldam'?" in outputs[1][1]


def test_processes_that_do_not_find_each_other_say_how(launch):
    finished = launch(*MEMORY, "--distributed", timeout=60)
    assert finished.returncode == 2
    line = finished.stderr.strip().splitlines()[-1]
    assert line.startswith("launch.py: the processes could not join")
    assert "--coordinator=HOST:PORT" in line
