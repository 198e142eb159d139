"""Data sets from every source, and what is said when they are missing or damaged. CIFAR's layouts
are made here, in small.
"""

import gzip
import hashlib
import http.server
import io
import pickle
import shutil
import struct
import tarfile
import threading
import time

import numpy as np
import pytest

from ltjax import data
from ltjax.data import cifar, download

GENERATOR = np.random.default_rng(0)


def write_folder(root, layout, per_file=12):
    """The published layout with few images; returns the training images in the archive's order."""
    folder = root / layout.folder
    folder.mkdir(parents=True)
    trained = []
    for name in (*layout.train_files, layout.test_file):
        images = GENERATOR.integers(0, 256, (per_file, 32, 32, 3), np.uint8)
        labels = np.arange(per_file) % layout.num_classes
        batch = {
            b"data": images.transpose(0, 3, 1, 2).reshape(per_file, -1),
            layout.label_key: labels.tolist(),
            b"filenames": [b"x"] * per_file,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        if name != layout.test_file:
            trained.append(images)
    names = [f"class {c}".encode() for c in range(layout.num_classes)]
    (folder / layout.meta_file).write_bytes(pickle.dumps({layout.names_key: names}, protocol=2))
    return np.concatenate(trained)


def write_archive(root, layout):
    """The published archive, of the folder below `root`."""
    with tarfile.open(root / layout.archive, "w:gz") as tar:
        tar.add(root / layout.folder, layout.folder)
    return root / layout.archive


@pytest.fixture(autouse=True)
def nothing_on_this_machine(tmp_path, monkeypatch):
    for name in ("LTJAX_DATA_DIR", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


LAYOUTS = [cifar.CIFAR10, cifar.CIFAR100]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_folder_archive_and_environment_give_the_same_images(tmp_path, layout, monkeypatch):
    trained = write_folder(tmp_path, layout)
    archive = write_archive(tmp_path, layout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(archive, elsewhere)
    places = [tmp_path, tmp_path / layout.folder, elsewhere, elsewhere / layout.archive]
    loaded = [data.load(layout.name, str(place), download=False) for place in places]
    monkeypatch.setenv("LTJAX_DATA_DIR", str(elsewhere))
    loaded.append(data.load(layout.name, download=False))
    for dataset in loaded:
        np.testing.assert_array_equal(dataset.train_images, trained)
        assert dataset.train_labels.dtype == np.int32
        assert dataset.num_classes == layout.num_classes
    assert [dataset.source for dataset in loaded[1:4]] == [
        str(tmp_path / layout.folder),
        *[str(elsewhere / layout.archive)] * 2,
    ]


def test_pickles_of_python_2_and_numpy_1_are_read(tmp_path):
    """The published files name numpy.core.multiarray and hold byte strings under byte keys."""
    write_folder(tmp_path, cifar.CIFAR10)
    path = tmp_path / cifar.CIFAR10.folder / "data_batch_1"
    raw = path.read_bytes()
    assert b"numpy._core.multiarray" in raw
    path.write_bytes(raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert len(data.load("cifar10", str(tmp_path), download=False).train_labels) == 60


class Hostile:
    def __reduce__(self):
        return print, ("hostile code ran",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            pickle.dumps({b"data": Hostile()}),
            "asks for builtins.print, which a CIFAR file never needs",
        ),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]})[:200],
            "truncated or corrupt",
        ),
        (b"", "truncated or corrupt"),
        (pickle.dumps([1, 2]), "is not a CIFAR batch"),
        (
            pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]}),
            "holds no uint8 data of 3072 bytes",
        ),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}),
            "not as many labels in 0..9",
        ),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}),
            "2 images but not as many labels",
        ),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}), "not as many labels"),
    ],
)
def test_a_damaged_or_hostile_batch_is_named_and_refused(tmp_path, content, told, capsys):
    write_folder(tmp_path, cifar.CIFAR10)
    (tmp_path / cifar.CIFAR10.folder / "data_batch_3").write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_3") as caught:
        data.load("cifar10", str(tmp_path), download=False)
    assert told in str(caught.value)
    assert "hostile" not in capsys.readouterr().out


def test_a_missing_batch_is_named(tmp_path):
    write_folder(tmp_path, cifar.CIFAR10)
    (tmp_path / cifar.CIFAR10.folder / "data_batch_4").unlink()
    with pytest.raises(ValueError, match="data_batch_4 is missing"):
        data.load("cifar10", str(tmp_path), download=False)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_named_and_refused(tmp_path, share):
    write_folder(tmp_path, cifar.CIFAR10)
    archive = write_archive(tmp_path, cifar.CIFAR10)
    shutil.rmtree(tmp_path / cifar.CIFAR10.folder)
    raw = archive.read_bytes()
    archive.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(
        ValueError, match=r"cifar-10-python.tar.gz: truncated or corrupt archive .* fetch https"
    ):
        data.load("cifar10", str(tmp_path), download=False)


def test_a_flipped_bit_in_an_archive_is_refused(tmp_path):
    write_folder(tmp_path, cifar.CIFAR10)
    archive = write_archive(tmp_path, cifar.CIFAR10)
    shutil.rmtree(tmp_path / cifar.CIFAR10.folder)
    plain = bytearray(gzip.decompress(archive.read_bytes()))
    packed = bytearray(
        gzip.compress(bytes(plain), 0)
    )  # stored, so that the flip hits a pixel and only the checksum can tell
    packed[len(packed) // 2] ^= 1
    archive.write_bytes(packed)
    with pytest.raises(ValueError, match="truncated or corrupt archive"):
        data.load("cifar10", str(tmp_path), download=False)


def test_a_folder_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("LTJAX_DATA_DIR", "/no/such/place")
    with pytest.raises(
        FileNotFoundError, match="LTJAX_DATA_DIR is '/no/such/place', which does not exist"
    ):
        data.load("cifar10")
    with pytest.raises(
        FileNotFoundError, match=r"data.dir is '/no/such/folder', which does not exist"
    ):
        data.load("cifar10", "/no/such/folder")


def test_a_folder_that_does_not_exist_does_not_matter_where_the_data_was_found(
    tmp_path, monkeypatch
):
    write_folder(tmp_path, cifar.CIFAR10)
    monkeypatch.setenv("LTJAX_DATA_DIR", "/no/such/place")
    assert len(data.load("cifar10", str(tmp_path)).train_labels) == 60


def test_batches_with_other_bytes_than_the_published_ones_are_named(tmp_path, monkeypatch):
    write_folder(tmp_path, cifar.CIFAR10)
    folder = tmp_path / cifar.CIFAR10.folder
    digests = {
        name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in cifar.CIFAR10.md5
    }
    published = cifar.dataclasses.replace(cifar.CIFAR10, md5=digests)
    monkeypatch.setattr(cifar, "CIFAR10", published)
    assert data.load("cifar10", str(tmp_path)).notes == ()
    content = bytearray((folder / "data_batch_2").read_bytes())
    content[5000] ^= 1  # a pixel
    (folder / "data_batch_2").write_bytes(content)
    (note,) = data.load("cifar10", str(tmp_path)).notes
    assert note.startswith(f"not the published files, by their checksums: data_batch_2 in {folder}")


def test_offline_and_nothing_on_disk_says_how_to_provide_the_data_within_ten_seconds(monkeypatch):
    def stuck(*_, **__):
        time.sleep(30)

    monkeypatch.setattr("requests.head", stuck)
    monkeypatch.setattr(download, "TIMEOUT", 2.0)
    began = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        data.load("cifar10")
    assert time.monotonic() - began < 10
    told = str(caught.value)
    assert "\n" not in told
    for way in (
        "--config.data.dir=DIR",
        "LTJAX_DATA_DIR",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py/",
        "tensorflow-datasets",
        "digits",
    ):
        assert way in told


@pytest.fixture
def server(tmp_path):
    """Serves a folder on the loopback interface."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_is_checked_kept_and_used_again(tmp_path, server, monkeypatch):
    folder, address = server
    trained = write_folder(folder, cifar.CIFAR10)
    archive = write_archive(folder, cifar.CIFAR10)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar._Layout, "url", f"{address}/{archive.name}")
    monkeypatch.setattr(cifar, "CIFAR10", cifar.dataclasses.replace(cifar.CIFAR10, sha256=digest))
    monkeypatch.setitem(data.DATASETS, "cifar10", cifar.load_cifar10)
    np.testing.assert_array_equal(data.load("cifar10").train_images, trained)
    archive.unlink()  # the second time it comes from the cache
    again = data.load("cifar10", download=False)
    assert again.source == str(tmp_path / "cache" / "ltjax" / archive.name)


def test_a_download_with_the_wrong_checksum_is_refused_and_not_kept(tmp_path, server):
    folder, address = server
    (folder / "x.tar.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="checksum does not match"):
        download.download_archive(f"{address}/x.tar.gz", "0" * 64, tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_a_download_that_is_not_there_is_named(tmp_path, server):
    with pytest.raises(OSError, match="404"):
        download.download_archive(f"{server[1]}/absent.tar.gz", "0" * 64, tmp_path)


def prepare_tfds(root, trained, file_format):
    """A tensorflow-datasets folder cifar10/3.0.2 of these images, in shuffled order with the
    archive's numbers as ids.
    """
    import tensorflow_datasets as tfds
    from PIL import Image

    class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "cifar10"
        VERSION = tfds.core.Version("3.0.2")
        pkg_dir_path = root

        def _info(self):
            names = [f"class {c}" for c in range(10)]
            features = tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(names=names),
                }
            )
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._examples("train"), "test": self._examples("test")}

        def _examples(self, split):
            for k, image in enumerate(trained):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "png")
                png.seek(0)
                yield f"{split}_{k:05d}", {"id": f"{split}_{k:05d}", "image": png, "label": k % 10}

        def _generate_examples(self, path):
            raise NotImplementedError

    root.mkdir(exist_ok=True)
    builder = Cifar10(data_dir=str(root), file_format=file_format)
    builder.download_and_prepare()
    return builder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_prepared_tensorflow_datasets_folder_gives_the_archives_order(tmp_path, monkeypatch):
    trained = GENERATOR.integers(0, 256, (40, 32, 32, 3), np.uint8)
    prepare_tfds(tmp_path / "tfds", trained, "array_record")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    dataset = data.load("cifar10", download=False)
    np.testing.assert_array_equal(dataset.train_images, trained)
    np.testing.assert_array_equal(dataset.train_labels, np.arange(40) % 10)
    assert dataset.class_names[3] == "class 3"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("cut", [0, 100])
def test_a_prepared_folder_in_tfrecord_format(tmp_path, cut):
    """The records of an array_record folder, written again in the older format's framing."""
    import json

    import tensorflow_datasets as tfds

    trained = GENERATOR.integers(0, 256, (20, 32, 32, 3), np.uint8)
    builder = prepare_tfds(tmp_path, trained, "array_record")
    folder = tmp_path / "cifar10" / "3.0.2"
    for split in ("train", "test"):
        (path,) = builder.info.splits[split].filepaths
        from array_record.python.array_record_module import ArrayRecordReader

        reader = ArrayRecordReader(str(path))
        records = reader.read([*range(reader.num_records())])
        reader.close()
        framed = b"".join(
            struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0) for record in records
        )
        (folder / path.name.replace("array_record", "tfrecord")).write_bytes(
            framed[: len(framed) - cut]
        )
    info = folder / "dataset_info.json"
    content = json.loads(info.read_text())
    content["fileFormat"] = "tfrecord"
    for split in content["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("array_record", "tfrecord")
    info.write_text(json.dumps(content))
    assert tfds.builder_from_directory(str(folder)).info.file_format.value == "tfrecord"
    if cut:
        with pytest.raises(
            ValueError, match=r"not a readable tensorflow-datasets folder .*truncated"
        ):
            data.load("cifar10", str(tmp_path), download=False)
    else:
        np.testing.assert_array_equal(
            data.load("cifar10", str(tmp_path), download=False).train_images, trained
        )


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'cifar1'; did you mean 'cifar10"):
        data.load("cifar1")
