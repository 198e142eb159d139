"""A finished run as an object: what it predicts is what was trained, by the user's names."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import sklearn.metrics

import ltjax
from ltjax import augment, data, metrics
from ltjax.experiment import settings
from ltjax.experiment.experiment import build
from ltjax.experiment.initial import run_variables
from ltjax.experiment.priors import implied_prior
from ltjax.experiment.recipe import create_model
from ltjax.training import scoring
from tests.conftest import ROOT
from tests.runs import digits_config, photographs_config, save_run


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    return save_run(digits_config(), tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="module")
def photograph_run(tmp_path_factory):
    pytest.importorskip("grain")
    root = tmp_path_factory.mktemp("photographs")
    return save_run(photographs_config(root), root / "run")


@pytest.fixture(scope="module")
def digits(digits_run):
    return ltjax.load(digits_run)


@pytest.fixture(scope="module")
def photographs(photograph_run):
    return ltjax.load(photograph_run)


def test_it_gives_what_the_trainer_evaluates(digits, digits_run):
    test = data.load("digits")
    figures = digits.evaluate(test.test_images, test.test_labels)
    last = scoring.evaluate(settings.resolve(digits_config()), digits_run)
    assert figures["confusion"].tolist() == last["confusion"]
    assert figures["accuracy"] == last["test_accuracy"]
    assert figures["balanced_accuracy"] == pytest.approx(last["balanced_accuracy"])
    assert figures["few"] == pytest.approx(last["few"])
    assert digits.class_names == test.class_names
    assert digits.class_counts[0] == 124
    assert digits.config.loss.name == "ldam"
    assert digits.config.data.name == "digits"


def test_the_figures_are_scikit_learns(digits):
    test = data.load("digits")
    labels, probabilities = test.test_labels, digits.predict_proba(test.test_images)
    figures = digits.evaluate(test.test_images, labels)
    ours = [figures[name] for name in ("macro_precision", "macro_f1", "auroc", "log_loss")]
    predicted = probabilities.argmax(1)
    options = {"average": "macro", "zero_division": 0}
    wide = probabilities.astype(np.float64)
    expected = [
        sklearn.metrics.precision_score(labels, predicted, **options),
        sklearn.metrics.f1_score(labels, predicted, **options),
        np.mean([sklearn.metrics.roc_auc_score(labels == c, wide[:, c]) for c in range(10)]),
        -np.log(wide[np.arange(500), labels]).mean(),  # scikit-learn's clips at 2e-16
    ]
    assert ours == pytest.approx(expected, rel=1e-6)  # probabilities are float32


def test_probabilities_are_the_softmax_that_the_loss_looks_at(digits, digits_run):
    """LDAM's network gives cosines; its loss multiplies them by 30."""
    images = data.load("digits").test_images[:3]
    config = digits.config
    model = create_model(config, 10)
    x = augment.normalize(images, config.data.mean, config.data.std)
    apply = jax.jit(lambda variables: model.apply(variables, x, train=False))
    logits = np.asarray(apply(run_variables(digits_run)), np.float64)
    expected = np.exp(30 * logits) / np.exp(30 * logits).sum(1, keepdims=True)
    # The scale of 30 enlarges float32's rounding of a cosine.
    np.testing.assert_allclose(digits.predict_proba(images), expected, rtol=3e-4)
    assert digits.predict_proba(images).dtype == np.float32


def test_any_number_of_images_gives_the_same_from_few_programs(digits):
    images = data.load("digits").test_images
    whole = digits.predict_proba(images)
    assert whole.shape == (500, 10)
    for count in (0, 1, 5, 9, 70):
        part = digits.predict_proba(images[:count])
        assert part.shape == (count, 10)
        np.testing.assert_allclose(part, whole[:count], rtol=1e-4, atol=1e-6)
    assert digits.features(images[:9]).shape == (9, 16)
    assert digits._program._cache_size() <= 4


def test_features_and_classifier_give_the_logits(photographs):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    linear = photographs.variables["params"]["linear"]
    logits = photographs.features(images) @ np.asarray(linear["kernel"]) + linear["bias"]
    logits = logits[:, np.argsort(photographs.label_ids)]
    expected = jax.nn.softmax(logits)
    np.testing.assert_allclose(photographs.predict_proba(images), expected, rtol=1e-4, atol=1e-6)


def test_classes_are_numbered_as_in_the_users_list(photographs, photograph_run):
    root = photograph_run.parent
    rows = [line.rsplit(" ", 1) for line in (root / "test.txt").read_text().splitlines()]
    labels = np.asarray([int(label) for _, label in rows])
    assert photographs.class_names == ("0", "1", "2", "3")
    assert photographs.class_counts.tolist() == [6, 4, 24, 12]
    config = photographs.config
    dataset = build(config).dataset
    images = dataset.read("test", np.arange(len(labels)))
    figures = photographs.evaluate(images, labels)
    ids = np.asarray(dataset.class_ids)
    recorded = np.asarray(scoring.evaluate(config, photograph_run)["confusion"])
    np.testing.assert_array_equal(figures["confusion"][np.ix_(ids, ids)], recorded)


def test_files_pass_through_evaluations_view(photographs, photograph_run):
    from PIL import Image

    name = photograph_run.parent / "images" / "0-0.jpg"
    from ltjax.data import decode

    expected = decode.center_crop(name.read_bytes(), 32, 36)
    image = decode._decoded(name.read_bytes())
    assert image.shape == (60, 80, 3)
    np.testing.assert_array_equal(photographs.views(image)[0], expected)
    five = photographs.views(image, five_crop=True)
    scaled = np.asarray(Image.fromarray(image).resize((48, 36), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(five[1], scaled[:32, :32])
    np.testing.assert_array_equal(five[4], scaled[-32:, -32:])


def test_views_are_averaged(photographs):
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    five = photographs.views(image, five_crop=True)
    both = np.concatenate([five, five[:, :, ::-1]])
    np.testing.assert_allclose(
        photographs.predict_proba([image, image], five_crop=True, flip=True),
        np.tile(photographs.predict_proba(both).mean(0), (2, 1)),
        rtol=1e-4,
    )


def test_grey_images_and_different_sizes_are_taken(photographs):
    generator = np.random.default_rng(2)
    grey = generator.integers(0, 256, (40, 44), np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    both = photographs.predict_proba([grey, colour, colour[:36, :36]])
    assert both.shape == (3, 4)
    np.testing.assert_array_equal(both[0], both[1])


def test_the_prior_that_training_implies_follows_from_sampler_weights_and_loss():
    """The network's class frequencies, for each way to train."""
    counts = np.asarray([100, 10, 1])

    def implied(sampler="shuffled", weights="none", loss="cross_entropy", **options):
        config = settings.resolve(digits_config())
        config.sampler.name, config.reweighting.name, config.loss.name = sampler, weights, loss
        config.loss[loss].update(options)
        return implied_prior(config, counts)

    train, uniform = counts / 111, np.full(3, 1 / 3)
    for found, expected in (
        (implied(), train),
        (implied("class_balanced"), uniform),
        (implied("progressive"), uniform),
        (implied(weights="inverse_frequency"), uniform),
        (implied(loss="balanced_softmax"), uniform),
        (implied(loss="logit_adjusted"), uniform),
        (implied(loss="logit_adjusted", tau=0.0), train),
        (implied("square_root"), np.sqrt(counts) / np.sqrt(counts).sum()),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_prior_multiplies_the_odds(photographs):
    """The run's last stage is cross-entropy with effective-number weights."""
    images = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), np.uint8)
    plain = photographs.predict_proba(images).astype(np.float64)
    counts = photographs.class_counts
    weights = (1 - 0.9999) / (1 - 0.9999 ** counts.astype(float))
    for prior, target in (("train", counts), ("uniform", np.ones(4)), ([1, 2, 3, 4], [1, 2, 3, 4])):
        expected = plain * target / (counts * weights)
        expected /= expected.sum(1, keepdims=True)
        found = photographs.predict_proba(images, prior=prior)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 8, 8, 1)), {}, "images are float64; expected uint8"),
        (np.zeros((8, 8, 1), np.uint8), {}, "one image's; expected"),
        (np.zeros((2, 8, 8, 3), np.uint8), {}, "an image has 3 channels; this network takes 1"),
        ("digits.png", {}, "images are a str"),
        (np.zeros((2, 8, 8), np.uint8), {"prior": "balanced"}, "prior is 'balanced'"),
        (np.zeros((2, 8, 8), np.uint8), {"prior": [1, 2]}, "expected 10 counts or shares"),
        (np.zeros((2, 8, 8), np.uint8), {"five_crop": True}, "five_crop needs a run"),
    ],
)
def test_wrong_images_are_told_in_one_line(digits, images, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        digits.predict_proba(images, **options)
    assert "\n" not in str(caught.value)


def test_wrong_labels_are_told_in_one_line(digits):
    images = np.zeros((2, 8, 8), np.uint8)
    for labels, message in (
        ([0.5, 1], "labels are float64"),
        ([0], "1 labels for 2 images"),
        ([0, 10], r"labels span 0..10; expected 0..9"),
    ):
        with pytest.raises(ValueError, match=message):
            digits.evaluate(images, labels)


def test_the_best_epoch_is_loaded_by_its_step(digits_run):
    with pytest.raises(ValueError, match="names no best epoch"):
        ltjax.load(digits_run, checkpoint="best")
    result = digits_run / "result.json"
    result.write_text('{"best": {"step": 0}}')
    assert ltjax.load(digits_run, checkpoint="best").num_classes == 10
    result.write_text('{"best": {"step": 7}}')
    with pytest.raises(ValueError, match=r"best epoch's checkpoint \(step 7\) is not there"):
        ltjax.load(digits_run, checkpoint="best")
    result.unlink()
    with pytest.raises(ValueError, match="checkpoint is 'first'"):
        ltjax.load(digits_run, checkpoint="first")


def test_what_is_no_run_is_told(tmp_path, digits_run):
    with pytest.raises(FileNotFoundError, match="is no work directory"):
        ltjax.load(tmp_path / "nothing")
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "config.json").write_text((digits_run / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"runs of several seeds \(seed0\)"):
        ltjax.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no checkpoints"):
        ltjax.load(tmp_path / "seed0")


def test_import_ltjax_stays_light():
    code = "import sys, ltjax; ltjax.__version__; print('jax' in sys.modules, ltjax.load.__name__)"
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False", "load"]


def test_auroc_counts_ties_half():
    scores = np.asarray([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    assert metrics.auroc(scores, [0, 0, 1, 1]).tolist() == [0.875, 0.875]
    assert np.isnan(metrics.auroc(scores, [0, 0, 0, 0])).all()
