"""Every link of the built site leads somewhere: to a page, a file, an anchor; those that leave it
are well-formed. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

KEYS = {"href", "src"}


class Page(HTMLParser):
    """Of a page of HTML: the anchors it has, and the links it makes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for key, value in attributes:
            if key in ("id", "name") and value:
                self.anchors.add(value)
            if key in KEYS and value is not None:
                self.links.append(value)


def broken(site: Path) -> Iterator[tuple[str, str, str]]:
    """(page, link, what is wrong with it) of every link of a folder of HTML that leads nowhere."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in files}
    for path, page in pages.items():
        for link in page.links:
            wrong = _wrong(path, link, pages)
            if wrong:
                yield str(path.relative_to(site.resolve())), link, wrong


def _wrong(path: Path, link: str, pages: dict[Path, Page]) -> str:
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return str(error)
    if parts.scheme or parts.netloc:
        return _wrong_outside(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return ""


def _wrong_outside(link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme in ("mailto", "data", "javascript"):
        return ""
    if parts.scheme not in ("http", "https"):
        return f"scheme {parts.scheme!r}; expected https"
    host = parts.hostname or ""
    if not all(label.replace("-", "").isalnum() for label in host.split(".")) or "." not in host:
        return f"host {host!r} is none"
    return "a space in it" if " " in link else ""


def setup(app):
    from sphinx.util import logging

    logger = logging.getLogger(__name__)

    def check(app, exception) -> None:
        if exception is None and app.builder.format == "html":
            for page, link, wrong in broken(Path(app.outdir)):
                logger.warning("%s: %s: %s", page, link, wrong, type="ltjax", subtype="link")

    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "version": "1"}
