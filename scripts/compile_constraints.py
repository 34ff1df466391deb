"""Make the constraints files: `make constraints`.

`dags/constraints-3.3.1-canvas.txt` is Airflow's own constraints file, line for line, with a version changed
where requirements.txt, MWAA's image and MWAA's essential pins have no common solution otherwise.
`scripts/constraints-dev.txt` pins what requirements-dev.txt brings on top of that.

Without `--airflow` the pins of Airflow are taken back out of the file as it stands (its head lists what was
changed, and a digest proves that nothing else was), so that a new version of the client needs no download.
For a new Airflow, download its file (the head says from where) and pass its path.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from scripts.setup import failure, pip_settings, uv_settings

ROOT = Path(__file__).resolve().parent.parent
AIRFLOW = "3.3.1"
PYTHON = "3.12"
OLDEST_PYTHON = "3.11"
CONSTRAINTS = ROOT / "dags" / f"constraints-{AIRFLOW}-canvas.txt"
DEV_CONSTRAINTS = ROOT / "scripts" / "constraints-dev.txt"
IMAGE = ROOT / "scripts" / f"mwaa-{AIRFLOW}"
SOURCE = f"https://raw.githubusercontent.com/apache/airflow/constraints-{AIRFLOW}/constraints-{PYTHON}.txt"

HEAD = f"""\
# Airflow {AIRFLOW}'s constraints for Python {PYTHON} with the changes below, without which the DAP client
# cannot be installed into MWAA's image. Do not edit by hand: `make constraints`.
# Airflow's file: {SOURCE}
# SHA-256 of its pins: {{digest}}
# Changed:
{{changes}}
"""
DEV_HEAD = f"""\
# What requirements-dev.txt brings on top of dags/{CONSTRAINTS.name}, pinned for Python 3.11 to 3.13.
# Do not edit by hand: `make constraints`.
"""


@functools.cache
def uv_environment() -> dict[str, str]:
    return os.environ | uv_settings(pip_settings(sys.executable), dict(os.environ))


class Unsolvable(Exception):
    """No set of versions satisfies what was asked for; the text is uv's explanation."""


@dataclass(frozen=True)
class Change:
    """One package that cannot stay at the version Airflow was tested with."""

    name: str
    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        return f"#   {self.name} {self.before} -> {self.after}: {self.reason}"


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> dict[str, str]:
    """Pins in file order, names as they are spelt; comments and blank lines are left out."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def pin_lines(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={pin}\n" for name, pin in pins.items())


def digest(pins: dict[str, str]) -> str:
    return hashlib.sha256(pin_lines(pins).encode()).hexdigest()


def read_changes(text: str) -> list[Change]:
    """The changes that the head of our own file lists."""
    return [Change(*match) for match in re.findall(r"(?m)^#   (\S+) (\S+) -> (\S+): (.+)$", text)]


def airflow_pins_in(text: str) -> dict[str, str]:
    """Airflow's own pins, taken back out of our file.

    Raises SystemExit if the file holds other differences than its head lists.
    """
    pins = read_pins(text)
    pins.update({change.name: change.before for change in read_changes(text)})
    recorded = re.search(r"(?m)^# SHA-256 of its pins: (\w+)$", text)
    if not recorded or digest(pins) != recorded[1]:
        sys.exit(
            f"dags/{CONSTRAINTS.name} differs from Airflow's constraints in more than its head lists: "
            f"download {SOURCE} and run `make constraints AIRFLOW_CONSTRAINTS=<that file>`."
        )
    return pins


def uv_compile(requirements: list[str], constraints: str, prefer: str, *options: str) -> list[str]:
    """Resolve, staying at the preferred pins wherever that is possible.

    Gives lines `name==version` or `name==version ; marker`.
    Raises Unsolvable if there is no solution.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits, output = (Path(folder, name) for name in ("wanted.txt", "limits.txt", "output.txt"))
        wanted.write_text("\n".join(requirements) + "\n")
        limits.write_text(constraints)
        output.write_text(prefer)  # uv stays at the versions it finds in its output file
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
        command += ["--output-file", str(output), "--constraints", str(limits), *options, str(wanted)]
        done = subprocess.run(command, env=uv_environment(), capture_output=True, text=True, check=False)
        if done.returncode and "No solution found" in done.stderr:
            raise Unsolvable(done.stderr)
        if done.returncode:
            sys.exit(f"constraints: {failure(done.stderr, 'uv cannot resolve the requirements')}")
        return output.read_text().splitlines()


class Resolution:
    """What must be installable together in MWAA's image, and how it differs from Airflow's constraints."""

    def __init__(self, airflow: dict[str, str]) -> None:
        self.airflow = airflow
        self.asked = False
        self.names = {normalized(name): name for name in airflow}
        self.requirements = [*requirement_lines(ROOT / "requirements.txt")]
        self.requirements += requirement_lines(IMAGE / "image-requirements.txt")
        # the providers that the image holds are part of what AWS supports: exactly these
        self.requirements += [
            f"{name}=={airflow[name]}"
            for name in ("apache-airflow-providers-amazon", "apache-airflow-providers-postgres")
        ]
        self.essential = requirement_lines(IMAGE / "essential-constraints.txt")

    def resolve(self, *constraints: str) -> dict[str, str]:
        limits = "\n".join([*self.essential, *constraints])
        options = ["--python-version", PYTHON, "--python-platform", "linux"]
        solve = functools.partial(uv_compile, self.requirements, limits, pin_lines(self.airflow), *options)
        if not self.asked:
            self.asked = True
            return read_pins("\n".join(solve()))
        # The first answer brought what nearly every further question needs; asking the index again takes seconds.
        try:
            return read_pins("\n".join(solve("--offline")))
        except Unsolvable as problem:
            if "network was disabled" not in str(problem):
                raise
        return read_pins("\n".join(solve()))

    def changed(self, pins: dict[str, str]) -> dict[str, str]:
        """Names (as Airflow spells them) and new versions of what is not at Airflow's version."""
        known = {self.names[normalized(name)]: pin for name, pin in pins.items() if normalized(name) in self.names}
        return {name: pin for name, pin in known.items() if pin != self.airflow[name]}

    def changes(self) -> list[Change]:
        ceilings: list[str] = []
        # Newer than Airflow was tested with only where nothing else will do: this also makes the result the
        # same tomorrow, whatever is released meanwhile.
        for name, pin in self.changed(self.resolve()).items():
            if Version(pin) > Version(self.airflow[name]):
                ceiling = f"{name}<={self.airflow[name]}"
                try:
                    self.resolve(*ceilings, ceiling)
                except Unsolvable:
                    continue
                ceilings.append(ceiling)
        after = self.changed(self.resolve(*ceilings))
        return [Change(name, self.airflow[name], after[name], self.reason(name, after)) for name in sorted(after)]

    def reason(self, name: str, after: dict[str, str]) -> str:
        """Why one package cannot go back to Airflow's version while the others are as they are."""
        others = [f"{other}=={pin}" for other, pin in after.items() if other != name]
        try:
            self.resolve(*others, f"{name}=={self.airflow[name]}")
        except Unsolvable as problem:
            clauses = re.findall(r"([\w.\[\]-]+==\S+) depends on ([\w.\[\]-]+)([=<>!~]\S*)", str(problem))
            for package, dependency, versions in clauses:
                if name in (normalized(dependency), normalized(package.split("==")[0])):
                    return f"{package} requires {dependency}{versions.rstrip(',')}"
            raise SystemExit(f"cannot read uv's reason for {name}:\n{problem}") from problem
        raise SystemExit(f"{name} {self.airflow[name]} fits after all: the resolution is not minimal.")


def requirement_lines(path: Path) -> list[str]:
    """Requirements or constraints of a file, without comments and without options such as --constraint."""
    lines = (line.split(" #")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def compile_constraints(airflow: dict[str, str]) -> str:
    """The text of the constraints file for these pins of Airflow."""
    changes = Resolution(airflow).changes()
    pins = airflow | {change.name: change.after for change in changes}
    head = HEAD.format(digest=digest(airflow), changes="\n".join(map(str, changes)))
    return head + pin_lines(pins)


def compile_dev_constraints(constraints: str, prefer: str) -> str:
    """The text of the development constraints: pins of what the constraints file does not know."""
    requirements = requirement_lines(ROOT / "requirements.txt") + requirement_lines(ROOT / "requirements-dev.txt")
    known = {normalized(name) for name in read_pins(constraints)}
    every_python = ("--universal", "--python-version", OLDEST_PYTHON)
    pins = uv_compile(requirements, constraints, prefer, *every_python)
    return DEV_HEAD + "".join(f"{pin}\n" for pin in pins if normalized(pin.split("==")[0]) not in known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--airflow", type=Path, metavar="FILE", help="Airflow's constraints file, downloaded")
    parser.add_argument("--upgrade-dev", action="store_true", help="take the newest development packages")
    options = parser.parse_args()
    try:
        if options.airflow:
            airflow = read_pins(options.airflow.read_text())
        else:
            airflow = airflow_pins_in(CONSTRAINTS.read_text())
        constraints = compile_constraints(airflow)
        prefer = "" if options.upgrade_dev or not DEV_CONSTRAINTS.exists() else DEV_CONSTRAINTS.read_text()
        dev_constraints = compile_dev_constraints(constraints, prefer)
    except OSError as problem:
        sys.exit(f"constraints: cannot read {problem.filename}: {problem.strerror}.")
    except Unsolvable as problem:
        sys.exit(f"constraints: no set of versions satisfies requirements*.txt and MWAA's image together:\n{problem}")
    CONSTRAINTS.write_text(constraints)
    DEV_CONSTRAINTS.write_text(dev_constraints)
    for change in read_changes(constraints):
        print(f"{change.name} {change.before} -> {change.after}: {change.reason}")
    development = len(requirement_lines(DEV_CONSTRAINTS))
    print(f"{len(read_pins(constraints))} pins for MWAA, {development} more for development")


if __name__ == "__main__":
    main()
