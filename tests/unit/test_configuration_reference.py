"""docs/configuration.md says what the code does."""

import dataclasses
import re
from pathlib import Path

from cd2.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.md"
DESCRIBED_IN_WORDS = {"(all)", "(none)", "the shipped RDS bundle"}


def documented() -> dict[str, str]:
    """Setting -> default, from the first table of the reference."""
    table = REFERENCE.read_text().split("## Trigger form")[0]
    return {key: default.strip("` ") for key, default in re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE)}


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    assert list(documented()) == [field.name for field in dataclasses.fields(Settings)]


def test_the_documented_defaults_are_the_real_ones() -> None:
    for field in dataclasses.fields(Settings):
        default = documented()[field.name]
        if default in DESCRIBED_IN_WORDS:
            continue
        real = field.default
        assert default == (",".join(real) if isinstance(real, tuple) else str(real))
