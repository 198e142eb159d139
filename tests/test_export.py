"""An exported network gives, in other programs, what it gives here."""

import dataclasses
import importlib.util
import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ltjax
from configs import base
from ltjax import augment
from ltjax.experiment.recipe import create_model
from ltjax.export import onnx as onnx_export
from ltjax.export import serialized, torch_weights
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


RESLT = {"loss.reslt.medium_from": 1, "loss.reslt.tail_from": 2}


def needs_onnx():
    for name in ("jax2onnx", "onnxruntime"):
        pytest.importorskip(name)


def network(root, name, side=32, **changes):
    """A run of a network whose parameters and statistics are not those of a start."""
    generator = np.random.default_rng(0)
    file = root / "images.npz"
    labels = np.repeat(np.arange(3), [2, 6, 4])  # not in order of count
    images = generator.integers(0, 256, (12, side, side, 3), np.uint8)
    np.savez(file, train_images=images, train_labels=labels)
    config = base.get_config()
    config.update_from_flattened_dict({"data.name": "npz", "data.dir": str(file), **changes})
    config.model.name, config.training.cpu_devices = name, 1
    config.training.batch_size = 4
    config.logging.tensorboard = False
    trained = ltjax.load(save_run(config, root / "run"))

    def moved(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        kept = path[-1].key == "var"
        return leaf + (np.abs(noise) if kept else 0.3 * np.abs(leaf).mean() * noise)

    variables = jax.tree_util.tree_map_with_path(moved, jax.device_get(trained.variables))
    return dataclasses.replace(trained, variables=variables)


def lines_of(folder, language):
    text = (folder / "README.md").read_text().split(f"## {language}")[1]
    return re.findall(r"```python\n(.*?)```", text, re.S)[0]


@pytest.mark.parametrize("language", ["JAX", "PyTorch", "ONNX"])
def test_the_readmes_lines_give_the_same_probabilities(resnet, monkeypatch, language):
    if language == "ONNX":
        needs_onnx()
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
    if language != "PyTorch":
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


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet8", {"loss.name": "ldam", "model.classifier": "normalized"}),
        ("resnet18", {"model.width": 8}),
        ("resnet8", {"data.resolution": 24}),
        ("reslt_resnet8", {"loss.name": "reslt", **RESLT}),
        ("experts_resnet8", {"objective.name": "sade", "model.width": 8}),
        ("resnet8", {"model.dtype": "bfloat16"}),
    ],
)
def test_onnx_runtime_gives_the_same_probabilities(tmp_path, name, changes):
    """Of any number of images, as convolutions and not as their CPU's products."""
    needs_onnx()
    import onnx
    import onnxruntime

    trained = network(tmp_path, name, **changes)
    said: list[str] = []
    prior = None if name.startswith("experts") else "uniform"
    assert onnx_export.write(trained, tmp_path, prior, said.append), said
    graph = onnx.load(tmp_path / "model.onnx")
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Conv") >= 7
    told = {prop.key: prop.value for prop in graph.metadata_props}
    assert json.loads(told["classes"]) == ["0", "1", "2"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    images = np.random.default_rng(1).integers(0, 256, (8, *trained.image_shape), np.uint8)
    expected = trained.predict_proba(images, prior=prior)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images differ
    # bfloat16 has three digits; ONNX's computes in float32.
    tolerance = 0.02 if "model.dtype" in changes else 1e-4
    for count in (1, 8):
        (found,) = session.run(None, {"images": images[:count]})
        np.testing.assert_allclose(found, expected[:count], atol=tolerance)
    np.testing.assert_array_equal(trained.predict_proba(images, prior=prior), expected)


def pictures(count, side):
    """Images that differ in colour, in coarse shapes and in their noise, uint8."""
    generator = np.random.default_rng(2)
    shapes = generator.normal(0, 60, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    colours = generator.uniform(60, 200, (count, 1, 1, 3))
    noise = generator.normal(0, 20, (count, side, side, 3))
    return np.clip(colours + shapes + noise, 0, 255).astype(np.uint8)


def telling_apart(trained, images):
    """The network with the batch statistics of these images at every layer, and a classifier by
    which their logits spread by about 4: with a start's statistics the outputs of a deep network
    are the same for all images, and comparing them says nothing.
    """
    generator = np.random.default_rng(3)
    model = create_model(trained.stage, trained.num_classes)
    x = augment.normalize(images, trained.config.data.mean, trained.config.data.std)

    @jax.jit
    def training_pass(variables):
        keep = {"train": True, "features": True, "mutable": ["batch_stats"]}
        (_, features), updated = model.apply(variables, x, **keep)
        return features, updated["batch_stats"]

    variables = jax.device_get(trained.variables)
    found = []
    for start in (0.0, 1.0):  # running = start + momentum * (batch - start)
        before = jax.tree.map(partial(np.full_like, fill_value=start), variables["batch_stats"])
        features, after = training_pass({**variables, "batch_stats": before})
        found.append(jax.device_get(after))
    statistics = jax.tree.map(lambda from0, from1: from0 / (1 - from1 + from0), *found)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    kernel = generator.normal(0, 4, (features.shape[1], trained.num_classes))
    kernel = kernel / (spread + spread.mean())[:, None] / np.sqrt(len(kernel))
    linear = {"kernel": jnp.float32(kernel), "bias": jnp.float32(-middle @ kernel)}
    params = {**variables["params"], "linear": linear}
    return dataclasses.replace(
        trained, variables={**variables, "params": params, "batch_stats": statistics}
    )


@pytest.mark.parametrize(("name", "side"), [("resnet32", 32), ("efficientnet_b0", 32)])
def test_deep_networks_tell_images_apart_alike_in_onnx_and_stablehlo(tmp_path, name, side):
    """Of any number of images: each program takes 3 and 8."""
    needs_onnx()
    import jax.export
    import onnxruntime

    images = pictures(8, side)
    plain = {"model.efficientnet.stochastic_depth": 0.0, "model.efficientnet.dropout": 0.0}
    trained = telling_apart(network(tmp_path, name, side, **plain), images)
    expected = trained.predict_proba(images, prior="uniform")
    assert np.ptp(expected, axis=0).min() > 0.3, "each class's share differs between images"
    assert np.ptp(expected, axis=1).min() > 0.1, "each image's shares differ between classes"
    assert len(set(expected.argmax(axis=1))) > 1
    said: list[str] = []
    assert onnx_export.write(trained, tmp_path, "uniform", said.append), said
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    exported = jax.export.deserialize(bytearray(serialized(trained, "uniform")))
    for count in (3, 8):
        (found,) = session.run(None, {"images": images[:count]})
        # Float32's sums in another order through 32 to 82 convolutions; two images differ by 0.3.
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)
        found = exported.call(images[:count])
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)


def test_export_goes_on_without_onnx(resnet, tmp_path, monkeypatch, capsys):
    trained, _ = resnet
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jax2onnx" else found(name)
    )
    (tmp_path / "model.onnx").write_bytes(b"of an earlier export")
    trained.export(tmp_path)
    told = "model.onnx is left out: pip install 'ltjax[onnx]' brings jax2onnx"
    assert capsys.readouterr().err.strip() == told
    assert not (tmp_path / "model.onnx").exists()
    assert "## ONNX" not in (tmp_path / "README.md").read_text()
    assert "## JAX" in (tmp_path / "README.md").read_text()


def test_a_graph_with_other_probabilities_is_not_kept(resnet, tmp_path, monkeypatch):
    needs_onnx()
    trained, _ = resnet
    said = []
    other = onnx_export.graph(trained, [1.0, 1.0, 1.0, 50.0])
    monkeypatch.setattr(onnx_export, "graph", lambda *_: other)
    assert not onnx_export.write(trained, tmp_path, None, said.append)
    assert "model.onnx is left out: its probabilities differ by" in said[0]
    monkeypatch.setattr(onnx_export, "graph", lambda *_: b"nonsense")
    assert not onnx_export.write(trained, tmp_path, None, said.append)
    assert "in its conversion" in said[1]
    assert "\n" not in said[1]
    assert not list(tmp_path.iterdir())


def test_a_learned_scale_a_class_is_in_the_weights(tmp_path):
    trained = network(tmp_path, "resnet18", **{"model.width": 8, "model.classifier": "scaled"})
    weights, images = torch_weights(trained), np.zeros((2, *trained.image_shape), np.uint8)
    logits = trained.features(images) @ weights["fc.weight"].T + weights["fc.bias"]
    expected = trained.predict_proba(images)
    np.testing.assert_allclose(jax.nn.softmax(jnp.asarray(logits)), expected, rtol=1e-4)


def test_the_model_card_tells_data_recipe_and_figures_and_leaves_the_rest_open(resnet, tmp_path):
    trained, folder = resnet
    text = (folder / "model_card.md").read_text()
    assert "recipe imagenet_lt_ce_drw_sam, seed 0" in text
    assert "46 of `image_list`; from 24 to 4 a class (imbalance 6)" in text
    assert "| 2 | 2 | 24 | medium |" in text
    assert "None: the run has not finished." in text
    assert text.count("**[to be filled in]**") == 8
    figures = {
        "last": {"test_accuracy": 0.5, "few": 0.25},
        "best": {"test_accuracy": 0.75, "few": 0.5},
    }
    finished = dataclasses.replace(trained, figures=figures)
    from ltjax.export.card import model_card

    card = model_card(finished)
    assert "| accuracy | 50.00 | 75.00 |" in card
    assert "| few | 25.00 | 50.00 |" in card
    assert "highest test accuracy, so it is no estimate" in card
