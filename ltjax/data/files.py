"""Data sets whose images stay in files and are read one by one: lists and
tensorflow-datasets; `ltjax.data.folders` has folders of folders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ltjax.data import decode


class Reader(Protocol):
    """Encoded images by number; goes to worker processes by pickle."""

    def name(self, index: int) -> str: ...

    def read(self, index: int) -> bytes: ...


@dataclasses.dataclass(frozen=True)
class Files:
    """Images in files under a folder."""

    root: str
    paths: Sequence[str]

    def name(self, index: int) -> str:
        return os.path.join(self.root, self.paths[index])

    def read(self, index: int) -> bytes:
        with open(self.name(index), "rb") as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class Images:
    """One split: which of a reader's images, and their labels.

    Attributes:
      reader: of encoded images.
      members: int64 [N], numbers in the reader.
      labels: int32 [N] in 0..C-1.
      groups: number of each image's group (patient, camera, site), int [N]; None where none is
        told.
    """

    reader: Reader
    members: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def read(self, index: int) -> bytes:
        """Raises decode.Unreadable where the file can't be read at all."""
        try:
            return self.reader.read(int(self.members[index]))
        except OSError as error:
            raise decode.Unreadable(error.strerror or str(error)) from None

    def name(self, index: int) -> str:
        return self.reader.name(int(self.members[index]))

    def chosen(self, indices: np.ndarray) -> Images:
        return dataclasses.replace(
            self,
            members=self.members[indices],
            labels=self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
        )


@dataclasses.dataclass(frozen=True)
class StreamedDataset:
    """A data set that is decoded while it is used; classes are numbered by descending training
    count.

    Attributes:
      name: as in a config.
      train, test: the splits.
      val: the validation split; None by default.
      class_names: C names, in label order.
      source: where the images came from, for the record.
      class_ids: the user's id of each class in label order: its list's label, its folder's place in
        the alphabet.
      image_size: side in pixels of what the network sees.
      shorter_side: in evaluation, before the centre crop.
      notes: lines that its user should see.
    """

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    source: str
    class_ids: tuple[int, ...] = ()
    image_size: int = 224
    shorter_side: int = 256
    notes: tuple[str, ...] = ()
    val: Images | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def train_labels(self) -> np.ndarray:
        return self.train.labels

    @property
    def train_groups(self) -> np.ndarray | None:
        return self.train.groups

    @property
    def test_labels(self) -> np.ndarray:
        return self.test.labels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_size, self.image_size, 3

    @property
    def val_labels(self) -> np.ndarray:
        return self.val.labels if self.val is not None else np.zeros(0, np.int32)

    def hold_out(self, indices: np.ndarray) -> StreamedDataset:
        """These training images become the validation split."""
        kept = np.setdiff1d(np.arange(len(self.train_labels)), indices)
        return dataclasses.replace(
            self, train=self.train.chosen(kept), val=self.train.chosen(indices)
        )

    def keep_training(self, indices: np.ndarray) -> StreamedDataset:
        """The same data set with these training images alone."""
        return dataclasses.replace(self, train=self.train.chosen(indices))

    def read(self, split: str, indices: np.ndarray) -> np.ndarray:
        """Images as in evaluation: uint8 [len(indices), size, size, 3].

        Raises:
          ValueError: an unreadable image, named.
        """
        images: Images = getattr(self, split)
        return np.stack(
            [readable(images, index, lambda data: self.evaluation_view(data)) for index in indices]
        )

    def evaluation_view(self, data: bytes) -> np.ndarray:
        return decode.center_crop(data, self.image_size, self.shorter_side)

    def digest(self) -> str:
        """Of the training split's names and labels (not of its pixels, which would have to be
        read).
        """
        digest = hashlib.sha256(self.train.labels.tobytes())
        for index in range(len(self.train.labels)):
            digest.update(os.fsencode(os.path.basename(self.train.name(index))) + b"\n")
        return digest.hexdigest()


def readable(images: Images, index: int, view) -> np.ndarray:
    """One image through `view`.

    Raises:
      ValueError: it can't be read; names it.
    """
    try:
        return view(images.read(index))
    except decode.Unreadable as error:
        raise ValueError(
            f"{images.name(index)} can't be read ({error}); replace it, take it out of the list,"
            " or train on with --config.data.unreadable=skip, which counts such images"
        ) from None


def load_image_list(
    folder: str, train_list: str, test_list: str, val_list: str = "", **options: Any
) -> StreamedDataset:
    """The published list format: a line an image, its path under `folder` and its label.

    Args:
      folder: root of the paths.
      train_list, test_list, val_list: files; a relative path is looked for here and under `folder`.
        Without the last there is no validation split.
      **options: image_size and shorter_side of `StreamedDataset`.

    Returns:
      Classes renumbered by descending training count (equal counts keep their order), so that head,
      medium and tail are ranges. Their names are the lists' labels.

    Raises:
      FileNotFoundError: no such list, or images that are missing: how many, and the first few.
      ValueError: a line that can't be read, a label without training images, or a path listed
        twice. One line each, with its place.
    """
    root = root_folder(folder, "image_list")
    train_paths, train_labels = _read_list(_list_file(root, train_list, "train_list"))
    found = [(train_paths, train_labels), _read_list(_list_file(root, test_list, "test_list"))]
    if val_list:
        found.append(_read_list(_list_file(root, val_list, "val_list")))
    _check_paths(root, [paths for paths, _ in found])
    num_classes = max(labels.max() for _, labels in found) + 1
    counts = np.bincount(train_labels, minlength=num_classes)
    if not counts.all():
        missing = np.flatnonzero(counts == 0)
        raise ValueError(
            f"{train_list}: label {missing[0]} has no training image ({len(missing)} such labels);"
            f" expected labels 0..{num_classes - 1}, each at least once"
        )
    names = [str(label) for label in range(num_classes)]
    readers = [Files(str(root), paths) for paths, _ in found]
    labels = [labels for _, labels in found]
    return numbered("image_list", readers, labels, names, str(root), **options)


def load_tfds(
    name: str, folder: str, *, train_split: str = "train", test_split: str = "test", **options: Any
) -> StreamedDataset:
    """A data set that tensorflow-datasets prepared as array_record files, read without TensorFlow.

    Args:
      name: as tensorflow-datasets calls it, with a version or configuration if needed:
        places365_small, i_naturalist2018:0.1.0.
      folder: of prepared data sets; "" is tensorflow-datasets' own ($TFDS_DATA_DIR).
      train_split, test_split: its splits.
      **options: image_size and shorter_side of `StreamedDataset`.

    Raises:
      FileNotFoundError: it is not prepared. ValueError: it has no image and label, or no such
        split. One line each.
    """
    from ltjax.data.prepared import Records, find_builder

    builder = find_builder(name, folder)
    readers = (
        Records(str(builder.data_path), train_split),
        Records(str(builder.data_path), test_split),
    )
    names = list(builder.info.features["label"].names)
    labels = readers[0].labels(), readers[1].labels()
    return numbered(f"tfds:{name}", readers, labels, names, str(builder.data_path), **options)


def numbered(
    name: str,
    readers: Sequence[Reader],
    labels: Sequence[np.ndarray],
    names: Sequence[str],
    source: str,
    *,
    groups: Sequence[np.ndarray | None] | None = None,
    **options: Any,
) -> StreamedDataset:
    """The splits, classes by descending training count (equal counts keep their order).

    Args:
      name: as in a config.
      readers: of the training, the test and perhaps the validation images.
      labels: theirs in the source's order, int [N] each.
      names: of the classes in the source's order.
      source: where the images came from.
      groups: of the images, as `Images`.
      **options: further attributes of `StreamedDataset`.

    Raises:
      ValueError: labels outside 0..C-1, as some sets have them for a test split kept secret.
    """
    for split, old in zip(("train", "test", "validation"), labels, strict=False):
        bad = int(np.sum((old < 0) | (old >= len(names))))
        if bad:
            raise ValueError(
                f"{name}: {bad} of {len(old)} images of the {split} split have labels outside"
                f" 0..{len(names) - 1}, such as {old[(old < 0) | (old >= len(names))][0]}: they are"
                " not labelled; give a split that is (--config.data.test_split=validation)"
            )
    order = np.argsort(-np.bincount(labels[0], minlength=len(names)), kind="stable")
    new = np.empty(len(names), np.int32)
    new[order] = np.arange(len(names), dtype=np.int32)
    train, test, *val = (
        Images(reader, np.arange(len(old)), new[old], group)
        for reader, old, group in zip(
            readers, labels, groups if groups else [None] * len(readers), strict=True
        )
    )
    class_names, ids = tuple(names[label] for label in order), tuple(order.tolist())
    options["val"] = val[0] if val else None
    return StreamedDataset(name, train, test, class_names, source, ids, **options)


def root_folder(folder: str, kind: str) -> Path:
    """The folder that a config names, or $LTJAX_DATA_DIR.

    Raises:
      FileNotFoundError: none is given, or it is none.
    """
    folder = folder or os.environ.get("LTJAX_DATA_DIR", "")
    if not folder:
        raise FileNotFoundError(
            f"config.data.name={kind} needs the folder of the images: --config.data.dir=FOLDER"
        )
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; config.data.dir should hold the images")
    return root


def _list_file(root: Path, name: str, field: str) -> Path:
    if not name:
        raise ValueError(
            f"config.data.{field} is empty; expected a file with a line an image:"
            " relative/path.jpg label"
        )
    for path in (Path(name).expanduser(), root / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"config.data.{field} is {name}: no such file, here or under {root}")


def _read_list(path: Path) -> tuple[list[str], np.ndarray]:
    paths, labels = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not (label.isascii() and label.isdigit()):
            raise ValueError(
                f"{path}, line {number}: {line.strip()[:80]!r}; expected a path, a space and a"
                " label of 0 or above"
            )
        paths.append(name.strip())
        labels.append(int(label))
    if not paths:
        raise ValueError(f"{path} lists no images")
    return paths, np.asarray(labels, np.int64)


def read_text(path: Path) -> str:
    """A list's content, with or without a byte-order mark.

    Raises:
      ValueError: another encoding; one line.
    """
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError(f"{path} is binary or UTF-16; expected a text file in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save the list as"
            f" UTF-8, for instance: iconv -f latin1 -t utf-8 {path.name} -o NEW"
        ) from None


def _check_paths(root: Path, lists: list[list[str]]) -> None:
    """No path twice, all there."""
    every = [path for paths in lists for path in paths]
    twice = [path for path, count in Counter(every).items() if count > 1]
    if twice:
        shared = Counter(path for paths in lists for path in set(paths))
        both = sum(count > 1 for count in shared.values())
        where = f"{both} of them in both lists" if both else "within a list"
        raise ValueError(
            f"{len(twice)} paths are listed twice, {where}, such as {twice[0]};"
            " list each image once"
        )
    missing = missing_files(root, every)
    if missing:
        some = ", ".join(every[place] for place in missing[:3])
        raise FileNotFoundError(
            f"{len(missing)} of {len(every)} listed images are not under {root}, such as {some};"
            " is config.data.dir the lists' root?"
        )


def missing_files(root: Path, paths: Sequence[str]) -> list[int]:
    """Places of those that are not there. Folders are listed whole: one call a folder instead of
    one an image.
    """
    folders: dict[str, set[str]] = {}
    missing = []
    for place, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in folders:
            try:
                folders[folder] = set(os.listdir(root / folder))
            except OSError:
                folders[folder] = set()
        if name not in folders[folder]:
            missing.append(place)
    return missing
