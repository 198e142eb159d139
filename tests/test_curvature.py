"""--mode=hessian: what it writes, that it continues, and that its figures
are the dense Hessian's.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ltjax import augment, losses, report
from ltjax.experiment import experiment, initial, settings
from ltjax.training import curvature
from tests.runs import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained convolution of width 4 on the digits, analysed: its config, folder and record."""
    from configs import quickstart

    config = quickstart.get_config()
    config.model.name, config.model.width = "tiny", 4
    config.data.factor = 0.1
    config.training.epochs, config.training.batch_size, config.training.cpu_devices = 2, 64, 1
    config.logging.tensorboard = False
    config.hessian.num_steps, config.hessian.trace_probes, config.hessian.classes = 60, 20, (0, 9)
    config.hessian.max_images = 12
    workdir = tmp_path_factory.mktemp("curvature") / "run"
    train(config, workdir)
    lines = []
    record = curvature.analyse(settings.resolve(config), workdir, lines.append)
    return config, workdir, record, lines


def test_every_class_asked_for_and_all_images_have_a_row_and_a_line(run):
    config, workdir, record, lines = run
    assert [(row["name"], row["class"], row["images"]) for row in record["rows"]] == [
        ("0", 0, 12),
        ("9", 9, 12),
        ("all", -1, 120),
    ]
    assert json.loads((workdir / "hessian.json").read_text()) == record
    assert len(lines) == 3
    assert "minutes left" in lines[0]
    with np.load(workdir / "hessian.npz") as arrays:
        assert set(arrays) == {
            f"{kind}_{name}" for kind in ("nodes", "weights") for name in ("0", "9", "all")
        }
        assert arrays["nodes_all"].shape == (1, config.hessian.num_steps)


@pytest.mark.parametrize("name", ["9", "all"])
def test_figures_are_the_dense_hessians(run, name):
    """Float32 throughout: eigenvalues to 1e-3 of the largest, the command's own tolerance."""
    config, workdir, record, _ = run
    built = experiment.build(settings.resolve(config))
    variables = initial.run_variables(workdir)
    (chosen,) = [subset.indices for subset in curvature._subsets(built) if subset.name == name]
    images = augment.normalize(
        jnp.asarray(built.dataset.train_images[chosen]), built.recipe.mean, built.recipe.std
    )
    labels = built.dataset.train_labels[chosen]
    flat, unravel = ravel_pytree(variables["params"])

    def loss(x):
        return losses.cross_entropy(
            built.recipe.model.apply({**variables, "params": unravel(x)}, images), labels
        ).mean()

    eigenvalues = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(loss))(flat), float))
    row = next(row for row in record["rows"] if row["name"] == name)
    assert row["loss"] == pytest.approx(float(loss(flat)), rel=1e-5)
    largest = np.abs(eigenvalues).max()
    assert row["lambda_max"] == pytest.approx(eigenvalues[-1], abs=1e-3 * largest)
    assert row["lambda_min"] == pytest.approx(eigenvalues[0], abs=1e-3 * largest)
    assert row["ratio"] == pytest.approx(row["lambda_min"] / row["lambda_max"])
    assert abs(row["trace"] - eigenvalues.sum()) < 5 * row["trace_error"] + 1e-3 * largest


def test_an_interrupted_analysis_continues_with_the_next_class(run, tmp_path, monkeypatch):
    config, workdir, record, _ = run
    for name in ("hessian.json", "hessian.npz"):
        (tmp_path / name).write_bytes((workdir / name).read_bytes())
    cut = dict(record, rows=record["rows"][:2])
    (tmp_path / "hessian.json").write_text(json.dumps(cut))
    for name in ("config.json", "checkpoints"):
        (tmp_path / name).symlink_to(workdir / name)
    asked = []
    one = curvature._one

    def counted(experiment, losses_fn, params, subset):
        asked.append(subset.name)
        return one(experiment, losses_fn, params, subset)

    monkeypatch.setattr(curvature, "_one", counted)
    lines = []
    again = curvature.analyse(settings.resolve(config), tmp_path, lines.append)
    assert asked == ["all"]
    assert lines[0] == "continuing: 2 of 3 done before"
    for ours, before in zip(again["rows"], record["rows"], strict=True):
        assert ours["lambda_max"] == pytest.approx(before["lambda_max"], rel=1e-6)
    config.hessian.num_steps = 61  # other settings: nothing of the earlier analysis is used
    try:
        asked.clear()
        curvature.analyse(settings.resolve(config), tmp_path, lines.append)
        assert asked == ["0", "9", "all"]
    finally:
        config.hessian.num_steps = 60


def test_the_runs_own_loss_weighs_the_classes_of_all_images_together(run, tmp_path):
    config, workdir, record, _ = run
    config = config.copy_and_resolve_references()
    config.hessian.loss, config.hessian.classes = "run", (9,)
    config.hessian.num_steps, config.hessian.trace_probes = 5, 2
    for name in ("config.json", "checkpoints"):
        (tmp_path / name).symlink_to(workdir / name)
    own = curvature.analyse(settings.resolve(config), tmp_path, lambda line: None)
    assert own["loss"] == "the run's own"
    assert own["rows"][0]["loss"] > 2 * record["rows"][1]["loss"]  # LDAM scales cosines by 30
    built = experiment.build(settings.resolve(config))
    variables = initial.run_variables(workdir)
    *_, everything = curvature._subsets(built)
    images = augment.normalize(
        jnp.asarray(built.dataset.train_images[everything.indices]),
        built.recipe.mean,
        built.recipe.std,
    )
    labels = built.dataset.train_labels[everything.indices]
    logits = built.recipe.model.apply(variables, images)
    expected = losses.weighted_mean(
        built.recipe.loss(logits, labels), labels, built.settings(1).class_weights
    )
    assert own["rows"][1]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_pictures_and_the_report_show_the_spectra(run, tmp_path):
    _, workdir, _, _ = run
    report.write_spectra([workdir, workdir], tmp_path, ["one", "other"])
    assert {path.name for path in tmp_path.iterdir()} == {
        "hessian.png",
        "hessian_0.png",
        "hessian_9.png",
        "hessian_all.png",
    }
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())
    report.write([workdir], tmp_path / "report")
    assert 'alt="hessian"' in (tmp_path / "report" / "report.html").read_text()


def test_bad_input_is_one_line(run, tmp_path):
    config, workdir, _, _ = run

    def analyse(folder, **fields):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(fields)
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            curvature.analyse(settings.resolve(changed), folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "holds no checkpoints; give --workdir=RUN" in analyse(tmp_path)
    assert "config.hessian.classes holds 10; expected classes in 0..9" in analyse(
        workdir, **{"hessian.classes": (10,)}
    )
    assert "with another config: model.width (4 there, 8 now); give the flags" in analyse(
        workdir, **{"model.width": 8}
    )
    assert "config.hessian.loss is 'ldam'; known: cross_entropy, run" in analyse(
        workdir, **{"hessian.loss": "ldam"}
    )
    (tmp_path / "config.json").write_bytes((workdir / "config.json").read_bytes())
    assert "holds no checkpoints; give --workdir=RUN" in analyse(tmp_path)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    assert "config.json is damaged" in analyse(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(
        FileNotFoundError, match="holds no Hessian analysis; make one with --mode=hessian"
    ):
        report.write_spectra([tmp_path], tmp_path)


def test_parameters_that_are_not_finite_are_refused(run, monkeypatch):
    config, workdir, _, _ = run

    scored = initial.scored_variables

    def ruined(*arguments):
        variables, source = scored(*arguments)
        variables["params"]["conv1"]["kernel"] = (
            variables["params"]["conv1"]["kernel"].at[0].set(jnp.nan)
        )
        return variables, source

    monkeypatch.setattr(initial, "scored_variables", ruined)
    with pytest.raises(
        ValueError, match="params/conv1/kernel holds values that are not finite; the run diverged"
    ):
        curvature.analyse(settings.resolve(config), workdir)


def test_a_class_without_test_images_is_named(run, monkeypatch):
    config, workdir, _, _ = run
    config = config.copy_and_resolve_references()
    config.hessian.images = "test"
    build = curvature.build

    def without_nines(resolved):
        built = build(resolved)
        built.dataset.test_labels[built.dataset.test_labels == 9] = 8
        return built

    monkeypatch.setattr(curvature, "build", without_nines)
    with pytest.raises(
        ValueError,
        match=r"class 9 has no test images to analyse; leave it out of config\.hessian\.classes",
    ):
        curvature.analyse(settings.resolve(config), workdir)
