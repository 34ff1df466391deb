"""`make package`: the same sources give the same bytes, and what MWAA could not use is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.package import (
    BUNDLE,
    ROOT,
    STATIC_SUFFIXES,
    PackagingError,
    build,
    check_bundle,
)

STATIC_FILES = {
    f"{folder.as_posix()}/{path.name}" for folder in STATIC_SUFFIXES for path in (ROOT / "plugins" / folder).iterdir()
}
PARTS = ("plugins", "dags", "scripts", "requirements.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout, made by somebody with another umask at another time, in which Python has already run."""
    copy = tmp_path / "elsewhere" / "checkout"
    copy.mkdir(parents=True)
    before = os.umask(0o077)
    try:
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                for path in sorted(source.rglob("*"), reverse=True):
                    if path.is_file() and "__pycache__" not in path.parts:
                        target = copy / path.relative_to(ROOT)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(path.read_bytes())
                        os.utime(target, (1_000_000_000, 1_000_000_000))
            else:
                shutil.copyfile(source, copy / name)
    finally:
        os.umask(before)
    cache = copy / "plugins" / "cd2" / "__pycache__"
    cache.mkdir()
    (cache / "settings.cpython-312.pyc").write_bytes(b"x")
    (copy / "plugins" / ".DS_Store").write_bytes(b"x")
    return copy


def test_it_is_byte_identical_from_another_folder_umask_time_and_process(checkout: Path, tmp_path: Path) -> None:
    here = build(folder=tmp_path / "here").digests
    assert build(folder=tmp_path / "again").digests == here
    command = f"umask 0; exec {sys.executable} -m scripts.package"
    environment = os.environ | {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        ["sh", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    for name in here:
        assert (checkout / "dist" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert f"sha256 {here['plugins.zip'][:16]}" in done.stdout


def test_the_zip_holds_python_the_bundle_the_page_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    build(checkout, tmp_path)
    with zipfile.ZipFile(tmp_path / "plugins.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {"cd2_plugin.py", "cd2/__init__.py", "cd2/replication/load/load.py", ".airflowignore"} <= set(names)
        others = {".airflowignore", BUNDLE.as_posix(), *STATIC_FILES}
        assert {name for name in names if not name.endswith(".py")} == others
        python = {path.relative_to(ROOT / "plugins").as_posix() for path in (ROOT / "plugins").rglob("*.py")}
        assert python <= set(names)
        assert archive.testzip() is None
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


def test_a_changed_line_changes_plugins_zip_only(checkout: Path, tmp_path: Path) -> None:
    before = build(checkout, tmp_path / "before").digests
    file = checkout / "plugins" / "cd2" / "settings.py"
    file.write_text(file.read_text() + "# one line\n")
    after = build(checkout, tmp_path / "after").digests
    assert {name for name in before if before[name] != after[name]} == {"plugins.zip"}


def test_changed_constraints_change_requirements_so_that_mwaa_installs_again(checkout: Path, tmp_path: Path) -> None:
    """MWAA looks at the version of requirements.txt only; the constraints file is one of the DAGs."""
    before = build(checkout, tmp_path / "before").digests
    (constraints,) = (checkout / "dags").glob("constraints-*.txt")
    constraints.write_text(constraints.read_text().replace("==", "== ", 1))
    after = build(checkout, tmp_path / "after").digests
    assert {name for name in before if before[name] != after[name]} == {"requirements.txt"}
    first, *rest = (tmp_path / "after" / "requirements.txt").read_text().splitlines()
    assert first == f"# {constraints.name}: sha256 {hashlib.sha256(constraints.read_bytes()).hexdigest()}"
    assert "\n".join(rest) == (ROOT / "requirements.txt").read_text().rstrip()


def test_each_constraints_file_has_its_digest_whatever_else_changes(checkout: Path, tmp_path: Path) -> None:
    dags, requirements = checkout / "dags", checkout / "requirements.txt"
    more = dags / "constraints-more.txt"
    more.write_text("boto3==1\n")
    requirements.write_text(f"# Ours\n-c /usr/local/airflow/dags/{more.name}\n" + requirements.read_text())
    built = [build(checkout, tmp_path / "1").digests["requirements.txt"]]
    lines = (tmp_path / "1" / "requirements.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [f"# {more.name}", "# constraints-3.3.1-canvas.txt"]
    more.write_text("boto3==2\n")
    built.append(build(checkout, tmp_path / "2").digests["requirements.txt"])
    requirements.write_text(requirements.read_text().replace("# Ours", "# Others"))
    more.write_text("boto3==1\n")
    built.append(build(checkout, tmp_path / "3").digests["requirements.txt"])
    more.write_text("boto3==2\n")
    built.append(build(checkout, tmp_path / "4").digests["requirements.txt"])
    assert len(set(built)) == 4


def refused(checkout: Path, tmp_path: Path) -> str:
    with pytest.raises(PackagingError) as caught:
        build(checkout, tmp_path / "dist")
    assert not (tmp_path / "dist" / "plugins.zip").exists()
    return str(caught.value)


def test_without_the_rds_bundle_nothing_is_packaged(checkout: Path, tmp_path: Path) -> None:
    bundle = checkout / "plugins" / BUNDLE
    text = bundle.read_text()
    bundle.unlink()
    assert "is missing; without it no connection to Aurora is trusted: renew it" in refused(checkout, tmp_path)
    bundle.write_text("nothing of use")
    assert "holds something other than certificates" in refused(checkout, tmp_path)
    bundle.write_text(text.split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    assert "holds only 1 certificates: it is truncated" in refused(checkout, tmp_path)


def test_an_authority_that_expires_within_a_month_is_refused() -> None:
    bundle = ROOT / "plugins" / BUNDLE
    check_bundle(bundle)
    with pytest.raises(PackagingError, match=r"CN=Amazon RDS .* is valid only until 20\d\d-"):
        check_bundle(bundle, datetime(2100, 1, 1, tzinfo=UTC))


def test_a_file_that_would_not_reach_mwaa_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "plugins" / "cd2" / "lookup.csv").write_text("a,b\n")
    assert "lookup.csv is neither Python nor the RDS bundle" in refused(checkout, tmp_path)


@pytest.mark.parametrize(
    ("requirements", "told"),
    [
        ("instructure-dap-client==2.3.1\n", "names no constraints file"),
        ('--constraint "/usr/local/airflow/dags/constraints-9.txt"\n', "constraints-9.txt, which is not in dags/"),
        ('--constraint "/tmp/constraints-3.3.1-canvas.txt"\n', "which is not in dags/"),
        ("-c /usr/local/airflow/dags/constraints-9.txt\n", "constraints-9.txt, which is not in dags/"),
        ("--constraint=/usr/local/airflow/dags/constraints-3.3.1-canvas.txt\n", "names no constraints file"),
    ],
)
def test_requirements_that_mwaa_could_not_install_are_refused(
    checkout: Path, tmp_path: Path, requirements: str, told: str
) -> None:
    (checkout / "requirements.txt").write_text(requirements)
    assert told in refused(checkout, tmp_path)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_startup_script_names_a_constraints_file_that_is_missing_and_leaves_nothing_behind(
    shell: str, tmp_path: Path
) -> None:
    startup = build(folder=tmp_path).folder / "startup.sh"
    requirements = tmp_path / "installed.txt"
    there = tmp_path / "constraints.txt"
    script = f". {startup}; set | grep ^cd2_; echo ended"
    for spelling, told in (
        ("--constraint", "is missing, so requirements.txt cannot be installed"),
        ("-c", "is missing, so requirements.txt cannot be installed"),
        ("--constraint", "installed with"),
        ("-c", "installed with"),
    ):
        requirements.write_text(f'{spelling} "{there}"\nboto3\n')
        environment = {"CD2_REQUIREMENTS": str(requirements), "PATH": os.environ["PATH"]}
        done = subprocess.run([shell, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("Canvas Data 2: ")
        assert told in done.stdout
        assert str(there) in done.stdout
        assert done.stdout.splitlines()[1:] == ["ended"]
        assert done.stderr == ""
        if spelling == "-c":
            there.touch()
