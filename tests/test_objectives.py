"""The seam between methods and the trainer: a method is a file and a line, the step names none."""

import importlib.util
import re
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import losses, models, objectives
from ltjax.experiment import experiment, settings
from ltjax.objectives.classify import MIXINGS, class_loss, mixing
from ltjax.objectives.objective import Drawn
from ltjax.objectives.rotation import turned
from ltjax.training import loop, programs, scoring
from ltjax.workdir.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[1]

TOY = '''
"""Pulls an image's features and those of its second view together, and counts images."""

import jax.numpy as jnp

from ltjax.objectives import Batch, Method, Objective, OBJECTIVES
from ltjax.objectives.classify import class_loss


def toy(given, *, strength):
    def loss(forward, batch, class_weights, memory, key):
        views = jnp.concatenate([batch.images, *batch.views])
        logits, features = forward(views, features=True)
        size = len(batch.labels)
        apart = jnp.mean(jnp.square(features[:size] - features[size:]))
        own = class_loss(given.loss, logits[:size], batch, class_weights)
        partners = memory["partners"] + jnp.bincount(batch.partners, length=10)
        return own + strength * apart, logits[:size], {**memory, "partners": partners}

    def mix(key, drawn):
        (images, view), labels = drawn[0]
        return Batch(images, labels, drawn[1].labels, jnp.asarray(1.0), (view,))

    return Objective(
        loss,
        views=(given.view,),
        orders=(lambda key, labels, epoch: jnp.arange(len(labels))[::-1],),
        mix=mix,
        memory=lambda key: {"partners": jnp.zeros(10, jnp.int32), "epochs": jnp.int32(0)},
        turn=lambda memory, key: {**memory, "epochs": memory["epochs"] + 1},
    )


METHOD = Method(toy, in_parts=False)
'''


@pytest.fixture
def toy_config(digits_config, tmp_path, monkeypatch):
    """A method in a file of its own, entered by its line in the dict and its options."""
    file = tmp_path / "toy.py"
    file.write_text(textwrap.dedent(TOY))
    spec = importlib.util.spec_from_file_location("toy", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(objectives.OBJECTIVES, "toy", module.METHOD)
    with digits_config.unlocked():
        digits_config.objective.toy = {"strength": 0.1}
    digits_config.objective.name = "toy"
    digits_config.training.epochs = 2
    digits_config.stages = ()
    return digits_config


def test_a_method_is_a_file_and_a_line(toy_config, tmp_path):
    """Its memory sees each step once in spite of SAM's two passes, turns over at each epoch's
    start, is saved and comes back.
    """
    loop.train(settings.resolve(toy_config), tmp_path / "run")
    built = experiment.build(settings.resolve(toy_config))
    state = Checkpoints(tmp_path / "run").restore(built.state_like).state
    each = np.bincount(built.dataset.train_labels, minlength=10)
    np.testing.assert_array_equal(state.memory["partners"], 2 * each)
    assert int(state.memory["epochs"]) == 2


def test_memory_is_of_the_whole_batch_on_every_device_and_of_each_seed(toy_config):
    toy_config.sam.enabled = False
    toy_config.training.update(cpu_devices=2, vmap_seeds=1, steps_per_call=1)
    built = experiment.build(settings.resolve(toy_config))
    running = programs.create(built, 2)
    states = running.together([built.of_seed(seed).create_state() for seed in (0, 1)])
    states, _ = running.advance(states, 0, built.settings(0))
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(states.memory))
    first = np.bincount(built.dataset.train_labels[-64:], minlength=10)
    for one in running.apart(states):
        np.testing.assert_array_equal(one.memory["partners"], first)


def test_branches_learn_their_own_classes_by_reslts_loss():
    """The medium branch from class 1 on, the tail branch from class 3 on."""
    branches = jax.random.normal(jax.random.key(0), (3, 5, 4))
    batch = objectives.Batch(jnp.zeros((5, 2, 2, 3)), jnp.asarray([0, 1, 2, 3, 3]))
    given = objectives.Given(None, np.asarray([9, 6, 3, 2]), objectives.Mixing(), None, None)
    objective = objectives.reslt(given, beta=0.8, medium_from=1, tail_from=3, label_smoothing=0.1)
    value, logits, memory = objective.loss(lambda *_, **__: branches, batch, None, "kept", None)
    masks = [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    expected = losses.reslt(
        branches, batch.labels, branch_masks=masks, beta=0.8, label_smoothing=0.1
    )
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(logits, branches.sum(axis=0))
    assert memory == "kept"


def test_every_image_may_be_of_the_medium_branch():
    given = objectives.Given(None, np.asarray([9, 6, 3, 2]), objectives.Mixing(), None, None)
    for medium, tail in ((0, 3), (2, 2)):
        assert objectives.reslt(given, beta=0.8, medium_from=medium, tail_from=tail).loss
    with pytest.raises(ValueError, match="medium_from is 0, tail_from 4; expected ascending"):
        objectives.reslt(given, beta=0.8, medium_from=0, tail_from=4)


def test_a_part_of_mixed_images_weighs_each_label_by_its_own_share():
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]))
    labels, partners, weights = jnp.asarray([0, 1]), jnp.asarray([2, 2]), jnp.ones(3)
    own = jnp.log(2.0) * jnp.asarray([1.5, 1.5])  # means of the losses against either label
    for lam in (0.75, jnp.asarray([0.75, 0.75])):
        batch = objectives.Batch(
            jnp.zeros((2, 1, 1, 3)), labels, partners, jnp.asarray(lam), shares=(0.5, 2.0)
        )
        value = class_loss(losses.cross_entropy, logits, batch, weights)
        assert float(value) == pytest.approx(float(0.5 * 0.75 * own[0] + 2.0 * 0.25 * own[1]))


def test_glmcs_share_is_of_the_images_type():
    given = objectives.Given(None, np.asarray([9, 6, 3, 2]), objectives.Mixing(), None, None)
    made = objectives.glmc(given, similarity=4.0, exponent=1.0, q=0.5, dimensions=8)
    with jax.enable_x64(True):
        views = (jnp.ones((2, 8, 8, 3), jnp.float32),) * 2
        drawn = [Drawn(views, jnp.asarray([0, 1])), Drawn(views, jnp.asarray([2, 3]))]
        mixed = made.mix(jax.random.key(0), drawn)
    assert mixed.lam.dtype == mixed.images.dtype == jnp.float32


def test_turned_images_are_labelled_by_their_turns():
    images = jnp.arange(2 * 3 * 3, dtype=jnp.float32).reshape(2, 3, 3, 1)
    four, labels = turned(images, jnp.asarray([5, -1]))
    np.testing.assert_array_equal(labels, [0, 1, 2, 3, -1, -1, -1, -1])
    for k in range(8):
        np.testing.assert_array_equal(four[k], np.rot90(images[k // 4], k % 4))
    assert turned(images, jnp.asarray([0, 1]))[1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "name",
    [name for name, one in objectives.OBJECTIVES.items() if "cmo" in (one.mixings or ("cmo",))],
)
def test_an_objective_that_mixes_takes_the_mixing_and_its_orders(name):
    """CMO draws its patches from an order of its own."""
    from configs import base

    options = base.get_config().objective.get(name, {})
    if name == "reslt":
        options = {"beta": 0.8, "medium_from": 1, "tail_from": 2, "label_smoothing": 0.0}
    cmo = mixing("cmo", np.asarray([9, 3, 1]), alpha=1.0, probability=1.0)
    given = objectives.Given(losses.cross_entropy, np.asarray([9, 3, 1]), cmo, None, None)
    made = objectives.OBJECTIVES[name].make(given, **options)
    assert made.mix is cmo.mix
    assert made.orders[-1:] == cmo.orders


def test_every_mixing_takes_its_own_of_a_configs_options():
    counts = np.asarray([9, 3, 1])
    drawn = objectives.Drawn((jnp.ones((4, 8, 8, 3)),), jnp.asarray([0, 1, 2, 0]))
    for name in MIXINGS:
        made = mixing(name, counts, alpha=1.0, kappa=3.0, tau=0.5, probability=1.0)
        if made.mix is not None:
            batch = made.mix(jax.random.key(0), [drawn] * (1 + len(made.orders)))
            assert batch.images.shape == (4, 8, 8, 3), name


def test_a_method_that_is_no_mean_over_images_takes_no_parts(toy_config):
    toy_config.training.accumulate = 2
    with pytest.raises(
        ValueError, match=r"the toy objective is not a mean over images.*is 2, expected 1"
    ):
        settings.resolve(toy_config)


def test_a_stage_with_another_objective_has_its_memory_anew(toy_config):
    toy_config.stages = ("plain", "toy")
    with toy_config.stage.unlocked():
        toy_config.stage.plain = {"epochs": 1, "objective": {"name": "classify"}}
        toy_config.stage.toy = {"epochs": 1}
    built = experiment.build(settings.resolve(toy_config))
    plain = built.create_state()
    assert plain.memory == ()
    entered = built.enter(plain, 0, 1)
    assert jax.tree.map(jnp.shape, entered.memory) == {"partners": (10,), "epochs": ()}
    assert [leaf.shape for leaf in jax.tree.leaves(built.state_like(1).memory)] == [(), (10,)]


def test_each_expert_is_evaluated(digits_config):
    digits_config.model.name = "experts_resnet8"
    digits_config.objective.name = "balpoe"
    built = experiment.build(settings.resolve(digits_config))
    variables = built.create_state().variables
    sums = programs.create(built).evaluate(variables).sums
    row = scoring.test_metrics(jax.device_get(sums), built.groups)
    images = (built.dataset.test_images / 255 - built.recipe.mean) / built.recipe.std
    each = built.recipe.model.apply(variables, jnp.asarray(images, jnp.float32), branches=True)
    expected = np.mean(np.argmax(each, -1) == built.dataset.test_labels, axis=1)
    found = [one["test_accuracy"] for one in row["experts"]]
    np.testing.assert_allclose(found, expected, atol=0.5 / len(images))
    groups = [np.mean([one[name] for name in ("many", "medium", "few")]) for one in row["experts"]]
    assert len(set(found)) == 3
    assert min(groups) >= 0
    mean = np.mean(np.argmax(np.mean(each, 0), -1) == built.dataset.test_labels)
    np.testing.assert_allclose(row["test_accuracy"], mean, atol=0.5 / len(images))


def test_an_unknown_objective_names_the_nearest(digits_config):
    digits_config.objective.name = "clasify"
    with pytest.raises(
        ValueError, match=r"config.objective.name is 'clasify'; did you mean 'class"
    ):
        settings.resolve(digits_config)


def test_the_step_names_no_method():
    names = {*objectives.OBJECTIVES, "mixup", "cutmix", "remix", "branch", "cutout"} - {"classify"}
    names = "|".join(sorted(names))
    for file in ("training/step.py", "training/accumulation.py", "training/programs.py"):
        text = (ROOT / "ltjax" / file).read_text().lower()
        assert not re.findall(rf"\b(?:{names})", text), file


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet8", 8), ("resnet18_cifar", 8), ("resnet10", 32), ("reslt_resnet8", 8)],
)
def test_features_are_what_the_classifier_reads(name, size):
    model = models.create(name, 5, width=4)
    images = jax.random.normal(jax.random.key(0), (3, size, size, 3))
    variables = model.init(jax.random.key(1), images)
    logits, features = model.apply(variables, images, features=True)
    linear = variables["params"]["linear"]
    biases = 3 if name.startswith("reslt_") else 1
    expected = features @ linear["kernel"] + biases * linear["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(logits, model.apply(variables, images))


def test_features_of_branches_and_of_efficientnet():
    model = models.create("reslt_resnet8", 5, width=4)
    images = jnp.ones((2, 8, 8, 3))
    variables = model.init(jax.random.key(1), images)
    logits, features = model.apply(variables, images, branches=True, features=True)
    assert logits.shape == (3, 2, 5)
    assert features.shape == (3, 2, 16)
    model = models.create("efficientnet_b0", 5)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    logits, features = jax.eval_shape(
        lambda images: model.init_with_output(jax.random.key(0), images, features=True)[0], images
    )
    assert (logits.shape, features.shape) == ((2, 5), (2, 1280))


@pytest.mark.parametrize("q", [0.0, 0.25, 1.0])
def test_glmcs_second_order_draws_images_with_weight_their_class_count_to_minus_q(q):
    labels = jnp.asarray(np.repeat(np.arange(3), (900, 90, 9)))
    given = objectives.Given(None, np.asarray([900, 90, 9]), objectives.Mixing(), None, None)
    options = {"similarity": 4.0, "exponent": 1.2, "q": q, "dimensions": 8}
    (order,) = objectives.OBJECTIVES["glmc"].make(given, **options).orders
    drawn = np.bincount(labels[order(jax.random.key(0), labels, 0)], minlength=3) / 999
    shares = np.array([900.0, 90.0, 9.0]) ** (1 - q)
    np.testing.assert_allclose(drawn, shares / shares.sum(), atol=0.05 if q else 1e-9)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("bcl", {"width": 24, "dimensions": 6, "prototypes": True}),
        ("proco", {"width": 24, "dimensions": 6}),
        ("glmc", {"num_classes": 3, "dimensions": 6}),
    ],
)
def test_heads_have_the_sizes_that_the_options_say(name, heads):
    from configs import base

    options = dict(base.get_config().objective[name]) | {"width": 24, "dimensions": 6}
    if name == "glmc":
        del options["width"]
    counts = np.asarray([9, 3, 1])
    given = objectives.Given(losses.cross_entropy, counts, objectives.Mixing(), None, None)
    assert objectives.OBJECTIVES[name].make(given, **options).heads.keywords == heads


def test_parts_of_a_batch_add_up_by_their_shares_of_the_class_weights():
    """The whole batch's weighted mean, of parts whose labels weigh 4 of 7 and 3 of 7."""
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    labels, weights = jnp.asarray([0, 0, 2, 1, 0]), jnp.asarray([1.0, 2.0, 2.0])
    whole = objectives.Batch(None, labels)
    expected = class_loss(losses.cross_entropy, logits, whole, weights)
    parts = ((slice(0, 3), 4 / 7), (slice(3, 5), 3 / 7))
    found = sum(
        class_loss(
            losses.cross_entropy,
            logits[part],
            objectives.Batch(None, labels[part], shares=(share, share)),
            weights,
        )
        for part, share in parts
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
