"""One file from the network: checked, atomic, with a progress bar, and a quick answer when there is
no network.
"""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

TIMEOUT = 8.0
"""Seconds until "no network": resolving, connecting or waiting for a byte."""


def download_archive(url: str, sha256: str, folder: Path) -> Path:
    """Downloads `url` into `folder` under its own name and returns the path.

    The file appears only once whole and with the right checksum.

    Raises:
      OSError: no network or no such file, within `TIMEOUT` seconds.
      ValueError: the checksum does not match.
    """
    import pooch
    import requests

    def reachable() -> None:
        requests.head(url, timeout=TIMEOUT, allow_redirects=True).raise_for_status()

    # A thread, because resolving a name has no time-out of its own; a stuck one must not hold up
    # the answer.
    probe = concurrent.futures.ThreadPoolExecutor(1)
    try:
        probe.submit(reachable).result(TIMEOUT)
    except concurrent.futures.TimeoutError:
        raise OSError(f"no answer from {url} within {TIMEOUT:.0f} s") from None
    except requests.HTTPError as error:
        raise OSError(str(error)) from None
    except requests.RequestException as error:
        raise OSError(f"no connection to {url}: {type(error).__name__}") from None
    finally:
        probe.shutdown(wait=False)
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[-1]
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT),
        )
    except ValueError:
        raise ValueError(
            f"{url}: the download's checksum does not match the published one;"
            " nothing was kept, try again"
        ) from None
    return folder / name
