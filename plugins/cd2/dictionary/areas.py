"""Tables by area: each namespace is one, but `canvas`, whose ninety tables are grouped by subject."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cd2.dictionary.model import Table
from cd2.replication.names import TableName

CANVAS = "canvas"
SUBJECTS: tuple[tuple[str, str], ...] = (
    ("Blueprint courses", "master_courses_*"),
    ("External tools", "lti_* context_external_tools developer_key* access_tokens"),
    ("Outcomes and rubrics", "learning_outcome* outcome_* rubric*"),
    ("Quizzes", "quiz* assessment_question*"),
    ("Groups", "group_* groups"),
    (
        "Grades",
        "score* grading_* late_policies post_policies custom_gradebook_* submission* originality_reports "
        "content_participation* comment_bank_items canvadocs_annotation_contexts",
    ),
    ("Assignments", "assignment*"),
    (
        "Conversations and discussions",
        "conversation* discussion_* web_conference* communication_channels collaborations",
    ),
    (
        "Files, pages and modules",
        "attachment* folders wiki* context_module* content_tags content_migrations content_shares calendar_events",
    ),
    ("Courses and enrollments", "course* enrollment* favorites"),
    ("Accounts and people", "account* users user_* pseudonyms role*"),
)
"""The subjects of `canvas` and the beginnings of their tables' names; the first that fits counts."""
SHOWN_FIRST = (
    "Accounts and people",
    "Courses and enrollments",
    "Assignments",
    "Grades",
    "Quizzes",
    "Outcomes and rubrics",
    "Conversations and discussions",
    "Files, pages and modules",
    "Groups",
    "Blueprint courses",
    "External tools",
)
OTHER = "Other tables"


@dataclass(frozen=True)
class Area:
    """Some tables that belong together.

    :param subject: within `canvas`; otherwise empty.
    """

    namespace: str
    subject: str
    tables: tuple[Table, ...]

    @property
    def title(self) -> str:
        """What people read."""
        return f"{self.namespace}: {self.subject}" if self.subject else self.namespace


def areas(tables: Sequence[Table]) -> tuple[Area, ...]:
    """The areas of these tables, in the order in which they are shown.

    A table of `canvas` that is newer than this list goes with those that it and its neighbors refer to.
    """
    subject_of = {table.name: _subject(table.name) for table in tables if table.name.namespace == CANVAS}
    for table in tables:
        if subject_of.get(table.name) == "":
            subject_of[table.name] = _subject_of_neighbors(table, tables, subject_of)
    grouped: Mapping[tuple[str, str], list[Table]] = defaultdict(list)
    for table in tables:
        grouped[table.name.namespace, subject_of.get(table.name, "")].append(table)
    order = {subject: number for number, subject in enumerate((*SHOWN_FIRST, OTHER))}
    first = list(dict.fromkeys(namespace for namespace, _ in grouped))
    keys = sorted(grouped, key=lambda key: (first.index(key[0]), order.get(key[1], 0)))
    return tuple(Area(namespace, subject, tuple(grouped[namespace, subject])) for namespace, subject in keys)


def _subject(name: TableName) -> str:
    fitting = (
        subject for subject, patterns in SUBJECTS if any(fnmatchcase(name.table, one) for one in patterns.split())
    )
    return next(fitting, "")


def _subject_of_neighbors(table: Table, tables: Sequence[Table], subject_of: Mapping[TableName, str]) -> str:
    """The subject to which most references from and to a table lead; not those of users and courses, as all tables."""
    hubs = {TableName(CANVAS, name) for name in ("users", "courses", "accounts")}
    near = [target for target in targets_of(table) if target not in hubs]
    near += [other.name for other in tables if table.name in targets_of(other) and other.name not in hubs]
    counted = Counter(subject_of[name] for name in near if subject_of.get(name))
    return counted.most_common(1)[0][0] if counted else OTHER


def targets_of(table: Table) -> Iterator[TableName]:
    """The tables that a table refers to, as often as it does."""
    for column in table.columns:
        if column.reference:
            yield from column.reference.targets
