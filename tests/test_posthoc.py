"""Classifiers after training: facts about the formulas and what chooses, then the command on the
digits.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import metrics, posthoc
from ltjax.experiment import experiment, initial, settings
from ltjax.posthoc.classifiers import unit
from ltjax.training import features as network_features
from ltjax.training import posthoc as run_posthoc
from tests.runs import train

GENERATOR = np.random.default_rng(0)
KERNEL = GENERATOR.normal(size=(6, 4)).astype(np.float32)
FEATURES = GENERATOR.normal(size=(30, 6)).astype(np.float32)


def test_tau_one_gives_every_class_the_same_norm_and_zero_changes_nothing():
    np.testing.assert_array_equal(posthoc.tau_normalized(KERNEL, 0.0), KERNEL)
    norms = np.linalg.norm(posthoc.tau_normalized(KERNEL, 1.0), axis=0)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-6)
    assert not np.isnan(posthoc.tau_normalized(np.zeros((3, 2)), 0.5)).any()


def test_calibrations_at_their_neutral_values_leave_logits_as_they_are():
    logits = FEATURES @ KERNEL
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    np.testing.assert_array_equal(posthoc.scaled(logits, ones), logits)
    np.testing.assert_array_equal(posthoc.marc(logits, KERNEL, omega=ones, beta=zeros), logits)
    unchanged = posthoc.disalign(
        logits, FEATURES, scale=zeros, bias=zeros, direction=np.ones(6), offset=0.3
    )
    np.testing.assert_array_equal(unchanged, logits)


def test_nearest_class_mean_classifies_its_own_means():
    labels = np.arange(30) % 4
    means = np.stack([FEATURES[labels == c].mean(0) for c in range(4)])
    scores = posthoc.nearest_class_mean(FEATURES, labels, means, num_classes=4, kind="plain")
    np.testing.assert_array_equal(np.argmax(scores, axis=1), np.arange(4))
    np.testing.assert_allclose(np.diag(scores), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: posthoc.tau_normalized(KERNEL[0]), "kernel is .*expected .D, C."),
        (lambda: posthoc.scaled(FEATURES @ KERNEL, np.ones(3)), "one value a class"),
        (
            lambda: posthoc.disalign(
                FEATURES @ KERNEL,
                FEATURES,
                scale=np.zeros(1),
                bias=np.zeros(4),
                direction=np.ones(6),
                offset=0.0,
            ),
            "scale has shape .1.*one value a class",
        ),
        (
            lambda: posthoc.marc(FEATURES @ KERNEL, KERNEL, omega=np.ones(4), beta=np.zeros(1)),
            "beta has shape .1.*one value a class",
        ),
        (
            lambda: posthoc.nearest_class_mean(
                FEATURES, np.zeros(30, int), FEATURES, num_classes=2
            ),
            "class 1 has no training features",
        ),
        (
            lambda: posthoc.nearest_class_mean(
                FEATURES, np.zeros(30, int), FEATURES, num_classes=1, kind="centred_l2"
            ),
            "did you mean .centered_l2.",
        ),
        (
            lambda: posthoc.nearest_class_mean(
                FEATURES, np.arange(30) % 3, FEATURES, num_classes=2
            ),
            "train_labels span 0..2; expected 0..1",
        ),
        (lambda: posthoc.held_out(np.zeros(4, int), 1.0), "share is 1.0"),
        (lambda: posthoc.shifted_prior([3, 2], 0.5), "factor is 0.5"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_heads_that_train_together_train_as_alone_and_stand_still_at_their_end():
    labels, counts = np.arange(30) % 4, [8, 8, 7, 7]
    own = posthoc.Classifier.of(KERNEL, np.zeros(4))
    order = jnp.asarray(GENERATOR.integers(0, 30, (3, 2, 8)))
    arrays = jnp.asarray(FEATURES), jnp.asarray(labels), order
    starts, hows, alone = [], [], []
    for name, epochs in (("crt", 3), ("label_aware_smoothing", 2)):
        head = posthoc.HEADS[name]
        starts.append(posthoc.start(head, own, jax.random.key(0)))
        options = {"learning_rate": 0.1, "epochs": epochs}
        hows.append(posthoc.training(head, counts, total_epochs=3, **options))
        short = posthoc.training(head, counts, **options)
        alone.append(posthoc.train(starts[-1], short, *arrays[:2], order[:epochs]))
    stacked = [jax.tree.map(lambda *x: jnp.stack(x), *trees) for trees in (starts, hows)]
    together = jax.vmap(posthoc.train, (0, 0, None, None, None))(*stacked, *arrays)
    for k, one in enumerate(alone):
        for field in dataclasses.fields(one):
            value = getattr(together, field.name)[k]
            np.testing.assert_allclose(value, getattr(one, field.name), rtol=2e-5, atol=1e-6)


def test_the_held_out_part_has_the_same_tail_and_leaves_an_image_of_each_class():
    labels = np.repeat(np.arange(4), [100, 20, 2, 1])
    out = posthoc.held_out(labels, 0.2, seed=3)
    assert np.bincount(labels[out], minlength=4).tolist() == [20, 4, 1, 0]
    np.testing.assert_array_equal(out, posthoc.held_out(labels, 0.2, seed=3))


def test_groups_are_held_out_whole():
    from ltjax.training.posthoc import _held_out

    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    out = _held_out(labels, groups, 0.2, 0)
    assert out.sum() == 8
    assert all(len(set(out[groups == group])) == 1 for group in range(10))
    np.testing.assert_array_equal(_held_out(labels, None, 0.2, 0), posthoc.held_out(labels, 0.2))
    with pytest.raises(ValueError, match=r"posthoc.held_out: every group holds all images of some"):
        _held_out(labels[:4], groups[:4], 0.2, 0)


def test_of_equal_candidates_the_one_nearest_to_the_default_is_chosen():
    assert posthoc.choose([0.5, 0.7, 0.7, 0.6], [0, 3, 1, 2]) == 2
    assert posthoc.choose([0.5, 0.5], [0, 1]) == 0


def test_temperature_undoes_a_known_scale_and_stops_at_its_bounds():
    """20,000 draws from softmax(z): T of 3 z is 3 to the draw's noise, 2 %."""
    logits = GENERATOR.normal(0, 1.5, (20000, 4))
    noise = GENERATOR.gumbel(size=logits.shape)
    labels = (logits + noise).argmax(axis=1)
    assert posthoc.temperature(3 * logits, labels) == pytest.approx(3.0, rel=0.03)
    assert posthoc.temperature(np.eye(3), np.arange(3)) == 0.05  # all right: as sharp as allowed
    assert posthoc.temperature(np.eye(3), (np.arange(3) + 1) % 3) == 20.0


def test_shifted_priors_follow_the_training_order_and_weigh_the_recall():
    counts = [5, 50, 500]
    prior = posthoc.shifted_prior(counts, 100.0)
    np.testing.assert_allclose(prior, np.array([1, 10, 100]) / 111)
    np.testing.assert_allclose(posthoc.shifted_prior(counts, 100.0, backward=True), prior[::-1])
    recall = [0.0, 0.5, 1.0]
    assert posthoc.shifted_accuracy(recall, counts, 1.0) == pytest.approx(0.5)
    assert posthoc.shifted_accuracy(recall, counts, 100.0) == pytest.approx(105 / 111)
    assert posthoc.shifted_accuracy([np.nan, 0.5, 0.5], counts, 9.0) == pytest.approx(0.5)


def test_calibration_figures_on_a_case_done_by_hand():
    probabilities, labels = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]]), [0, 1, 1, 1]
    count, confidence, correct = metrics.reliability(probabilities, labels, 2)
    np.testing.assert_allclose([count[1], confidence[1], correct[1]], [4, 0.8, 0.75])
    assert metrics.calibration_error(probabilities, labels, 2) == pytest.approx(0.05)
    # Class 0: bin 0 says 0.3 twice where 0 are, bin 1 says 0.9 twice where 1 of 2 is; class 1
    # mirrors.
    assert metrics.classwise_calibration_error(probabilities, labels, 2) == pytest.approx(0.35)
    nll = metrics.negative_log_likelihood(np.log(probabilities), labels)
    assert nll == pytest.approx(-np.log([0.9, 0.1, 0.7, 0.7]).mean())


METHODS = ("own", "logit_adjusted", "tau_normalized", "ncm_l2", "crt", "marc")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained ResNet-8 of width 2 on the digits, with its classifiers: config, folder, record and
    lines.
    """
    from configs import quickstart

    config = quickstart.get_config()
    config.model.name, config.model.width = "resnet8", 2
    config.data.factor = 0.1
    config.training.epochs, config.training.batch_size, config.training.cpu_devices = 2, 64, 1
    config.logging.tensorboard = False
    config.posthoc.methods = METHODS
    config.posthoc.epochs, config.posthoc.learning_rates = (2,), (1.0, 10.0)
    workdir = tmp_path_factory.mktemp("posthoc") / "run"
    train(config, workdir)
    lines = []
    record = run_posthoc.analyse(settings.resolve(config), workdir, lines.append)
    return config, workdir, record, lines


def test_every_method_asked_for_has_its_default_chosen_and_oracle(run):
    _, workdir, record, _ = run
    assert [row["method"] for row in record["rows"]] == list(METHODS)
    assert json.loads((workdir / "posthoc.json").read_text()) == record
    for row in record["rows"]:
        assert row["oracle"]["balanced_accuracy"] >= row["chosen"]["balanced_accuracy"]
        assert row["oracle"]["balanced_accuracy"] >= row["default"]["balanced_accuracy"]
        assert row["chosen"]["held_out"] >= row["default"]["held_out"]
        assert set(row["chosen"]["reliability"]) == {"all", "many", "medium", "few"}
    adjusted = record["rows"][1]
    assert adjusted["default"]["parameters"] == {"tau": 1.0}
    assert adjusted["candidates"] == 21
    assert record["scale"] == 30.0  # the cosines of a normalised classifier, as LDAM scales them


def test_the_networks_own_row_is_its_evaluation(run):
    from ltjax.training.scoring import evaluate

    config, workdir, record, _ = run
    metrics_ = evaluate(settings.resolve(config), workdir, lambda line: None)
    own = record["rows"][0]["chosen"]
    assert own["accuracy"] == pytest.approx(metrics_["test_accuracy"], abs=1e-6)
    np.testing.assert_allclose(own["per_class"], metrics_["per_class"], atol=1e-6)


def test_features_are_computed_once(run, monkeypatch):
    config, workdir, record, _ = run
    monkeypatch.setattr(network_features, "_pass", None)  # would be called to compute them
    lines = []
    again = run_posthoc.analyse(settings.resolve(config), workdir, lines.append)
    assert again["rows"] == record["rows"]
    assert "spared" in lines[0]


def test_test_labels_choose_nothing(run, monkeypatch):
    """With the test labels permuted all figures change, and nothing that was chosen."""
    config, workdir, record, _ = run
    built = experiment.build

    def permuted(config):
        made = built(config)
        labels = np.roll(made.dataset.test_labels, 50)
        return dataclasses.replace(
            made, dataset=dataclasses.replace(made.dataset, test_labels=labels)
        )

    monkeypatch.setattr(run_posthoc, "build", permuted)
    monkeypatch.setattr(run_posthoc, "write_atomically", lambda *arguments: None)
    file = workdir / "posthoc" / "features.npz"
    kept = file.read_bytes()
    other = run_posthoc.analyse(settings.resolve(config), workdir, lambda line: None)
    file.write_bytes(kept)
    for before, after in zip(record["rows"], other["rows"], strict=True):
        for name in ("parameters", "held_out", "temperature"):
            assert before["chosen"][name] == after["chosen"][name]
        assert before["chosen"]["per_class"] != after["chosen"]["per_class"]


def test_a_network_without_a_classifier_for_these_classes_gets_a_probe(run, tmp_path):
    config, workdir, _, _ = run
    config = config.copy_and_resolve_references()
    config.init_from, config.init_except, config.model.classifier = str(workdir), "linear", "linear"
    config.posthoc.methods = ("own", "lws")
    config.posthoc.augmented_passes = 1
    lines = []
    record = run_posthoc.analyse(settings.resolve(config), tmp_path / "new", lines.append)
    assert [row["method"] for row in record["rows"]] == ["cross_entropy", "lws"]
    assert record["classifier"] == "none"
    assert record["held_out_seen"] is True
    assert any("stands in" in line for line in lines)


def test_a_runs_own_validation_images_are_the_held_out_part(run, tmp_path):
    config, workdir, _, _ = run
    config = config.copy_and_resolve_references()
    config.init_from, config.data.validation = str(workdir), 0.2
    config.posthoc.methods = ("own", "logit_adjusted")
    made = experiment.build(settings.resolve(config)).dataset
    record = run_posthoc.analyse(settings.resolve(config), tmp_path, lambda line: None)
    assert record["held_out_counts"] == np.bincount(made.val_labels, minlength=10).tolist()
    assert record["held_out_seen"] is None  # that run was trained on other images


def test_a_run_from_before_a_field_was_added_is_read(run, tmp_path):
    _, workdir, _, _ = run
    record = json.loads((workdir / "config.json").read_text())
    del record["config"]["optimizer.classifier_rate"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    assert "params" in initial.run_variables(tmp_path)


def test_the_report_shows_the_oracle_apart(run, tmp_path):
    import io

    from rich.console import Console

    from ltjax import report

    _, workdir, _, _ = run
    stream = io.StringIO()
    report.write_posthoc([workdir], tmp_path, Console(file=stream, width=200))
    assert "oracle" in stream.getvalue()
    assert "forward 50" in stream.getvalue()
    page = (tmp_path / "report.html").read_text()
    assert '<td class="oracle">' in page
    assert "trained on the held-out images too" in page
    assert (tmp_path / "posthoc.png").stat().st_size > 10000
    alone = tmp_path / "alone"  # a folder that holds no run: of weights from a file
    alone.mkdir()
    (alone / "posthoc.json").write_bytes((workdir / "posthoc.json").read_bytes())
    report.write_posthoc([workdir, alone], tmp_path / "both", Console(file=stream, width=200))
    assert "chosen on held-out training images (default)" in stream.getvalue()
    with pytest.raises(FileNotFoundError, match="--mode=posthoc"):
        report.write_posthoc([tmp_path], tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("methods", ("crtt",), "did you mean 'crt'"),
        ("held_out", 1.5, "above 0, below 1"),
        ("epochs", (), "one at least"),
        ("learning_rates", (0.0,), "a value above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(digits_config, field, value, message):
    digits_config.posthoc[field] = value
    with pytest.raises(ValueError, match=message):
        settings.resolve(digits_config)


def test_features_of_zeros_have_finite_scores_and_stay():
    """Of cosines too; and the others' lengths are 1."""
    np.testing.assert_array_equal(unit(jnp.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_allclose(unit(jnp.asarray([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(jnp.zeros((2, 3)))).all()
    cosines = posthoc.Classifier.of(np.eye(2), length=5.0)
    scores = posthoc.uncalibrated(cosines, np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(scores, [[0.0, 0.0], [3.0, 4.0]], atol=1e-6)


def test_label_aware_smoothing_moves_kernel_and_bias_at_half_the_rate_of_its_scales():
    """By default, as in MiSLAS's second stage; or at the ratio that is asked for."""
    head, counts = posthoc.HEADS["label_aware_smoothing"], [5, 3, 2, 1]
    for options, rate in (({}, 0.5), ({"kernel_rate": 0.25}, 0.25)):
        made = posthoc.training(head, counts, learning_rate=0.1, epochs=1, **options)
        assert made.factors.kernel == made.factors.bias == rate
        assert made.factors.omega == 1.0
