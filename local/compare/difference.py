"""What a comparison found about one table."""

from dataclasses import dataclass, field

# Differences that are shown for a table; all are counted.
SHOWN = 5
ABSENT = "there is no such table in the replica"


@dataclass
class TableDifference:
    """What is different about one table; nothing when `equal`.

    :param missing, superfluous: rows that only the truth has, and that only the replica has.
    :param changed: rows with at least one different value.
    :param problems: differences of the table itself: columns, types, key, or that there is no such table.
    :param examples: the first differences of values, shortened.
    """

    table: str
    rows: int = 0
    missing: int = 0
    superfluous: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.missing or self.superfluous or self.changed or self.problems)

    @property
    def absent(self) -> bool:
        """Whether the replica does not have the table."""
        return ABSENT in self.problems

    def example(self, text: str) -> None:
        """Keep one of the first differences."""
        if len(self.examples) < SHOWN:
            self.examples.append(text)
