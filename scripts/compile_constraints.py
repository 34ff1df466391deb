"""Make the constraints files: `make constraints`.

`dags/constraints-3.3.1-canvas.txt` is Airflow's own constraints file, line for line, with a version changed
where requirements.txt, MWAA's image and MWAA's essential pins have no common solution otherwise.
`scripts/constraints-dev.txt` pins what requirements-dev.txt brings on top of that.
"""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.setup import failure, uv_environment

ROOT = Path(__file__).resolve().parent.parent
AIRFLOW = "3.3.1"
CONSTRAINTS = ROOT / "dags" / f"constraints-{AIRFLOW}-canvas.txt"
DEV_CONSTRAINTS = ROOT / "scripts" / "constraints-dev.txt"
IMAGE = ROOT / "scripts" / f"mwaa-{AIRFLOW}"
AIRFLOW_CONSTRAINTS = IMAGE / "airflow-constraints.txt"
ESSENTIAL_CONSTRAINTS = IMAGE / "essential-constraints.txt"
# MWAA supports exactly the image's versions of these
PROVIDERS = ("apache-airflow-providers-amazon", "apache-airflow-providers-postgres")
MWAA_PYTHON = ("--python-version", "3.12", "--python-platform", "linux")
EVERY_PYTHON = ("--python-version", "3.11", "--universal")

HEAD = f"""\
# Airflow {AIRFLOW}'s constraints for Python 3.12 ({AIRFLOW_CONSTRAINTS.relative_to(ROOT)}) with the changes
# below, without which the DAP client cannot be installed into MWAA's image. Do not edit by hand: `make constraints`.
# Changed:
"""
DEV_HEAD = f"""\
# What requirements-dev.txt brings on top of dags/{CONSTRAINTS.name}, pinned for Python 3.11 to 3.13.
# Do not edit by hand: `make constraints`.
"""

settings_of_uv = functools.cache(uv_environment)


class Unsolvable(Exception):
    """No set of versions satisfies what was asked for; the text is uv's explanation."""


def requirement_lines(path: Path) -> list[str]:
    """Requirements or constraints of a file, without comments and without options such as --constraint."""
    lines = (line.split(" #")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def read_pins(path: Path) -> dict[str, str]:
    """Versions by name as the file spells it, in the file's order."""
    return dict(line.split("==", 1) for line in requirement_lines(path))


def pin_lines(pins: dict[str, str]) -> str:
    """The pins as a requirements file has them."""
    return "".join(f"{name}=={pin}\n" for name, pin in pins.items())


def resolve(requirements: list[str], constraints: list[str], prefer: str, *options: str) -> list[str]:
    """Lines `name==version` or `name==version ; marker`, at the preferred pins wherever that is possible.

    Raises Unsolvable if there is no solution.
    """
    with tempfile.TemporaryDirectory() as folder:
        limits, output = Path(folder, "limits.txt"), Path(folder, "output.txt")
        limits.write_text("\n".join(constraints))
        output.write_text(prefer)  # uv stays at the versions it finds in its output file
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "-"]
        command += ["--output-file", str(output), "--constraints", str(limits), *options]
        wanted = "\n".join(requirements)
        done = subprocess.run(command, input=wanted, env=settings_of_uv(), capture_output=True, text=True, check=False)
        if done.returncode and "No solution found" in done.stderr:
            raise Unsolvable(done.stderr)
        if done.returncode:
            sys.exit(f"constraints: {failure(done.stderr, 'uv cannot resolve the requirements')}")
        return output.read_text().splitlines()


def changes(*limits: str, offline: bool = True) -> dict[str, str]:
    """The versions, by name, of what MWAA's image with requirements.txt cannot leave at Airflow's version.

    Asks the package index only where what was fetched before does not answer, once `offline`.
    """
    airflow = read_pins(AIRFLOW_CONSTRAINTS)
    wanted = requirement_lines(ROOT / "requirements.txt") + requirement_lines(IMAGE / "image-requirements.txt")
    wanted += [f"{name}=={airflow[name]}" for name in PROVIDERS]
    constraints = [*requirement_lines(ESSENTIAL_CONSTRAINTS), *limits]
    try:
        options = [*MWAA_PYTHON, "--offline"] if offline else MWAA_PYTHON
        lines = resolve(wanted, constraints, pin_lines(airflow), *options)
    except Unsolvable as problem:
        if "network was disabled" not in str(problem):
            raise
        return changes(*limits, offline=False)
    pins = dict(line.split("==") for line in lines)
    after = {name: pins.get(canonicalize_name(name), pin) for name, pin in airflow.items()}
    return {name: after[name] for name in sorted(airflow) if after[name] != airflow[name]}


def compile_constraints() -> str:
    """The text of the constraints file."""
    airflow = read_pins(AIRFLOW_CONSTRAINTS)
    after = changes(offline=False)
    # Newer than Airflow was tested with only where nothing else will do: this also makes the result the same
    # tomorrow, whatever is released meanwhile.
    ceilings: list[str] = []
    for name in [name for name, pin in after.items() if Version(pin) > Version(airflow[name])]:
        with contextlib.suppress(Unsolvable):
            after = changes(*ceilings, f"{name}<={airflow[name]}")
            ceilings.append(f"{name}<={airflow[name]}")
    listed = [f"#   {name} {airflow[name]} -> {pin}: {reason(name, after)}\n" for name, pin in after.items()]
    return HEAD + "".join(listed) + pin_lines(airflow | after)


def reason(name: str, after: dict[str, str]) -> str:
    """Why one package cannot go back to Airflow's version while the others are as they are."""
    before = read_pins(AIRFLOW_CONSTRAINTS)[name]
    try:
        changes(f"{name}=={before}", *(f"{other}=={pin}" for other, pin in after.items() if other != name))
    except Unsolvable as problem:
        clauses = re.findall(r"([\w.\[\]-]+==\S+) depends on ([\w.\[\]-]+)([=<>!~]\S*)", str(problem))
        for package, dependency, versions in clauses:
            if canonicalize_name(name) in (dependency, package.split("==")[0]):
                return f"{package} requires {dependency}{versions.rstrip(',')}"
        return "the versions of the others rule it out"
    sys.exit(f"constraints: {name} {before} fits after all: the resolution is not minimal.")


def compile_dev_constraints(constraints: str) -> str:
    """The text of the development constraints: pins of what the constraints file does not know."""
    wanted = requirement_lines(ROOT / "requirements.txt") + requirement_lines(ROOT / "requirements-dev.txt")
    known = {canonicalize_name(name) for name in read_pins(AIRFLOW_CONSTRAINTS)}
    prefer = DEV_CONSTRAINTS.read_text() if DEV_CONSTRAINTS.exists() else ""
    pins = resolve(wanted, [constraints], prefer, *EVERY_PYTHON)
    return DEV_HEAD + "".join(f"{pin}\n" for pin in pins if pin.split("==")[0] not in known)


def main() -> None:
    """Write both constraints files anew (`make constraints`)."""
    try:
        constraints = compile_constraints()
        dev_constraints = compile_dev_constraints(constraints)
    except Unsolvable as problem:
        sys.exit(f"constraints: no set of versions satisfies requirements*.txt and MWAA's image together:\n{problem}")
    CONSTRAINTS.write_text(constraints)
    DEV_CONSTRAINTS.write_text(dev_constraints)
    for line in re.findall(r"(?m)^#   (.+)$", constraints):
        print(line)


if __name__ == "__main__":
    main()
