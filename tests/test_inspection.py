"""A first look at a data set: what is counted, found, written and advised."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import ltjax
from ltjax import data
from ltjax.inspection import contact_sheet, overview, tell
from ltjax.inspection.advice import advice
from ltjax.inspection.scan import scan
from tests.conftest import ROOT

pytest.importorskip("grain")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """30 ants, 6 bees and 2 cats of different kinds; a copy under another label, one in the test
    set, a broken file.
    """
    root = tmp_path_factory.mktemp("photographs")
    rows = ["path,label,split,group"]
    generator = np.random.default_rng(0)
    for label, count in (("ant", 30), ("bee [b]", 6), ("キャット", 2)):
        for k in range(count):
            name = f"{label[0]}{k}"
            image = Image.fromarray(generator.integers(0, 256, (40 + k % 2, 50, 3), np.uint8))
            saved = {"a3": ("L", "png"), "a4": ("RGBA", "png"), "a5": ("RGB", "tif")}
            mode, suffix = saved.get(name, ("RGB", "png"))
            exif = Image.Exif()
            exif[0x0112] = 6 if name == "a7" else 1
            image.convert(mode).save(root / f"{name}.{suffix}", exif=exif)
            split = "test" if k in (1, 8) else "train"
            rows.append(f'{name}.{suffix},"{label}",{split},{name}')
    deep = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 30
    Image.fromarray(deep).save(root / "a9.png")
    with Image.open(root / "a5.tif") as image:
        image.save(root / "a5.tif", save_all=True, append_images=[image.convert("L")])
    (root / "copy.png").write_bytes((root / "a0.png").read_bytes())
    with Image.open(root / "a2.png") as image:
        image.save(root / "again.bmp")
    (root / "broken.jpg").write_bytes(b"no image")
    rows += ["copy.png,bee [b],train,x", "again.bmp,ant,test,y", "broken.jpg,ant,train,z"]
    (root / "all.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


def test_everything_is_counted_and_written(photographs, tmp_path):
    found = ltjax.inspect(photographs / "all.csv", tmp_path / "look")
    assert found["images"] == {"train": 36, "val": 0, "test": 5}
    assert [
        (one["name"], one["id"], one["train"], one["test"], one["group"])
        for one in found["classes"]
    ] == [
        ("ant", 0, 29, 3, "medium"),
        ("bee [b]", 1, 6, 1, "few"),
        ("キャット", 2, 1, 1, "few"),
    ]
    assert found["imbalance_factor"] == 29.0
    assert found["groups"]["few"] == {"classes": 2, "images": 7}
    assert found["kept_together"] == {"train": 36, "test": 5}
    assert found["sizes"]["smallest"] == [50, 40]
    assert found["sizes"]["largest"] == [50, 41]
    assert found["sizes"]["different"] == 2
    kinds = {"RGB": 37, "grey": 1, "RGB with transparency": 1, "grey of 16 bits": 1}
    assert found["pixels"] == kinds
    assert found["turned"] == found["paged"] == 1
    assert found["unreadable_images"] == 1
    (unreadable,) = found["unreadable"]
    assert unreadable == {"image": str(photographs / "broken.jpg"), "reason": "not an image"}
    copies = found["copies"]
    assert copies["within"] == {"train": 1}
    assert copies["across"] == {"test images that are in train": 1}
    assert copies["labels_differ"] == 1
    assert sorted(
        sorted(one["image"].rsplit("/", 1)[1] for one in group) for group in copies["groups"]
    ) == [["a0.png", "copy.png"], ["a2.png", "again.bmp"]], "by pixels, not by bytes"
    look = tmp_path / "look"
    assert json.loads((look / "inspect.json").read_text(encoding="utf-8")) == found
    for name in ("inspect.png", "contact_sheet.png"):
        with Image.open(look / name) as picture:
            assert picture.size[0] > 100
    assert sorted(path.name for path in look.iterdir()) == [
        "contact_sheet.png",
        "inspect.json",
        "inspect.png",
    ]


def test_the_chart_does_not_exaggerate_a_small_imbalance():
    """Bars begin at 0 unless the data are long-tailed; one image can be seen there."""
    for counts, scale, bottom in (((104, 98), "linear", 0), ((500, 1), "log", 0.8)):
        classes = [
            {"name": str(count), "train": count, "val": 0, "test": 5, "group": "many"}
            for count in counts
        ]
        found = {
            "classes": classes,
            "sizes": {},
            "images": {"train": sum(counts), "val": 0, "test": 10},
            "imbalance_factor": counts[0] / counts[1],
        }
        (axes,) = overview(found, []).axes
        assert (axes.get_yscale(), axes.get_ylim()[0]) == (scale, bottom)
        assert axes.get_ylim()[1] > counts[0]


def test_the_sheet_shows_training_images_of_every_class_and_no_others(photographs):
    loaded = data.load_csv(str(photographs / "all.csv"))
    looks = scan(loaded)
    found = ltjax.inspect(loaded)
    sheet = np.asarray(contact_sheet(loaded, found, looks))
    # Three rows of 68 pixels; names in the first 150 pixels, then up to eight images of 64.
    assert sheet.shape[0] == 3 * 68
    shown = [
        [
            k
            for k in range(8)
            if (sheet[68 * row : 68 * row + 64, 150 + 66 * k : 214 + 66 * k] != 255).any()
        ]
        for row in range(3)
    ]
    assert [len(one) for one in shown] == [8, 6, 1]
    index = next(k for k in range(36) if loaded.class_names[loaded.train_labels[k]] == "キャット")
    from ltjax.data import decode
    from ltjax.tiles import tile

    expected = np.asarray(tile(decode.decoded(loaded.train.read(index)), 64))
    np.testing.assert_array_equal(sheet[136:200, 150:214], expected)


def test_the_command_needs_no_config_and_names_what_it_found(photographs, launch, tmp_path):
    done = launch(
        "--mode=inspect", f"--input={photographs / 'all.csv'}", f"--output={tmp_path / 'out'}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    for line in (
        "36 train, 5 test images of 3 classes; imbalance factor 29 (29 to 1)",
        "kept together (patients, cameras, sites): 36 in train, 5 in test",
        "copies (same pixels): 1 superfluous in train, 1 test images that are in train, 1 groups",
        f"unreadable: {photographs / 'broken.jpg'} (not an image)",
        "1 files ask to be turned (EXIF); training takes them as stored",
        "1. replace the unreadable images, or train with --config.data.unreadable=skip",
        "finetune: pretrained weights, balanced softmax",
    ):
        assert line in done.stdout


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections'
def test_a_config_gives_the_images_that_its_run_would_see(tmp_path, capsys, monkeypatch):
    import sys

    from absl import flags
    from absl.testing import flagsaver

    from ltjax import command

    with flagsaver.flagsaver():
        arguments = ["launch.py", "--mode=inspect", f"--workdir={tmp_path}"]
        arguments += ["--config=configs/quickstart.py", "--config.data.validation=0.2"]
        monkeypatch.setattr(sys, "argv", arguments)  # ml_collections looks there
        flags.FLAGS(arguments)
        command._inspect()
        flags.FLAGS.input = "x"
        with pytest.raises(ValueError, match=r"needs --input=PATH .* or --config with its data"):
            command._inspect()
    told = capsys.readouterr().out
    assert "333 train, 84 val, 500 test images of 10 classes" in told
    found = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))
    assert found["classes"][0]["group"] == "many"
    assert found["mean"] == pytest.approx([0.305], abs=0.01)
    assert found["advice"][0]["do"].startswith("ldam_drw_sam")


def test_arrays_of_many_channels_and_many_classes(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (240, 8, 6, 5), np.uint8)
    images[1] = images[0]
    labels = np.arange(240) // 2
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels)
    found = ltjax.inspect(tmp_path / "a.npz", tmp_path)
    assert found["pixels"] == {"5 channels": 240}
    assert found["sizes"]["most_frequent"] == [[6, 8, 240]]
    assert found["copies"]["within"] == {"train": 1}
    assert found["copies"]["groups"][0][1] == {
        "image": "train[1]",
        "split": "train",
        "class": "0",
    }
    text = io.StringIO()
    from rich.console import Console

    tell(found, tmp_path, Console(file=text, width=200))
    assert "... 100 more" in text.getvalue()


@pytest.mark.parametrize(
    ("side", "images", "factor", "in_files", "recipe"),
    [
        (32, 5000, 1.5, False, "ce:"),
        (32, 5000, 5.0, False, "balanced_softmax:"),
        (64, 5000, 10.0, False, "ldam_drw_sam:"),
        (65, 5000, 10.0, False, "finetune: pretrained weights, balanced softmax"),
        (32, 5000, 1.5, True, "finetune with --config.loss.name=cross_entropy"),
        (300, 1999, 5.0, True, "finetune: .*heads on frozen features"),
        (300, 100_000, 50.0, True, "imagenet_lt_ldam_drw_sam"),
    ],
)
def test_the_rules_of_the_advice(side, images, factor, in_files, recipe):
    import re

    from ltjax import recipes

    found = {
        "images": {"train": images, "val": 10, "test": 20},
        "classes": [{"name": "a", "train": 50, "test": 10}, {"name": "b", "train": 5, "test": 10}],
        "sizes": {"median": [side + 3, side]},
        "imbalance_factor": factor,
        "unreadable_images": 0,
        "copies": {"across": {}, "labels_differ": 0},
    }
    (told,) = advice(found, in_files=in_files)
    assert re.match(recipe, told["do"])
    assert told["see"] == "ltjax --list" or (ROOT / told["see"]).is_file()
    assert re.match(r"\w+", told["do"])[0] in recipes.names()
    found["classes"][1]["test"] = 4
    found["classes"][1]["train"] = 4
    found["images"]["val"] = 0
    rest = [one["do"] for one in advice(found, in_files=in_files)[1:]]
    share = 0.1 if images >= 2000 else 0.2
    assert [one.split()[0] for one in rest] == ["hold", "collect", "read"]
    assert rest[0].endswith(f"--config.data.validation={share}")


def test_what_can_not_be_inspected_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected a folder with a sub-folder a class, or"):
        ltjax.inspect(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        ltjax.inspect(tmp_path / "none")
