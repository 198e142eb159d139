"""Every recipe resolves on every data set it is meant for, and wrong values give one clear line."""

import importlib
import math
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import base
from ltjax import fields
from ltjax.experiment import schedules, settings
from ltjax.experiment.ranges import RANGES
from ltjax.experiment.stages import stages_of

PHOTOGRAPHS = (
    "finetune",
    "imagenet_lt_ce_drw_sam",
    "imagenet_lt_ldam_drw_sam",
    "inat18_ce_drw_sam",
    "inat18_ldam_drw_sam",
    "places_lt",
)
NAMES = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[1] / "configs").glob("[a-z]*.py")
    if path.stem != "base"
)


def load(name):
    return importlib.import_module(f"configs.{name}").get_config()


def test_the_recipes_are_all_there():
    assert set(NAMES) >= {
        *(
            "ldam_drw_sam",
            "ce",
            "ce_drw",
            "ldam_drw",
            "vs_drw",
            "focal",
            "balanced_softmax",
            "logit_adjusted",
        ),
        *("class_balanced", "resample", "ce_sam", "ce_drw_sam", "vs_drw_sam", "quickstart", "crt"),
        *("cmo", "cmo_balanced_softmax", "balpoe", "sade", "bcl", "proco", "proco_400"),
        *("glmc", "glmc_wide", "mislas", "focal_sam", "imbsam", "ib"),
        *("expert", "rotnet", "hybrid", "pro"),
        *("reslt", "reslt_f002", "reslt_f010", "reslt_b", "reslt_b_f002", "reslt_b_f010"),
        *(
            "efficientnet",
            "efficientnet_reweight",
            "decoupled",
            "decoupled_balanced_softmax",
            "decoupled_focal",
        ),
        *("decoupled_class_balanced", "decoupled_class_balanced_focal"),
        *(
            "imagenet_lt_ce_drw_sam",
            "imagenet_lt_ldam_drw_sam",
            "inat18_ce_drw_sam",
            "inat18_ldam_drw_sam",
            "places_lt",
            "finetune",
        ),
    }


def test_the_recipes_for_photographs_have_the_published_schedules():
    """ImageNet-LT and iNaturalist: cosine from 0.2 or 0.1 to 0 without warm-up, DRW from epoch 60,
    four radii, LDAM with M = 0.3.
    """
    for name, rate, decay, radii in (
        ("imagenet_lt_ce_drw_sam", 0.2, 2e-4, (0.05, 0.1, 0.5, 0.5)),
        ("imagenet_lt_ldam_drw_sam", 0.2, 2e-4, (0.05, 0.1, 0.5, 0.5)),
        ("inat18_ce_drw_sam", 0.1, 2e-4, (0.05, 0.1, 0.1, 0.2)),
        ("inat18_ldam_drw_sam", 0.1, 1e-4, (0.05, 0.1, 0.5, 0.5)),
    ):
        config = settings.resolve(load(name))
        assert (config.training.epochs, config.training.batch_size, config.model.name) == (
            90,
            256,
            "resnet50",
        )
        assert (config.optimizer.weight_decay, config.augment.jitter, config.data.profile) == (
            decay,
            (0.4, 0.4, 0.4),
            "full",
        )
        assert [(stage.first, stage.config.reweighting.name) for stage in stages_of(config)] == [
            (0, "none"),
            (60, "effective_number"),
        ]
        schedule, radius = schedules.learning_rate_schedule(config), schedules.rho_schedule(config)
        expected = [rate, rate / 2, rate * (1 + math.cos(math.pi * 89 / 90)) / 2]
        assert [schedule(epoch) for epoch in (0, 45, 89)] == pytest.approx(expected)
        assert [radius(epoch) for epoch in (0, 4, 5, 59, 60, 74, 75, 89)] == [
            r for r in radii for _ in range(2)
        ]
        assert (
            ("ldam" in name)
            == (config.loss.name == "ldam")
            == (config.model.classifier == "normalized")
        )
        assert config.loss.name != "ldam" or config.loss.ldam.max_margin == 0.3
        assert not config.model.zero_init


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "digits"])
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_resolves_and_says_what_it_is(name, data):
    module = importlib.import_module(f"configs.{name}")
    for heading in (
        "Source:",
        "Published",
        "Ours:",
        f"Run: python launch.py --config=configs/{name}.py",
    ):
        assert heading in module.__doc__
    config = load(name)
    assert config.name == name
    if name not in PHOTOGRAPHS:
        config.data.name = data
    resolved = settings.resolve(config)
    leaves = fields.flat(resolved)
    assert [
        key for key, value in leaves.items() if value is None and not key.startswith("published.")
    ] == []
    assert settings.resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("name", "cifar10", "cifar100"),
    [("ce_sam", 0.1, 0.2), ("ce_drw_sam", 0.5, 0.8), ("ldam_drw_sam", 0.8, 0.8)],
)
def test_the_published_radius_of_each_data_set(name, cifar10, cifar100):
    for data, rho in (("cifar10", cifar10), ("cifar100", cifar100)):
        config = load(name)
        config.data.name = data
        resolved = settings.resolve(config)
        assert resolved.sam.enabled
        assert resolved.sam.rho == rho
        assert schedules.rho_schedule(resolved)(100) == rho


def test_a_value_given_wins_over_the_data_sets():
    config = load("ldam_drw_sam")
    config.sam.rho = 0.3
    config.data.mean = (0.5, 0.5, 0.5)
    resolved = settings.resolve(config)
    assert (resolved.sam.rho, resolved.data.mean) == (0.3, (0.5, 0.5, 0.5))


def test_vector_scaling_has_its_published_cifar10_setting():
    assert settings.resolve(load("vs_drw")).loss.vector_scaling.to_dict() == {
        "gamma": 0.2,
        "tau": 1.2,
    }


def test_milestones_scale_with_the_number_of_epochs():
    config = load("ldam_drw_sam")
    config.training.epochs = 20
    resolved = settings.resolve(config)
    schedule = schedules.learning_rate_schedule(resolved)
    assert [round(schedule(epoch), 7) for epoch in (0, 1, 15, 16, 17, 18)] == [
        0.1,
        0.1,
        0.1,
        0.001,
        0.001,
        0.00001,
    ]
    assert [(stage.first, stage.epochs) for stage in stages_of(resolved)] == [(0, 16), (16, 4)]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("loss.name", "ldma", "config.loss.name is 'ldma'; did you mean 'ldam'?"),
        ("data.name", "cifar", "config.data.name is 'cifar'; did you mean 'cifar10"),
        ("model.name", "resnet23", "config.model.name is 'resnet23'"),
        ("sampler.name", "balanced", "known: shuffled, class_balanced"),
        ("sam.batch_stats", "second", "known: both, first"),
        ("training.batch_size", 0, "config.training.batch_size is 0; expected at least 1"),
        ("sam.rho", -0.5, "config.sam.rho is -0.5; expected at least 0"),
        ("loss.ldam.max_margin", -1.0, "config.loss.ldam.max_margin is -1.0; expected at least 0"),
        ("loss.ldam.scale", 0.0, "config.loss.ldam.scale is 0.0; expected a value above 0"),
        ("augment.flip", 2.0, "config.augment.flip is 2.0; expected 0 to 1"),
        (
            "optimizer.momentum",
            1.5,
            "config.optimizer.momentum is 1.5; expected 0 or more, below 1",
        ),
        ("data.factor", 0.0, "config.data.factor is 0.0; expected above 0, at most 1"),
        ("sam.milestones", (5, -1, 9), "is (5, -1, 9); expected each of its values at least 0"),
        ("data.counts", (5, "a"), "config.data.counts is (5, 'a'); expected each of its values"),
        ("data.group_thresholds", (100, 20), "expected two ascending numbers of images"),
        ("data.group_thresholds", (5, 20, 100), "expected two ascending numbers of images"),
        ("optimizer.weight_decay", float("nan"), "config.optimizer.weight_decay is nan"),
        (
            "learning_rate.factors",
            (0.1,),
            "config.learning_rate.factors (0.1,) and milestones (160, 180)",
        ),
        (
            "data.std",
            (0.1, 0.0, 0.1),
            "config.data.std is (0.1, 0.0, 0.1); expected each of its values a value above 0",
        ),
    ],
)
def test_wrong_values_name_the_field_and_what_was_expected(field, value, told):
    config = load("ldam_drw_sam")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match="config") as caught:
        settings.resolve(config)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_number_has_its_range():
    """And no other field has one."""
    config, numbers = base.get_config(), set()
    texts = {"stages", "posthoc.methods"}  # tuples of names

    def collect(section, prefix=""):
        for name in section:
            if name == "by_dataset":
                continue
            if isinstance(section[name], ConfigDict):
                collect(section[name], f"{prefix}{name}.")
            elif section.get_type(name) in (int, float, tuple):
                numbers.add(prefix + name)

    collect(config)
    assert numbers - texts == set(RANGES)


def test_a_stage_has_the_same_ranges():
    config = load("ce_drw")
    config.stage.reweighted.loss = {"focal": {"gamma": -1.0}}
    with pytest.raises(ValueError, match=r"stage 'reweighted': config.loss.focal.gamma is -1.0"):
        settings.resolve(config)


def test_a_mistyped_key_is_refused_with_the_nearest_right_one():
    config = load("ce")
    with pytest.raises(AttributeError, match="reweighting"):
        config.rewieghting = 3


def test_a_data_set_without_a_value_says_which_field_to_give():
    config = load("ce")
    with config.unlocked():
        del config.by_dataset["digits"]
    config.data.name = "digits"
    with pytest.raises(
        ValueError, match=r"config\.augment\.flip has no value.*give --config\.augment\.flip="
    ):
        settings.resolve(config)


def test_places_lts_features_end_their_cosine_within_their_stage():
    stage = stages_of(settings.resolve(load("places_lt")))[0]
    schedule = schedules.learning_rate_schedule(stage.config, *stage.span("learning_rate"))
    last = 0.01 * (1 + math.cos(math.pi * 29 / 30)) / 2
    assert [schedule(0), schedule(29)] == pytest.approx([0.01, last])


def test_reslt_has_the_published_weights_and_masks():
    found = {}
    for name in ("reslt", "reslt_f002", "reslt_f010", "reslt_b", "reslt_b_f010"):
        for data in ("cifar10", "cifar100"):
            config = load(name)
            config.data.name = data
            loss = settings.resolve(config).loss.reslt
            found[name, data] = (loss.beta, loss.medium_from, loss.tail_from)
    assert found["reslt", "cifar10"] == (0.998, 2, 4)
    assert found["reslt", "cifar100"] == (0.995, 35, 70)
    assert found["reslt_f002", "cifar10"] == (0.998, 2, 4)
    assert found["reslt_f002", "cifar100"] == (0.99, 35, 70)
    assert found["reslt_f010", "cifar10"] == (0.96, 2, 4)
    assert found["reslt_f010", "cifar100"] == (0.72, 35, 70)
    assert found["reslt_b", "cifar10"] == found["reslt_b_f010", "cifar10"] == (0.95, 3, 6)


def test_system_a_has_its_6350_images():
    resolved = settings.resolve(load("expert"))
    assert resolved.data.majority_count + 9 * resolved.data.minority_count == 6350
