"""What a preparation did, or would do, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.prepare_database.sessions import Session


@dataclass
class Report:
    """Prints each step as it is taken, and counts.

    :param dry_run: nothing is changed.
    """

    dry_run: bool
    tell: Callable[[str], None] = print
    changes: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)

    def already(self, what: str) -> None:
        """Report something that is already right."""
        self.right.append(what)
        self.tell(f"  ok       {what}")

    def change(self, session: Session, what: str, statement: str, **values: str) -> None:
        """Run a statement, unless this is a dry run.

        :raises Refused: PostgreSQL refused.
        """
        if not self.dry_run:
            session.rows(statement, **values)
        self.note(what)

    def note(self, what: str) -> None:
        """Report something that was changed, or would be."""
        self.changes.append(what)
        self.tell(f"  {'would' if self.dry_run else 'changed':<9}{what}")

    @property
    def summary(self) -> str:
        """One line with the counts."""
        right = f"{len(self.right)} already right"
        if not self.changes:
            return f"Nothing to change: {right}."
        number = f"{len(self.changes)} change" + ("s" if len(self.changes) != 1 else "")
        return f"Dry run: {number} to make, {right}." if self.dry_run else f"{number} made, {right}."
