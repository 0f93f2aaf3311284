"""Build the site: chapters with their outputs, pages, model cards and the API, in English and Chinese."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from course.bootstrap import installer_environment
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown

LANGUAGES = {"en": "", "zh_CN": "zh_CN"}
"""Language → its folder in the site."""
REQUIREMENTS = COURSE_ROOT / "requirements" / "lock-site.txt"
#: Element → its attribute that makes a browser load something.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "video": "src", "source": "src"}
#: Links that name another address for the page, and load nothing.
NAMING_LINKS = {"canonical", "next", "prev", "author", "search", "index"}


def build_site(out: Path) -> None:
    """Build all languages into a folder, and check every page.

    Raises:
        CourseError: Sphinx warns of anything, a link leads nowhere, or a page loads something from another host.
    """
    for language, folder in LANGUAGES.items():
        print(f"building {language} …", flush=True)
        _sphinx("-b", "html", "-D", f"language={language}", "-W", "--keep-going", str(out / folder))
    if problems := list(find_problems(out)):
        shown_problems = "\n".join(problems[:20])
        raise CourseError(f"The site has {len(problems)} problems:\n{shown_problems}", "", "correct the page's source")
    print(f"{sum(1 for _ in out.rglob('*.html'))} pages, no broken link: {shown(out / 'index.html')}")


def extract_catalogues(out: Path) -> None:
    """Write the texts of all pages as gettext templates (``.pot``), from which a translation is made or brought up to
    date.

    Raises:
        CourseError: Sphinx failed.
    """
    _sphinx("-b", "gettext", str(out))


def _sphinx(*arguments: str) -> None:
    _in_site_environment("sphinx-build", "-q", "-j", "auto", "-c", "docs", *arguments[:-1], ".", arguments[-1])


def _in_site_environment(*command: str) -> None:
    """Run a program of the site's pinned packages in an environment that uv makes for it, and keeps."""
    uv = [str(Path(sys.executable).with_name("uv")), "run", "--no-project", "--isolated", "--python", sys.executable]
    ended = subprocess.run(
        [*uv, "--with-requirements", str(REQUIREMENTS), *command],
        cwd=COURSE_ROOT,
        env=installer_environment(sys.executable),
        check=False,
    )
    if ended.returncode:
        raise CourseError(
            f"{command[0]} ended with status {ended.returncode}.", "see the lines above", "correct what they name"
        )


class _Page(HTMLParser):
    """Addresses that a page loads, those that it links to, and its anchors."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if (url := given.get(LOADED.get(tag, ""))) and given.get("rel") not in NAMING_LINKS:
            self.loaded.append(url)
        if tag == "a" and (url := given.get("href")):
            self.linked.append(url)


def find_problems(site: Path) -> Iterator[str]:
    """What pages load from another host, and links within the site to a file or an anchor that is not there."""
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for url in page.loaded:
            if urlsplit(url).netloc:
                yield f"{name}: loads {url}"
        for url in [*page.loaded, *page.linked]:
            split = urlsplit(url)
            if split.scheme or split.netloc:
                continue
            target = (path.parent / unquote(split.path)).resolve() if split.path else path
            if not target.exists():
                yield f"{name}: {url} leads nowhere"
            elif split.fragment and target in pages and unquote(split.fragment) not in pages[target].anchors:
                yield f"{name}: {url} has no such place"
