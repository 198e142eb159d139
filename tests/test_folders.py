"""Folders of photographs with one sub-folder a class, and what their files decode to."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from ltjax import data
from tests.photographs import crops

pytest.importorskip("grain")
from ltjax.data import decode


def write_classes(root, counts, suffix="jpg"):
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(crops(label, count)):
            image.save(root / name / f"{number}.{suffix}")


def test_a_folder_a_class_is_split_by_a_seed(tmp_path):
    for name, count in (("cat", 10), ("ant", 4), ("dog", 20)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(crops(len(name) + count, count)):
            image.save(tmp_path / name / f"{number}.png")
    loaded = data.load_folder(str(tmp_path), test_fraction=0.2)
    assert loaded.class_names == ("dog", "cat", "ant")
    assert np.bincount(loaded.train_labels).tolist() == [16, 8, 3]
    assert np.bincount(loaded.test_labels).tolist() == [4, 2, 1]
    names = [
        {split.name(index) for index in range(len(split.labels))}
        for split in (loaded.train, loaded.test)
    ]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 34
    again, other = (
        data.load_folder(str(tmp_path), test_fraction=0.2, split_seed=seed) for seed in (0, 1)
    )
    assert [again.test.name(i) for i in range(7)] == [loaded.test.name(i) for i in range(7)]
    assert [other.test.name(i) for i in range(7)] != [loaded.test.name(i) for i in range(7)]
    counts = data.class_counts(loaded, "exponential", factor=0.5, max_count=0)
    assert counts.tolist() == [3, 2, 1]
    kept = data.long_tailed(loaded, counts)
    assert np.bincount(kept.train_labels).tolist() == [3, 2, 1]
    assert {kept.train.name(i) for i in range(6)} <= names[0]


def test_a_folder_that_is_split_already_is_taken_as_it_is(tmp_path):
    for half, count in (("train", 3), ("val", 2)):
        for name in ("ant", "cat"):
            (tmp_path / half / name).mkdir(parents=True)
            for number, image in enumerate(crops(0, count)):
                image.save(tmp_path / half / name / f"{number}.jpg")
    loaded = data.load_folder(str(tmp_path))
    assert (len(loaded.train_labels), len(loaded.test_labels)) == (6, 4)
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(ValueError, match="no training images of dog"):
        data.load_folder(str(tmp_path))


def test_folders_without_images_or_classes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no images"):
        data.load_folder(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is no folder"):
        data.load_folder(str(tmp_path / "absent"))
    (tmp_path / "ant").mkdir()
    for number, image in enumerate(crops(0, 3)):
        image.save(tmp_path / "ant" / f"{number}.jpg")
    with pytest.raises(ValueError, match="holds one class folder, ant; expected at least two"):
        data.load_folder(str(tmp_path))


def test_three_folders_are_three_splits(tmp_path):
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        write_classes(tmp_path / split, {"ant": count, "cat": count})
    loaded = data.load_folder(str(tmp_path))
    assert (len(loaded.train_labels), len(loaded.val_labels), len(loaded.test_labels)) == (6, 4, 2)
    assert all("/test/" in loaded.test.name(index) for index in range(2))
    assert all("/val/" in loaded.val.name(index) for index in range(4))
    assert loaded.notes == ()
    (tmp_path / "raw").mkdir()
    assert data.load_folder(str(tmp_path)).notes == (f"left aside in {tmp_path}: raw/",)


def test_a_val_folder_stands_in_for_the_test_set_and_says_so(tmp_path):
    for split in ("Train", "valid"):
        write_classes(tmp_path / split, {"ant": 2, "cat": 2})
    loaded = data.load_folder(str(tmp_path))
    assert loaded.class_names == ("ant", "cat"), "not Train and valid"
    assert loaded.notes == (f"valid/ stands in for the test set, since {tmp_path} holds no test/",)
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match="holds val/ and valid/, two folders of one split"):
        data.load_folder(str(tmp_path))


def test_splits_without_a_training_set_are_no_classes(tmp_path):
    for split in ("val", "test"):
        write_classes(tmp_path / split, {"ant": 2, "cat": 2})
    with pytest.raises(ValueError, match="holds test/ and val/ but no train/"):
        data.load_folder(str(tmp_path))
    write_classes(tmp_path, {"bus": 2})
    assert data.load_folder(str(tmp_path)).class_names == ("test", "val", "bus")


def test_links_are_followed_once_and_whatever_is_passed_over_is_counted(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    write_classes(root, {"ant": 4, "cat": 4})
    write_classes(elsewhere, {"more": 4}, "tif")
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "deep" / "linked").symlink_to(elsewhere / "more")
    (root / "cat" / "round").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    for name in ("cat/notes.txt", "ant/notes.TXT", "ant/.DS_Store", "ant/README", "stray.jpg"):
        (root / name).write_text("x")
    loaded = data.load_folder(str(root))
    counts = np.bincount(loaded.train_labels) + np.bincount(loaded.test_labels)
    assert dict(zip(loaded.class_names, counts.tolist(), strict=True)) == {"cat": 8, "ant": 4}
    assert loaded.notes == (
        f"passed over in {root}: 2 .txt, 1 hidden, 1 images outside the class folders,"
        " 1 links that lead nowhere, 1 without a suffix",
    )


def test_names_that_are_no_utf8_are_read_and_of_classes_refused(tmp_path):
    write_classes(tmp_path, {"ant": 3, "cat": 2})
    os.rename(tmp_path / "ant" / "0.jpg", os.fsencode(tmp_path) + b"/ant/caf\xe9.jpg")
    loaded = data.load_folder(str(tmp_path))
    assert len(loaded.digest()) == 64
    assert len(loaded.train_labels) + len(loaded.test_labels) == 5
    os.rename(tmp_path / "ant", os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(ValueError, match=r"name is not UTF-8, 'caf.udce9'; rename it"):
        data.load_folder(str(tmp_path))


def test_counts_follow_the_names_and_not_the_numbers_of_the_classes(tmp_path):
    write_classes(tmp_path, {"a": 12, "b": 20, "c": 17})
    loaded = data.load_folder(str(tmp_path), test_fraction=0.1)
    assert loaded.class_names == ("b", "c", "a")
    asked = {"a": 5, "b": 10, "c": 15}
    counts = data.class_counts(loaded, "counts", counts=tuple(asked.values()))
    kept = data.long_tailed(loaded, counts)
    names = [os.path.dirname(kept.train.name(i))[-1] for i in range(len(kept.train_labels))]
    assert {name: names.count(name) for name in asked} == asked
    with pytest.raises(ValueError, match="class a: 12 training images asked for, folder has 11"):
        data.long_tailed(loaded, data.class_counts(loaded, "counts", counts=(12, 1, 1)))
    with pytest.raises(ValueError, match="keeps 0 images of class c"):
        data.class_counts(loaded, "counts", counts=(1, 1, 0))
    single = data.class_counts(
        loaded, "single_majority", majority_class=0, majority_count=9, minority_count=2
    )
    assert dict(zip(loaded.class_names, single.tolist(), strict=True)) == {"b": 2, "c": 2, "a": 9}


def test_grey_of_16_bits_keeps_its_range():
    """65535 is 255; 1,000, 30,000 and 60,000 stay apart."""
    values = np.asarray([0, 128, 129, 1000, 30000, 60000, 65535], np.uint16)
    image = Image.fromarray(np.tile(values, (7, 1)))
    expected = np.round(values.astype(float) / 257)
    for name in ("PNG", "TIFF", "PPM"):
        file = io.BytesIO()
        (image.convert("I") if name == "PPM" else image).save(file, name)
        view = decode.center_crop(file.getvalue(), 7, 7)
        np.testing.assert_array_equal(view[3, :, 0], expected)
        assert (view == view[..., :1]).all()
    drawn = decode.random_resized_crop(file.getvalue(), np.random.default_rng(0), 7, (1.0, 1.0))
    assert 0 < drawn.mean() < 255


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((4, 4), 0.5, np.float32), "floating-point pixels, whose range is not stated"),
        (np.full((4, 4), 70000, np.int32), "grey values of 70000 to 70000; expected at most 16"),
    ],
)
def test_pixels_without_a_known_range_are_refused(values, told):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    with pytest.raises(decode.Unreadable, match=told):
        decode.center_crop(file.getvalue(), 4, 4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_keep_their_range(suffix, channels):
    """Pillow takes the upper eight bits: within one of v / 257."""
    import cv2

    values = np.linspace(0, 65535, 20 * channels).round().astype(np.uint16).reshape(5, 4, channels)
    data = cv2.imencode(suffix, values)[1].tobytes()  # blue first
    expected = values[..., 2::-1].astype(float) / 257
    np.testing.assert_allclose(decode.decoded(data), expected, atol=1)


def tiff(values):
    """A TIFF of any number of 8-bit channels, which Pillow itself does not write."""
    import struct

    height, width, channels = values.shape
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, channels), (278, 4, 1, height)]
    entries += [(279, 4, 1, values.size)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + b"\0" * 4
    return head.ljust(200, b"\0") + values.tobytes()


def test_pixels_of_other_channels_or_numbers_are_refused_with_a_way_out():
    import cv2

    grey = np.arange(20, dtype=np.uint8).reshape(5, 4, 1)
    np.testing.assert_array_equal(decode.decoded(tiff(grey)), np.repeat(grey, 3, axis=2))
    colours = cv2.imencode(".tif", np.zeros((5, 4, 3), np.float32))[1].tobytes()
    for content in (tiff(np.zeros((5, 4, 5), np.uint8)), colours):
        with pytest.raises(decode.Unreadable, match=r"TIFF that is damaged, or of .* an \.npz"):
            decode.decoded(content)


def test_of_several_pages_the_first_is_taken():
    pages = [Image.fromarray(np.full((5, 4), 50 * k + 1, np.uint8)) for k in range(3)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    assert (decode.decoded(file.getvalue()) == 1).all()


def test_a_file_that_other_programs_would_open_is_no_image():
    with pytest.raises(decode.Unreadable, match="not an image"):
        decode.image_size(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_a_tiff_named_jpeg_is_read_by_what_it_is(tmp_path):
    image = next(iter(crops(0, 1)))
    image.save(tmp_path / "x.jpg", "TIFF")
    np.testing.assert_array_equal(
        decode.center_crop((tmp_path / "x.jpg").read_bytes(), 60, 60), np.asarray(image)[:, 10:70]
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "P", "RGBA"])
def test_other_colours_come_out_as_rgb(tmp_path, mode):
    suffix = {"L": "JPEG", "CMYK": "JPEG"}.get(mode, "PNG")
    next(iter(crops(0, 1))).convert(mode).save(tmp_path / "x", suffix)
    content = (tmp_path / "x").read_bytes()
    assert decode.random_resized_crop(content, np.random.default_rng(0), 32).shape == (32, 32, 3)
    expected = np.asarray(Image.open(tmp_path / "x").convert("RGB"))[:, 10:70]
    # libjpeg-turbo's own four-colour conversion rounds other than Pillow's.
    np.testing.assert_allclose(
        decode.center_crop(content, 60, 60).astype(int), expected, atol=1 if mode == "CMYK" else 0
    )
