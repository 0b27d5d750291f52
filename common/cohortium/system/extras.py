"""How to install an optional extra the way this installation was made: from a checkout, a wheel or an index."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cohortium.system.documents import parse_json


def how_to_install(extra: str, by: str = "cohortium") -> str:
    """A command ready for a shell; PEP 610 records where an installation came from."""
    return f'Run: "{sys.executable}" -m pip install {_source(extra, by)}'


def _source(extra: str, by: str) -> str:
    """What pip is given: a checkout's folder, the file it was installed from, or the name."""
    try:
        metadata = distribution(by).read_text  # of an installation, in UTF-8 always
        origin = parse_json((metadata("direct_url.json") or "{}").encode())
    except (PackageNotFoundError, ValueError):
        origin = {}
    url, checkout = str(origin.get("url", "")), origin.get("dir_info")
    if not url:
        return f'"{by}[{extra}]"'
    if checkout is None or not url.startswith("file:"):
        return f'"{by}[{extra}] @ {url}"'
    folder = url2pathname(urlsplit(url).path)  # which takes %20 for a blank itself
    return f'{"--editable " if checkout.get("editable") else ""}"{folder}[{extra}]"'
