"""Photographs listed in a CSV with a header, and splits that share no group."""

from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

import ltjax
from ltjax import data, predict
from ltjax.data.splits import grouped_members, validation_members
from ltjax.data.table import COLUMNS
from tests.runs import save_run

pytest.importorskip("grain")

NAMES = ("owl", "Élan, young", "bee")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs 0.png to 23.png of 12, 8 and 4 of each of the classes."""
    root = tmp_path_factory.mktemp("table")
    (root / "images").mkdir()
    for number in range(24):
        image = np.full((20, 24, 3), 10 * number, np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
    return root


def label_of(number):
    return NAMES[0 if number < 12 else 1 if number < 20 else 2]


def write(folder, header, row, *, name="all.csv", mark=",", encoding="utf-8"):
    """A CSV of the 24 images: `row` makes each one's fields."""
    lines = [mark.join(header)]
    for number in range(24):
        fields = [str(field) for field in row(number)]
        lines.append(mark.join(f'"{field}"' if "," in field else field for field in fields))
    path = folder / name
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return str(path)


def splits_of(dataset):
    """Split -> numbers of its images."""
    found = {}
    for split in ("train", "val", "test"):
        images = getattr(dataset, split)
        names = [] if images is None else [images.name(k) for k in range(len(images.labels))]
        found[split] = {int(name.rsplit("/", 1)[1].removesuffix(".png")) for name in names}
    return found


@pytest.mark.parametrize(
    ("mark", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")]
)
def test_columns_in_any_order_with_names_for_labels(folder, mark, encoding):
    file = write(
        folder,
        ("Label", "age", "split", "PATH"),
        lambda k: (
            label_of(k),
            k,
            ("training", "Test", "valid")[0 if k % 4 < 2 else k % 4 - 1],
            f"images/{k}.png",
        ),
        mark=mark,
        encoding=encoding,
    )
    loaded = data.load_csv(file)
    assert loaded.class_names == NAMES
    assert sorted(NAMES) == [NAMES[loaded.class_ids.index(c)] for c in range(3)], "ids by name"
    assert np.bincount(loaded.train_labels).tolist() == [6, 4, 2]
    assert splits_of(loaded) == {
        "train": {k for k in range(24) if k % 4 < 2},
        "test": {k for k in range(24) if k % 4 == 2},
        "val": {k for k in range(24) if k % 4 == 3},
    }
    for split in (loaded.train, loaded.val, loaded.test):
        for index, label in enumerate(split.labels):
            number = int(split.name(index).rsplit("/", 1)[1].removesuffix(".png"))
            assert loaded.class_names[label] == label_of(number)
    assert loaded.notes == ("columns of all.csv that are not used: age",)
    assert loaded.read("train", np.asarray([1]))[0, 0, 0].tolist() == [10, 10, 10]


def test_without_splits_a_share_of_each_class_is_the_test_set(folder):
    file = write(folder, ("path", "label"), lambda k: (f"images/{k}.png", label_of(k)))
    loaded = data.load_csv(file, test_fraction=0.25)
    assert np.bincount(loaded.test_labels).tolist() == [3, 2, 1]
    assert loaded.notes == (
        "all.csv tells no splits: 6 images are the test set, about 25 % of each class"
        " (config.data.test_fraction)",
    )
    assert splits_of(loaded) == splits_of(data.load_csv(file, test_fraction=0.25))
    assert splits_of(loaded) != splits_of(data.load_csv(file, test_fraction=0.25, split_seed=1))
    assert len(data.load_csv(file, test_fraction=0.0).test_labels) == 0


def test_numbers_are_names_in_their_own_order(folder):
    """They may skip some, and 10 comes behind 2."""
    number = {"owl": 10, "Élan, young": 2, "bee": 7}
    file = write(folder, ("file", "dx"), lambda k: (f"{k}.png", number[label_of(k)]))
    columns = COLUMNS | {"path": "file", "label": "dx"}
    loaded = data.load_csv(file, root=str(folder / "images"), columns=columns)
    assert loaded.class_names == ("10", "2", "7")
    assert loaded.class_ids == (2, 0, 1)
    named = data.renamed(loaded, "two,seven,ten")
    assert named.class_names == ("ten", "two", "seven")


def test_class_names_of_a_list_come_from_a_file(tmp_path):
    from tests.photographs import write_list_set

    write_list_set(tmp_path)
    loaded = data.load_image_list(str(tmp_path), "train.txt", "test.txt")
    assert loaded.class_names == ("2", "3", "0", "1")
    (tmp_path / "names.txt").write_text("\ufeffzero\none\ntwo\nthrée\n", encoding="utf-8")
    named = data.renamed(loaded, str(tmp_path / "names.txt"))
    assert named.class_names == ("two", "thrée", "zero", "one")
    for given, message in (
        ("names.txt", "no such file; expected one with a name a line, or names with commas"),
        ("a,b,c", "gives 3 names; expected 4, one a class of image_list"),
        ("a,b,c,a", "holds 'a' twice"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            data.renamed(loaded, given)


HEAD = "path,label,split,group\n"
WRONG = {
    "": "is empty; expected a header: path,label,split,group",
    "path,label\n": "lists no images, only a header",
    "images/0.png,owl\n": "line 1: no column 'path'; the header has 'images/0.png', 'owl'",
    "path,lable\nimages/0.png,owl\n": r"line 1: no column 'label'.*columns.label=lable",
    "path,label,groups\nimages/0.png,owl,1\n": "no column 'group'.*columns.group=groups .''",
    "path,label,Path\nimages/0.png,owl,x\n": "line 1: two columns are named 'path'",
    "path,label\nimages/0.png,owl\nimages/1.png,\n": "line 3: column 'label' is empty;"
    " expected a l",
    "path,label\nimages/0.png,owl\n\nimages/1.png,owl,old\n": "line 4: 3 fields, the header has 2;"
    " put a field with a comma in it between",
    'path,label\nimages/0.png,"owl\nimages/1.png,owl\n': "line 2: .*a quote that is not closed",
    "path,label\nimages/0.png,owl\nimages/./0.png,bee\n": "line 3: images/./0.png is there already,"
    " in line 2 with another label; list it once",
    "path,label\nimages/0.png,owl\nimages/x.png,bee\n": "line 3: images/x.png is not under"
    " .*1 of 2",
    "path,label\nimages/0.png,owl\nimages\\1.png,bee\n": r"\(1 of 2 are not\); write / for",
    "path,label\nimages/0.png,owl\n": "one class, 'owl'; expected at least two",
    HEAD
    + "images/0.png,owl,train,1\nimages/1.png,owl,fold2,1\n": "line 3: split 'fold2'; expected",
    HEAD + "images/0.png,owl,train,1\nimages/1.png,owl,,1\n": "line 3: column 'split' is empty",
    HEAD + "images/0.png,owl,train,1\nimages/1.png,bee,test,2\nimages/2.png,bee,test,3\n": "line 3:"
    r" class 'bee' has no training image \(2 in test\)",
    HEAD + "images/0.png,owl,train,1\nimages/1.png,bee,train,A7\nimages/2.png,bee,test,A7\n": "line"
    " 4: group 'A7' is in test here and in train in line 3; give a group one split",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_its_place(folder, text):
    (folder / "wrong.csv").write_text(text, encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=WRONG[text]) as caught:
        data.load_csv(str(folder / "wrong.csv"))
    assert "\n" not in str(caught.value)
    assert str(folder / "wrong.csv") in str(caught.value)


SPLITS = {"train.csv": range(0, 24, 2), "test.csv": range(1, 24, 4), "val.csv": range(3, 24, 4)}


def write_split_files(folder, names=tuple(SPLITS), **texts):
    """train.csv, test.csv and val.csv of the 24 images in a new folder beside them; `texts` has
    others in the stead of some.
    """
    lists = folder / f"lists {len(list(folder.iterdir()))}"
    lists.mkdir()
    for name in names:
        rows = [f'../images/{k}.png,"{label_of(k)}"' for k in SPLITS[name]]
        (lists / name).write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    for name, text in texts.items():
        (lists / f"{name}.csv").write_text(text, encoding="utf-8")
    return lists


@pytest.mark.parametrize("left_out", [None, "test.csv", "val.csv"])
def test_a_folder_of_train_test_and_val_csvs_is_a_data_set(folder, left_out):
    names = [name for name in SPLITS if name != left_out]
    lists = write_split_files(folder, names)
    loaded = data.load_csv(str(lists), test_fraction=0.5)
    found = splits_of(loaded)
    for name, numbers in SPLITS.items():
        assert found[name.removesuffix(".csv")] == (set(numbers) if name in names else set())
    assert loaded.class_names == NAMES
    assert np.bincount(loaded.train_labels).tolist() == [6, 4, 2]
    assert (loaded.val is None) == (left_out == "val.csv")
    assert (loaded.notes, loaded.train_groups) == ((), None)
    assert loaded.read("train", np.asarray([1]))[0, 0, 0].tolist() == [20, 20, 20]
    assert splits_of(data.opened(lists)) == found, "what --mode=inspect looks at"
    config = ConfigDict({"data": {"name": "csv", "dir": str(lists), "root": ""}})
    assert predict.roots_of(SimpleNamespace(config=config)) == (lists,)


def test_csvs_of_a_folder_have_their_columns_and_their_root(folder):
    """Other names and another order in each file, paths under `root`, groups, a split unread."""
    lists = write_split_files(
        folder,
        (),
        train="dx,file,site,split\nowl,0.png,A,old\nbee,1.png,B,old\n",
        test="site;FILE;age;dx\nC;2.png;7;bee\n",
    )
    columns = {"path": "file", "label": "dx", "split": "", "group": "site"}
    loaded = data.load_csv(str(lists), root=str(folder / "images"), columns=columns)
    assert splits_of(loaded) == {"train": {0, 1}, "test": {2}, "val": set()}
    assert [loaded.class_names[k] for k in loaded.test_labels] == ["bee"]
    assert loaded.train_groups.tolist() == [0, 1]
    assert loaded.notes == (f"columns of {lists.name} that are not used: split, age",)


TRAIN = "path,label\n../images/0.png,owl\n../images/1.png,bee\n"
WRONG_FOLDERS = {
    "no train.csv": (
        {"labels": TRAIN},
        r"holds no train.csv but labels.csv; expected train.csv beside test.csv \(and val.csv",
    ),
    "nothing": ({}, "holds no train.csv; expected train.csv beside test.csv"),
    "train.csv alone": (
        {"train": TRAIN},
        r"holds train.csv but no test.csv or val.csv; with --config.data.dir=\S.*/train.csv a",
    ),
    "a split column": (
        {"train": TRAIN, "test": "path,label,Split\n../images/2.png,owl,test\n"},
        r"test.csv has a column 'split', but the file's name tells the split; take the column out",
    ),
    "a new class": (
        {"train": TRAIN, "test": "path,label\n../images/2.png,owl\n../images/3.png,emu\n"},
        r"test.csv, line 3: class 'emu' has no training image \(1 in test\)",
    ),
    "no labels": (
        {"train": TRAIN, "test": "path\n../images/2.png\n"},
        r"test.csv, line 1: no column 'label'.*or leave the file out by --config.data.dir=.*train",
    ),
    "an image twice": (
        {"train": TRAIN, "test": "path,label\n../images/1.png,owl\n"},
        "test.csv, line 2: ../images/1.png is there already, in line 3 of train.csv with another",
    ),
    "no such image": (
        {"train": TRAIN, "test": "path,label\nimages/2.png,owl\n"},
        r"test.csv, line 2: images/2.png is not under .* \(1 of 3 are not\); is config.data.root",
    ),
    "groups in one file": (
        {"train": TRAIN, "test": "path,label,group\n../images/2.png,owl,A\n"},
        "train.csv has no column 'group', which test.csv has; tell the groups in all files",
    ),
    "a group in two files": (
        {
            "train": "path,label,group\n../images/0.png,owl,A\n../images/1.png,bee,B\n",
            "test": "path,label,group\n../images/2.png,owl,B\n",
        },
        "test.csv, line 2: group 'B' is in test here and in train in line 3 of train.csv; give",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_FOLDERS)
def test_what_is_wrong_with_a_folder_of_csvs_is_told(folder, wrong):
    texts, message = WRONG_FOLDERS[wrong]
    lists = write_split_files(folder, (), **texts)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        data.load_csv(str(lists))
    assert "\n" not in str(caught.value)
    assert str(lists) in str(caught.value)


def test_other_encodings_and_no_file_are_told(folder):
    write(folder, ("path", "label"), lambda k: (k, label_of(k)), name="l1.csv", encoding="latin1")
    with pytest.raises(ValueError, match=r"l1.csv, line 14: byte 0xc9 is not UTF-8"):
        data.load_csv(str(folder / "l1.csv"))
    with pytest.raises(FileNotFoundError, match=r"csv needs --config.data.dir=FILE.csv"):
        data.load_csv("")
    with pytest.raises(FileNotFoundError, match=r"none.csv: no such file or folder"):
        data.load_csv(str(folder / "none.csv"))


def grouped(seed, groups=40, classes=5):
    """Images of groups of very different sizes, most of one or two classes."""
    generator = np.random.default_rng(seed)
    sizes = generator.geometric(0.12, groups)
    of = np.repeat(np.arange(groups), sizes)
    own = generator.choice(classes, groups, p=np.asarray([16, 8, 4, 2, 1]) / 31)
    labels = np.where(
        generator.random(len(of)) < 0.8, own[of], generator.integers(classes, size=len(of))
    )
    return labels, of


def unevenness(labels, members, share):
    total = np.bincount(labels)
    return np.sum((np.bincount(labels[members], minlength=len(total)) / total - share) ** 2)


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together_and_classes_are_shared_as_evenly_as_by_scikit_learn(seed):
    labels, groups = grouped(seed)
    members = grouped_members(labels, groups, 0.2, seed)
    rest = np.setdiff1d(np.arange(len(labels)), members)
    assert not set(groups[members]) & set(groups[rest])
    assert set(labels[members]) == set(labels[rest]) == set(labels)
    names = np.asarray([f"patient {group}" for group in groups])
    np.testing.assert_array_equal(members, grouped_members(labels, groups, 0.2, seed))
    np.testing.assert_array_equal(validation_members(labels, 0.2, seed, groups), members)
    assert len(grouped_members(labels, names, 0.2, seed)), "names serve as well"
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
    usual = np.mean([unevenness(labels, held, 0.2) for _, held in folds])
    assert unevenness(labels, members, 0.2) < usual


def test_a_rare_class_keeps_a_group_in_training_and_gives_one_of_three():
    labels = np.asarray([0] * 60 + [1] * 3 + [2] * 4 + [3] * 5)
    groups = np.asarray([*np.arange(60) // 2, 100, 101, 102, 103, 103, 104, 104, *[105] * 5])
    for seed in range(5):
        members = grouped_members(labels, groups, 0.1, seed)
        held = np.bincount(labels[members], minlength=4)
        assert held.tolist() == [6, 1, 0, 0], "two groups or one: none is held out"
    assert len(grouped_members([0, 1], [5, 5], 0.5, 0)) == 0


def test_a_csvs_groups_are_split_neither_from_the_test_nor_from_the_validation_set(folder):
    from configs import finetune
    from ltjax.experiment import settings
    from ltjax.experiment.experiment import build

    file = write(
        folder,
        ("path", "label", "group"),
        lambda k: (f"images/{k}.png", label_of(k), f"site {k // 2}"),
    )
    config = finetune.get_config()
    config.data.name, config.data.dir = "csv", file
    config.data.test_fraction, config.data.validation = 0.2, 0.2
    config.model.name, config.model.width, config.init_from = "resnet8", 4, ""
    config.parameters.frozen_statistics, config.stages = False, ()
    config.data.image_size = config.data.shorter_side = 16
    config.training.cpu_devices, config.training.batch_size = 1, 4
    experiment = build(settings.resolve(config))
    found = splits_of(experiment.dataset)
    assert sorted(k for part in found.values() for k in part) == list(range(24))
    assert all({k ^ 1 for k in part} == part for part in found.values()), "pairs are groups"
    assert all(found.values())
    told = experiment.dataset.notes[-1]
    assert told.startswith("validation: 1 of 3 classes have too few groups to hold one out (bee)")
    run = save_run(config, folder / "run")
    trained = ltjax.load(run)
    assert trained.class_names == tuple(sorted(NAMES))
    named = write(folder, ("label", "path"), lambda k: ("", f"images/{k}.png"), name="new.csv")
    for input_file in (file, named):
        (input_path,) = [folder / input_file.rsplit("/", 1)[1]]
        source = predict.open_source(input_path, 3, predict.roots_of(trained))
        summary = predict.predict_to_csv(trained, source, folder / "out.csv")
        assert summary.images == 24
        assert set(summary.classes) <= set(NAMES)
    assert predict.roots_of(trained) == (folder,)


def test_arrays_have_groups_too(tmp_path):
    images = np.zeros((12, 4, 4), np.uint8)
    labels, groups = np.arange(12) % 2, np.arange(12) // 2
    arrays = {"train_images": images, "train_labels": labels, "train_groups": groups[:, None]}
    np.savez(tmp_path / "a.npz", **arrays)
    loaded = data.load_npz(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(loaded.train_groups, groups)
    kept = loaded.keep_training(np.arange(5))
    assert kept.train_groups.tolist() == groups[:5].tolist()
    np.savez(
        tmp_path / "b.npz", **arrays, test_images=images, test_labels=labels, test_groups=groups + 5
    )
    with pytest.raises(ValueError, match=r"group 5 is in train and in test \(1 such groups"):
        data.load_npz(str(tmp_path / "b.npz"))
    for wrong, message in (
        (groups[:3], r"train groups have shape \[3\]; expected \[12\]"),
        ({"val": groups}, "groups of 'val'; expected of 'train'"),
    ):
        with pytest.raises(ValueError, match=message):
            data.from_arrays((images, labels), groups=wrong)
