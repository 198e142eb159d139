"""CIFAR-10 and CIFAR-100 from the published archive, its folder, a prepared tensorflow-datasets
folder, or a download.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ltjax.data.dataset import Dataset
from ltjax.data.download import download_archive
from ltjax.data.prepared import find_prepared, load_prepared


@dataclasses.dataclass(frozen=True)
class _Layout:
    name: str
    folder: str
    archive: str
    sha256: str
    md5: dict[str, str]
    test_file: str
    meta_file: str
    label_key: bytes
    names_key: bytes
    num_classes: int

    @property
    def train_files(self) -> tuple[str, ...]:
        return tuple(name for name in self.md5 if name != self.test_file)

    @property
    def url(self) -> str:
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"


# The archives' checksums are those that tensorflow-datasets verifies its downloads against, the
# batches' torchvision's.
CIFAR10 = _Layout(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    test_file="test_batch",
    meta_file="batches.meta",
    label_key=b"labels",
    names_key=b"label_names",
    num_classes=10,
)
CIFAR100 = _Layout(
    name="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    test_file="test",
    meta_file="meta",
    label_key=b"fine_labels",
    names_key=b"fine_label_names",
    num_classes=100,
)


def load_cifar10(folder: str = "", *, download: bool = True) -> Dataset:
    """CIFAR-10, 50,000 training and 10,000 test images, in the archive's order.

    Looks, in this order, in `folder` and in $LTJAX_DATA_DIR for the unpacked folder, the archive
    (either may be the place itself) or a folder prepared by tensorflow-datasets; for an earlier
    download in the cache (~/.cache/ltjax, or $XDG_CACHE_HOME/ltjax); for a prepared folder in
    $TFDS_DATA_DIR and ~/tensorflow_datasets; then downloads the archive into the cache and checks
    its checksum. Batch files with other bytes than the published ones (a damaged, thinned or
    reordered copy) are read and named in `notes`.

    Raises:
      FileNotFoundError: found nowhere and not downloadable; names the ways to provide it.
      ValueError: a truncated or corrupt archive or file, named.

    Source: Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    return _load(CIFAR10, folder, download)


def load_cifar100(folder: str = "", *, download: bool = True) -> Dataset:
    """CIFAR-100 with its 100 fine labels; see `load_cifar10`."""
    return _load(CIFAR100, folder, download)


def _load(layout: _Layout, folder: str, download: bool) -> Dataset:
    places = {"data.dir": folder, "LTJAX_DATA_DIR": os.environ.get("LTJAX_DATA_DIR", "")}
    for field, where in places.items():
        if not where:
            continue
        place = Path(where).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"{field} is {where!r}, which does not exist; {_ways(layout)}")
        found = _found_in(layout, place)
        if found is None and (prepared := find_prepared(layout.name, [place], elsewhere=False)):
            found = load_prepared(layout.name, prepared)
        if found is not None:
            return found
    found = _found_in(layout, _cache())
    if found is not None:
        return found
    prepared = find_prepared(layout.name, [])
    if prepared is not None:
        return load_prepared(layout.name, prepared)
    if not download:
        raise FileNotFoundError(
            f"{layout.name} found nowhere and data.download is off; {_ways(layout)}"
        )
    try:
        archive = download_archive(layout.url, layout.sha256, _cache())
    except OSError as error:
        raise FileNotFoundError(
            f"{layout.name} found nowhere and not downloadable ({error}); {_ways(layout)}"
        ) from None
    return _from_archive(layout, archive)


def _found_in(layout: _Layout, place: Path) -> Dataset | None:
    for candidate in (place, place / layout.folder):
        if all((candidate / name).is_file() for name in (layout.test_file, layout.meta_file)):
            return _from_folder(layout, candidate)
    for candidate in (place, place / layout.archive):
        if candidate.is_file() and candidate.name == layout.archive:
            return _from_archive(layout, candidate)
    return None


def _ways(layout: _Layout) -> str:
    return (
        "give --config.data.dir=DIR or set LTJAX_DATA_DIR=DIR,"
        f" where DIR holds {layout.archive} (from {layout.url}), or its unpacked"
        f" folder {layout.folder}/, or a tensorflow-datasets folder {layout.name}/;"
        " or --config.data.name=digits, which needs none"
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ltjax"


def _from_folder(layout: _Layout, folder: Path) -> Dataset:
    return _assemble(layout, lambda name: (folder / name).read_bytes(), str(folder))


def _from_archive(layout: _Layout, archive: Path) -> Dataset:
    """Reads the members in memory; nothing is unpacked to disk. gzip's own checksum covers every
    byte read.
    """
    try:
        members = {}
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if member.isfile() and len(parts) >= 2 and parts[-2] == layout.folder:
                    members[parts[-1]] = tar.extractfile(member).read()  # type: ignore[union-attr]
            while stream.read(
                1 << 20
            ):  # gzip compares its checksum at the very end, past what tar needs
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{archive}: truncated or corrupt archive ({error});"
            f" delete it and fetch {layout.url} again"
        ) from None
    return _assemble(layout, lambda name: members[name], str(archive))


def _assemble(layout: _Layout, read: Callable[[str], bytes], source: str) -> Dataset:
    digests: dict[str, str] = {}

    def checked(name: str) -> bytes:
        content = read(name)
        digests[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return content

    train = [_batch(layout, checked, name, source) for name in layout.train_files]
    test = _batch(layout, checked, layout.test_file, source)
    names = _unpickle(read, layout.meta_file, source).get(layout.names_key, [])
    if len(names) != layout.num_classes:
        raise ValueError(
            f"{source}: {layout.meta_file} names {len(names)} classes;"
            f" expected {layout.num_classes}"
        )
    return Dataset(
        name=layout.name,
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=test[0],
        test_labels=test[1],
        class_names=tuple(
            name.decode() if isinstance(name, bytes) else str(name) for name in names
        ),
        source=source,
        notes=_not_published(layout, digests, source),
    )


def _not_published(layout: _Layout, digests: dict[str, str], source: str) -> tuple[str, ...]:
    others = [name for name, digest in digests.items() if digest != layout.md5[name]]
    if not others:
        return ()
    return (
        f"not the published files, by their checksums: {', '.join(others)} in {source}. A copy with"
        " other images or in another order gives other subsets than the authors'; a damaged one"
        f" should be replaced ({layout.url})",
    )


def _batch(
    layout: _Layout, read: Callable[[str], bytes], name: str, source: str
) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(read, name, source)
    data, labels = batch.get(b"data"), batch.get(layout.label_key)
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3072
    ):
        raise ValueError(
            f"{source}: {name} holds no uint8 data of 3072 bytes an image;"
            " the file is not a CIFAR batch"
        )
    try:
        labels = np.asarray(labels, np.int32)
    except (TypeError, ValueError):
        labels = np.zeros((0,), np.int32)
    if labels.shape != (len(data),) or (
        len(labels) and not 0 <= labels.min() <= labels.max() < layout.num_classes
    ):
        raise ValueError(
            f"{source}: {name} has {len(data)} images but not as many labels in"
            f" 0..{layout.num_classes - 1}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _unpickle(read: Callable[[str], bytes], name: str, source: str) -> dict:
    try:
        value = _ArraysOnly(io.BytesIO(read(name)), encoding="bytes").load()
    except (KeyError, FileNotFoundError):
        raise ValueError(
            f"{source}: {name} is missing; unpack or fetch the archive again"
        ) from None
    except (
        Exception
    ) as error:  # damaged pickles fail in many ways; all of them mean the same to the user
        raise ValueError(
            f"{source}: {name} is truncated or corrupt ({error}); fetch the archive again"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"{source}: {name} is not a CIFAR batch")
    return value


class _ArraysOnly(pickle.Unpickler):
    """Admits NumPy arrays and plain containers; every other name in a pickle is refused, so that no
    code in it runs.
    """

    # numpy.core is where NumPy 1 pickled from, numpy._core NumPy 2; _codecs.encode is how Python 3
    # writes bytes in protocol 2.
    _ALLOWED: ClassVar = {
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which a CIFAR file never needs"
            )
        if name == "_reconstruct":
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        return super().find_class(module, name)
