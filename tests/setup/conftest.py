"""A small set of requirements with a package index of its own, to run scripts/setup on for real."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.setup.project import PASSWORD, USER, Project


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A package of one empty module."""
    metadata = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package index that knows `probe` 1.0 and 2.0, and `extra` 1.0."""
    folder = tmp_path_factory.mktemp("index")
    for name, version in (("probe", "1.0"), ("probe", "2.0"), ("extra", "1.0")):
        package = folder / "simple" / f"cd2-{name}"
        package.mkdir(parents=True, exist_ok=True)
        write_wheel(package, f"cd2_{name}", version)
        links = "".join(f'<a href="{file.name}">{file.name}</a>\n' for file in sorted(package.glob("*.whl")))
        (package / "index.html").write_text(f"<!doctype html><html><body>\n{links}</body></html>")
    return folder


@pytest.fixture(scope="session")
def mirror(index: Path) -> Iterator[str]:
    """The index's URL over HTTP, with the password that it asks for, as a company's mirror does."""

    def serve(request: Request) -> Response:
        file = index / request.path.lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        given = request.authorization
        if not given or (given.username, given.password) != (USER, PASSWORD):
            return Response(status=401, headers={"WWW-Authenticate": "Basic"})
        if not file.is_file():
            return Response(status=404)
        kind = "text/html" if file.suffix == ".html" else "application/octet-stream"
        return Response(file.read_bytes(), content_type=kind)

    with HTTPServer(threaded=True) as server:
        server.expect_request(re.compile(".*")).respond_with_handler(serve)
        yield server.url_for("/simple").replace("//", f"//{USER}:{PASSWORD}@")


@pytest.fixture
def project(tmp_path: Path, mirror: str) -> Project:
    """A project whose own packages come from the mirror, everything else from where pip is configured to look."""
    return Project(tmp_path / "project", {"PIP_EXTRA_INDEX_URL": mirror})


@pytest.fixture
def offline_project(tmp_path: Path) -> Project:
    """A project whose package index does not answer."""
    closed = f"http://{USER}:{PASSWORD}@127.0.0.1:9/simple"
    nowhere = {"PIP_INDEX_URL": closed, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    return Project(tmp_path / "project", nowhere | {"UV_CACHE_DIR": str(tmp_path / "uv-cache")})
