"""An exported network gives, in other programs, what it gives here."""

import json
import re

import numpy as np
import pytest

import ltjax
from parity_tests import pretrained
from tests.runs import digits_config, photographs_config, save_run


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """LDAM's cosines on a ResNet-18 for photographs."""
    pytest.importorskip("grain")
    root = tmp_path_factory.mktemp("photographs")
    config = photographs_config(root)
    config.model.name, config.model.width = "resnet18", 0
    config.model.classifier, config.loss.name = "normalized", "ldam"
    trained = ltjax.load(save_run(config, root / "run"))
    return trained, trained.export(root / "export")


def lines_of(folder, language):
    text = (folder / "README.md").read_text().split(f"## {language}")[1]
    return re.findall(r"```python\n(.*?)```", text, re.S)[0]


@pytest.mark.parametrize("language", ["JAX", "PyTorch"])
def test_the_readmes_lines_give_the_same_probabilities(resnet, monkeypatch, language):
    trained, folder = resnet
    pretrained.import_torchvision()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    monkeypatch.chdir(folder)
    names = {"images": images}
    with np.errstate(all="ignore"):
        exec(lines_of(folder, language), names)
    found = names["probabilities"]
    found = found.detach().numpy() if language == "PyTorch" else np.asarray(found)
    # The scale of 30 enlarges float32's rounding of a cosine.
    np.testing.assert_allclose(found, trained.predict_proba(images), rtol=2e-3, atol=1e-6)
    if language == "JAX":
        expected = [trained.class_names[k] for k in trained.predict(images)]
        assert names["names"] == expected


def test_the_description_says_what_the_network_takes(resnet):
    trained, folder = resnet
    about = json.loads((folder / "model.json").read_text())
    assert about["classes"] == ["0", "1", "2", "3"]
    assert about["training_images"] == [6, 4, 24, 12]
    assert about["image_shape"] == [32, 32, 3]
    assert about["before_the_crop"] == [36, 36]
    assert about["mean"] == list(trained.config.data.mean)
    assert about["logit_scale"] == 30
    assert about["figures"] == {}


def test_the_command_exports_with_a_prior_inside(launch, tmp_path):
    import jax.export

    run = save_run(digits_config(), tmp_path / "run")
    done = launch("--mode=export", f"--workdir={run}", "--prior=uniform")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "export" / "README.md")
    exported = jax.export.deserialize(bytearray((run / "export" / "model.stablehlo").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    trained = ltjax.load(run)
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), np.uint8)
    for count in (1, 70):
        expected = trained.predict_proba(images[:count], prior="uniform")
        found = np.asarray(exported.call(images[:count]))
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)
    text = (run / "export" / "README.md").read_text()
    assert "LDAM-DRW authors' models/resnet_cifar.py" in text
