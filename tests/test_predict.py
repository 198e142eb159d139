"""Predictions from the command line and their CSV."""

import csv

import numpy as np
import pytest
from PIL import Image

import ltjax
from ltjax import data, predict
from ltjax.trained import Trained
from tests.runs import digits_config, photographs_config, save_run

pytest.importorskip("grain")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    return save_run(photographs_config(root), root / "run")


@pytest.fixture(scope="module")
def trained(run) -> Trained:
    return ltjax.load(run)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_predicts_a_folder_and_names_what_it_cannot_read(launch, run, tmp_path):
    folder = tmp_path / "new"
    (folder / "below").mkdir(parents=True)
    for number in range(3):
        image = run.parent / "images" / f"{number}-0.jpg"
        (folder / "below" / f"photo {number}, old.jpg").write_bytes(image.read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not an image either")
    output = tmp_path / "out" / "file.csv"
    done = launch(
        "--mode=predict", f"--workdir={run}", f"--input={folder}", f"--output={output}", "--flip"
    )
    assert done.returncode == 0, done.stderr
    assert f"unreadable image: {folder / 'broken.jpg'}" in done.stderr
    assert f"1 other files in {folder} were passed over" in done.stderr
    assert "3 images: " in done.stdout
    assert "1 unreadable" in done.stdout
    rows = rows_of(output)
    assert rows[0]["path"] == str(folder / "below" / "photo 0, old.jpg")
    assert len(rows) == 4
    assert rows[-1]["class"] == rows[-1]["probability"] == ""
    assert list(rows[0])[:3] == ["path", "class", "probability"]
    assert list(rows[0])[3:] == [
        f"{name}_{k}" for k in (2, 3, 4) for name in ("class", "probability")
    ]
    shown = [float(rows[0][name]) for name in rows[0] if name.startswith("probability")]
    assert shown == sorted(shown, reverse=True)
    assert sum(shown) == pytest.approx(1, abs=1e-5)  # all four classes, six digits each
    assert not list(output.parent.glob("*.partial"))


def test_a_list_an_image_and_arrays_give_what_the_library_gives(trained, run, tmp_path):
    names = [f"images/{label}-1.jpg" for label in range(4)]
    (tmp_path / "list.txt").write_text("".join(f"{name} 0\n" for name in names))
    (tmp_path / "list.csv").write_text("label,path\n" + "".join(f"x,{name}\n" for name in names))
    images = [np.asarray(Image.open(run.parent / name)) for name in names]
    # simplejpeg and Pillow decode a JPEG to within a grey level
    expected = trained.predict_proba(images)
    for path in ("list.txt", "list.csv"):
        source = predict.open_source(tmp_path / path, 3, predict.roots_of(trained))
        summary = predict.predict_to_csv(trained, source, tmp_path / "a.csv")
        rows = rows_of(tmp_path / "a.csv")
        assert [row["path"] for row in rows] == names
        assert [row["class"] for row in rows] == [
            trained.class_names[c] for c in expected.argmax(1)
        ]
        found = [float(row["probability"]) for row in rows]
        np.testing.assert_allclose(found, expected.max(1), atol=5e-3)
        assert sum(summary.classes.values()) == summary.images == 4
    one = predict.open_source(run.parent / names[2])
    predict.predict_to_csv(trained, one, tmp_path / "b.csv")
    assert rows_of(tmp_path / "b.csv")[0]["probability"] == rows[2]["probability"]
    arrays = np.stack([trained.views(image)[0] for image in images])
    np.savez(tmp_path / "some.npz", test_images=arrays, test_labels=np.zeros(4))
    source = predict.open_source(tmp_path / "some.npz")
    predict.predict_to_csv(trained, source, tmp_path / "c.csv", prior="uniform")
    expected = trained.predict_proba(arrays, prior="uniform")
    rows = rows_of(tmp_path / "c.csv")
    assert [row["path"] for row in rows] == [f"test_images[{k}]" for k in range(4)]
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], expected.max(1), atol=1e-6
    )


def test_photographs_become_grey_for_a_network_of_one_channel(tmp_path):
    run = save_run(digits_config(), tmp_path / "run")
    digit = np.asarray(data.load("digits").test_images[0])
    Image.fromarray(np.repeat(digit, 3, axis=2)).save(tmp_path / "digit.png")
    trained = ltjax.load(run)
    source = predict.open_source(tmp_path / "digit.png", 1)
    np.testing.assert_array_equal(source.read(0), digit[..., 0])
    predict.predict_to_csv(trained, source, tmp_path / "a.csv")
    row = rows_of(tmp_path / "a.csv")[0]
    assert float(row["probability"]) == pytest.approx(
        trained.predict_proba(digit[None]).max(), abs=1e-6
    )
    assert "class_5" in row
    assert "class_6" not in row


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "no such file or folder"),
        ("empty", "folder", "holds no images; expected files such as"),
        ("a.npz", b"no zip", "not a readable .npz"),
        (
            "a.csv",
            b"file,label\nx.jpg,1\n",
            "line 1: no column 'path'; the header has 'file', 'label'; call",
        ),
        ("a.txt", b"\n\n", "lists no images"),
        ("a.dat", b"\xff\xfe\x00", "is neither an image"),
    ],
)
def test_what_is_no_input_is_told_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        predict.open_source(path)
    assert "\n" not in str(caught.value)


def test_arrays_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match=r"images is float64\[2, 8, 8\]; expected uint8"):
        predict.open_source(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="holds x; expected an array named images"):
        predict.open_source(tmp_path / "b.npz")


def test_nothing_readable_leaves_no_file(trained, tmp_path):
    (tmp_path / "list.txt").write_text("missing.jpg\n")
    source = predict.open_source(tmp_path / "list.txt")
    with pytest.raises(ValueError, match="none of the 1 images can be read, such as missing"):
        predict.predict_to_csv(trained, source, tmp_path / "a.csv")
    assert not list(tmp_path.glob("a.csv*"))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections'
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=RUN"], "--input is missing"),
        (["--input=x"], "--mode=predict needs --workdir=RUN"),
        (["--config=configs/ce.py", "--workdir=RUN"], "has its config from the run"),
        (["--workdir=RUN", "--input=RUN/config.json", "--prior=often"], "--prior is 'often'"),
    ],
)
def test_wrong_flags_give_one_line(run, monkeypatch, flags, message):
    from absl import flags as absl_flags
    from absl.testing import flagsaver

    from ltjax import command

    with flagsaver.flagsaver():
        absl_flags.FLAGS(
            ["launch.py", "--mode=predict", *(f.replace("RUN", str(run)) for f in flags)]
        )
        with pytest.raises(ValueError, match=message):
            command._predict()
