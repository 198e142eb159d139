"""What a work directory holds after a run was started again."""

import sys

from ml_collections import ConfigDict

from ltjax import devices
from ltjax.workdir.workdir import Scalars


def scalars(folder):
    """(epoch, loss) of every event in the folder's files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = []
    for file in sorted(folder.glob("events.*")):
        for event in EventFileLoader(str(file)).Load():
            found += [(event.step, value.tensor.float_val[0]) for value in event.summary.value]
    return found


def test_epochs_done_again_stand_once_in_tensorboards_events(tmp_path):
    config = ConfigDict({"logging": {"tensorboard": True, "wandb": False}})
    rows = [{"epoch": epoch, "train_loss": float(epoch), "stage": "plain"} for epoch in range(4)]
    for first in (0, 2):  # the second start does epochs 2 and 3 again
        events = Scalars(tmp_path, config)
        events.begin(rows[:first])
        for row in rows[first:]:
            events.write(row)
        events.close()
    assert scalars(tmp_path / "tensorboard") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]


def test_peak_memory_is_left_out_where_the_system_does_not_tell(monkeypatch):
    import jax

    monkeypatch.setitem(sys.modules, "resource", None)
    assert devices.peak_memory(jax.devices()) == {}
