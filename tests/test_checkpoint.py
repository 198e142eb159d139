"""Checkpoints: what is kept, what comes back, and what a damaged one does."""

import dataclasses
import errno
import json
import os
import re
import socket
import subprocess
import sys

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ltjax import models, optim
from ltjax.experiment.state import create_state
from ltjax.workdir import checkpoint
from ltjax.workdir.checkpoint import Checkpoints, Mismatch
from ltjax.workdir.lock import Lock
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def state():
    model = models.create("resnet8", 10, width=4)
    return create_state(model, optim.sgd(0.1), (8, 8, 1), seed=3)


def at(state, step):
    params = jax.tree.map(lambda leaf: leaf + step, state.params)
    return state.replace(
        step=jnp.int32(step),
        epoch=jnp.int32(step // 10),
        position=jnp.int32(step % 10),
        params=params,
    )


def equal(a, b):
    plain = [jax.tree.leaves(x.replace(key=jax.random.key_data(x.key))) for x in (a, b)]
    return all(np.array_equal(p, q) and p.dtype == q.dtype for p, q in zip(*plain, strict=True))


def files(folder):
    """Data files of a checkpoint, the largest first."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()),
        key=lambda path: -path.stat().st_size,
    )


def test_everything_comes_back_to_the_bit(state, tmp_path):
    first = Checkpoints(tmp_path, writes=True)
    first.save(at(state, 17), accuracy=0.25, best={"epoch": 1, "test_accuracy": 0.5})
    first.close()
    restored, best, _ = Checkpoints(tmp_path).restore(state)
    assert equal(restored, at(state, 17))
    assert best == {"epoch": 1, "test_accuracy": 0.5}
    np.testing.assert_array_equal(
        jax.random.uniform(restored.key, (3,)), jax.random.uniform(state.key, (3,))
    )


def test_a_checkpoint_from_before_there_was_a_memory_comes_back(state, tmp_path):
    """It has no such field on disk, in its structure or in its checksum."""
    fields = {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(state)
        if field.name != "memory"
    }
    older = dataclasses.make_dataclass("TrainState", fields, bases=(flax.struct.PyTreeNode,))
    arrays = jax.device_get(older(**fields | {"key": jax.random.key_data(state.key)}))
    record = {"digest": checkpoint._digest(arrays), "best": None, "accuracy": None, "stage": 0}
    with ocp.CheckpointManager(tmp_path / "checkpoints", item_names=("state", "record")) as manager:
        manager.save(
            0,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record)
            ),
        )
    restored = Checkpoints(tmp_path).restore(state).state
    assert equal(restored, state)
    assert restored.memory == ()


def test_the_newest_two_and_the_best_are_kept(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, writes=True, keep=2, best=True)
    for step, accuracy in [(10, 0.3), (20, 0.9), (30, 0.5), (40, 0.6), (45, None)]:
        checkpoints.save(at(state, step), accuracy=accuracy)
    checkpoints.close()
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [20, 40, 45]


def test_the_best_is_kept_by_a_continued_run_too(state, tmp_path):
    for step, accuracy in [(10, 0.9), (20, 0.3), (25, None), (30, 0.4)]:
        checkpoints = Checkpoints(tmp_path, writes=True, keep=1)
        checkpoints.save(at(state, step), accuracy=accuracy)
        checkpoints.close()
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [10, 30]


def test_saving_the_same_step_again_and_donating_the_state_is_safe(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, writes=True)
    saved = at(state, 5)
    checkpoints.save(saved, accuracy=0.1)
    checkpoints.save(saved)
    jax.tree.map(lambda leaf: leaf.delete(), saved.params)
    checkpoints.save(at(state, 6))
    checkpoints.close()
    assert equal(Checkpoints(tmp_path).restore(state)[0], at(state, 6))


def test_no_checkpoint_is_none(state, tmp_path):
    assert Checkpoints(tmp_path).restore(state) is None


# Orbax leaves coroutines of the failed read behind; they complain when collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_used(
    state, tmp_path, damage, number
):
    checkpoints = Checkpoints(tmp_path, writes=True)
    for step in (10, 20):
        checkpoints.save(at(state, step))
    checkpoints.close()
    victim = files(tmp_path / "checkpoints" / "20" / "state")[number]
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(
            victim.read_bytes()[: victim.stat().st_size // 2] if damage == "truncated" else b""
        )
    told = []
    again = Checkpoints(tmp_path, writes=True, warn=told.append)
    restored, _, _ = again.restore(state)
    if int(restored.step) == 20:  # a file that holds no needed byte: then nothing may differ
        assert equal(restored, at(state, 20))
        return
    assert equal(restored, at(state, 10))
    assert len(told) == 1
    assert "checkpoints/20 is damaged" in told[0]
    assert "\n" not in told[0]
    assert any(path.name.startswith("20-") for path in (tmp_path / "damaged").iterdir())
    again.save(at(state, 20))  # the run goes on and saves that step again
    again.close()
    assert equal(Checkpoints(tmp_path).restore(state)[0], at(state, 20))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_largest_file_is_one_that_matters(state, tmp_path):
    """Guards the test above: its way out must not be taken for the weights themselves."""
    checkpoints = Checkpoints(tmp_path, writes=True)
    checkpoints.save(at(state, 10))
    checkpoints.close()
    victim = files(tmp_path / "checkpoints" / "10" / "state")[0]
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    with pytest.raises(
        ValueError, match="none of its 1 checkpoints can be read; delete the folder"
    ):
        Checkpoints(tmp_path, warn=lambda line: None).restore(state)


def test_bytes_that_do_not_match_their_checksum_are_never_used(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, writes=True)
    checkpoints.save(at(state, 10))
    checkpoints.close()
    record = tmp_path / "checkpoints" / "10" / "record" / "metadata"
    content = json.loads(record.read_text())
    content["digest"] = "0" * 64
    record.write_text(json.dumps(content))
    told = []
    with pytest.raises(ValueError, match="none of its 1 checkpoints"):
        Checkpoints(tmp_path, warn=told.append).restore(state)
    assert "do not match their checksum" in told[0]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_reading_leaves_the_disk_as_it_is(state, tmp_path):
    """A damaged checkpoint stays where it is, and so does what another process is just writing."""
    checkpoints = Checkpoints(tmp_path, writes=True)
    for step in (10, 20):
        checkpoints.save(at(state, step))
    checkpoints.close()
    files(tmp_path / "checkpoints/20/state")[0].write_bytes(b"")
    half = tmp_path / "checkpoints/30.orbax-checkpoint-tmp-1/state"
    half.mkdir(parents=True)
    (half / "part").write_bytes(b"half")
    before, told = snapshot(tmp_path), []
    assert int(Checkpoints(tmp_path, warn=told.append).restore(state).state.step) == 10
    assert len(told) == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("writes", [False, True])
def test_another_networks_checkpoint_is_named_as_one_and_stays(state, tmp_path, writes):
    checkpoints = Checkpoints(tmp_path, writes=True)
    checkpoints.save(at(state, 10))
    checkpoints.close()
    before = snapshot(tmp_path)
    other = create_state(models.create("resnet8", 10, width=8), optim.sgd(0.1), (8, 8, 1), seed=3)
    with pytest.raises(
        Mismatch,
        match=r"checkpoints/10 was saved by a run of another network, optimiser or trainable part"
        r".*batch_stats/bn1/mean \(float32\[4\] there, float32\[8\] expected\)",
    ):
        Checkpoints(tmp_path, writes=writes).restore(other)
    assert snapshot(tmp_path) == before


def test_a_full_disk_is_one_line_with_the_folder(state, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, writes=True)
    checkpoints.save(at(state, 10))
    checkpoints.wait()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    told = r"checkpoints: a checkpoint could not be written \(no space left on the disk\); the same"
    with pytest.raises(OSError, match=told):
        checkpoints.save(at(state, 20))
    checkpoints.close()  # said once
    assert equal(Checkpoints(tmp_path).restore(state)[0], at(state, 10))


def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    first = Lock(tmp_path)
    host = re.escape(socket.gethostname())
    with pytest.raises(ValueError, match=rf"in use by process {os.getpid()} on {host}, since"):
        Lock(tmp_path)
    first.release()
    Lock(tmp_path).release()


def test_a_killed_process_frees_its_folder(tmp_path):
    code = (
        "import sys, time, pathlib; from ltjax.workdir.lock import Lock;"
        " lock = Lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match=f"in use by process {child.pid} on"):
        Lock(tmp_path)
    child.kill()
    child.wait()
    child.stdout.close()
    Lock(tmp_path).release()
