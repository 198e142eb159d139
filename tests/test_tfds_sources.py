"""Prepared folders of tensorflow-datasets as sources of photographs."""

import numpy as np
import pytest
from PIL import Image

from ltjax import data
from tests.photographs import crops

pytest.importorskip("grain")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared tensorflow-datasets folder in array_record format, written without TensorFlow."""
    import tensorflow_datasets as tfds

    class Corners(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(60, 80, 3)),
                "label": tfds.features.ClassLabel(names=["few", "many"]),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
            )

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples((2, 5)),
                "test": self._generate_examples((2, 2)),
            }

        def _generate_examples(self, counts):
            import io

            for label, count in enumerate(counts):
                for number, image in enumerate(crops(label, count)):
                    file = io.BytesIO()
                    image.save(file, "PNG")
                    yield f"{label}-{number}", {"image": file.getvalue(), "label": label}

    folder = tmp_path_factory.mktemp("tfds")
    builder = Corners(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return folder, builder.name


def test_tfds_data_sources_are_read_without_decoding_them_first(prepared):
    folder, name = prepared
    loaded = data.load_tfds(name, str(folder), image_size=32, shorter_side=36)
    assert loaded.class_names == ("many", "few")
    assert np.bincount(loaded.train_labels).tolist() == [5, 2]
    assert loaded.read("test", np.arange(4)).shape == (4, 32, 32, 3)
    with Image.open(__import__("io").BytesIO(loaded.train.read(0))) as image:
        assert image.size == (80, 60)
    assert data.load_tfds(f"{name}:1.0.0", str(folder)).class_names == ("many", "few")
    with pytest.raises(FileNotFoundError, match="nothing prepared under"):
        data.load_tfds(f"{name}:2.0.0", str(folder))
    with pytest.raises(ValueError, match="has no split 'val'; expected one of"):
        data.load_tfds(name, str(folder), test_split="val")


def test_a_split_without_labels_is_refused(prepared, monkeypatch):
    """Places365 and iNaturalist 2018 label their test images -1."""
    from ltjax.data.prepared import Records

    known = Records.labels
    monkeypatch.setattr(
        Records, "labels", lambda self: known(self) if self.split == "train" else np.full(4, -1)
    )
    with pytest.raises(ValueError, match=r"4 of 4 images of the test split .* such as -1"):
        data.load_tfds(prepared[1], str(prepared[0]))
