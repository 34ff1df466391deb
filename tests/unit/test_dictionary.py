"""The data dictionary: which columns refer to which tables, what belongs together, and where the boxes stand."""

from __future__ import annotations

import random

import pytest

from cd2.dictionary.__main__ import DictionaryError, verified
from cd2.dictionary.areas import OTHER, areas
from cd2.dictionary.catalog import short
from cd2.dictionary.layout import Size, places
from cd2.dictionary.model import Column, Reference, Table
from cd2.dictionary.references import documented, with_references
from cd2.replication.names import NAMESPACES, TableName
from local.simulator.catalogue import default_tables

ID = Column("id", "bigint", required=True, key=True)


def table(name: str, *columns: Column | str) -> Table:
    """A table with a key and other columns; of a text, the name counts."""
    made = tuple(Column(each, "bigint", required=False) if isinstance(each, str) else each for each in columns)
    return Table(TableName.parse(name), (ID, *made))


def reference(name: str, column: Column | str, *others: Table, **more: str) -> Reference | None:
    """What a column of a table refers to, beside these tables.

    :param more: `foreign_key`: the table that a constraint names.
    """
    of = table(name, column)
    last = of.columns[-1]
    keys = {(of.name, last.name): TableName.parse(more["foreign_key"])} if more else {}
    return with_references([of, *others], keys)[0].columns[-1].reference


def test_every_documented_reference_is_about_tables_of_canvas_data_2() -> None:
    """The simulator's tables of canvas are those of Instructure's documentation; its catalog has other ones."""
    known = {TableName(*name) for name in default_tables()}
    of_canvas = {key: targets for key, targets in documented().items() if key[0].namespace != "catalog"}
    assert len(of_canvas) > 180
    assert {name for name, _ in of_canvas} | {target for several in of_canvas.values() for target in several} <= known
    assert {name.namespace for name, _ in documented()} <= set(NAMESPACES)


def test_what_is_known_better_counts() -> None:
    users, courses = table("canvas.users"), table("canvas.courses")
    comment = Column("user_id", "bigint", required=False, comment="Foreign key to the `courses` table.")
    assert reference("canvas.notes", "user_id", users, courses) == Reference((users.name,), "name")
    assert reference("canvas.notes", comment, users, courses) == Reference((courses.name,), "comment")
    assert reference("canvas.rubrics", comment, users, courses) == Reference((users.name,), "documented")
    made = reference("canvas.rubrics", comment, users, courses, foreign_key="canvas.courses")
    assert made == Reference((courses.name,), "foreign key")


def test_one_of_several_tables_is_documented() -> None:
    several = (TableName("canvas", "courses"), TableName("canvas", "groups"))
    assert reference("canvas.favorites", "context_id") == Reference(several, "documented")


@pytest.mark.parametrize(
    ("name", "column", "other", "refers"),
    [
        ("canvas.notes", "late_policy_id", "canvas.late_policies", True),
        ("canvas.notes", "quiz_id", "canvas.quizzes", True),
        ("canvas.notes", "real_user_id", "canvas.users", True),
        ("canvas.notes", "sis_user_id", "canvas.users", False),
        ("canvas.notes", "user", "canvas.users", False),
        ("canvas.notes", "user_id", "catalog.users", False),
        ("canvas_logs.other_logs", "course_id", "canvas.courses", True),
        ("catalog.notes", "canvas_course_id", "canvas.courses", True),
        ("catalog.notes", "course_id", "canvas.courses", False),
        ("canvas.master_courses_results", "master_template_id", "canvas.master_courses_master_templates", True),
        ("canvas.quiz_notes", "note_id", "canvas.quiz_notes", False),
    ],
)
def test_a_name_is_taken_for_a_reference_if_it_says_so(name: str, column: str, other: str, refers: bool) -> None:
    target = table(other)
    expected = Reference((target.name,), "name") if refers else None
    assert reference(name, column, target) == expected


def test_a_column_that_cannot_hold_the_keys_of_a_table_does_not_refer_to_it() -> None:
    users = table("canvas.users")
    assert reference("canvas.notes", Column("user_id", "text", required=False), users) is None
    assert reference("canvas.notes", Column("user_id", "integer", required=False), users) is not None
    two_keys = Table(users.name, (ID, Column("shard", "bigint", required=True, key=True)))
    assert reference("canvas.notes", "user_id", two_keys) is None


def test_tables_of_canvas_are_grouped_by_subject_and_no_subject_is_left_over() -> None:
    tables = with_references([table(f"{namespace}.{name}") for namespace, name in default_tables()], {})
    found = areas(tables)
    assert sorted(each.name for area in found for each in area.tables) == sorted(each.name for each in tables)
    assert OTHER not in [area.subject for area in found]
    assert max(len(area.tables) for area in found) <= 20
    assert [area.title for area in found][-3:] == ["canvas_logs", "catalog", "new_quizzes"]


def test_a_new_table_goes_with_those_that_it_refers_to() -> None:
    tables = [table("canvas.users"), table("canvas.quizzes"), table("canvas.surveys", "quiz_id", "user_id")]
    tables.append(table("canvas.zebras"))
    found = {each.name.table: area.subject for area in areas(with_references(tables, {})) for each in area.tables}
    assert (found["surveys"], found["zebras"]) == ("Quizzes", OTHER)


def test_boxes_never_overlap_whatever_refers_to_what() -> None:
    chance = random.Random(7)
    for number in range(30):
        names = [f"table {each}" for each in range(number)]
        sizes = {name: Size(chance.uniform(100, 400), chance.uniform(30, 500)) for name in names}
        edges = [(chance.choice(names), chance.choice(names)) for _ in range(2 * number)]
        found = places(sizes, edges)
        assert set(found) == set(names)
        boxes = [(found[n].x, found[n].y, found[n].x + sizes[n].width, found[n].y + sizes[n].height) for n in names]
        for place, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[:place]:
                assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]


def test_what_a_table_refers_to_is_on_its_left() -> None:
    sizes = dict.fromkeys(("users", "courses", "enrollments", "alone"), Size(100, 50))
    found = places(sizes, [("enrollments", "users"), ("enrollments", "courses"), ("courses", "users")])
    assert found["users"].x < found["courses"].x < found["enrollments"].x
    assert found["alone"].y > max(found[name].y for name in ("users", "courses", "enrollments"))


def test_types_have_the_shorter_of_postgresqls_names() -> None:
    assert short("character varying(255)") == "varchar(255)"
    assert short("timestamp without time zone") == "timestamp"
    assert short("timestamp(3) with time zone[]") == "timestamptz(3)[]"
    assert short("double precision") == "double precision"


def test_tls_to_another_machine_is_verified_unless_the_address_says_otherwise() -> None:
    address = verified("postgresql://a:b%40c@db.example.org/canvas")  # pragma: allowlist secret
    assert "sslmode=verify-full&sslrootcert=" in address
    assert "b%40c" in address
    plain = "postgresql://a@db.example.org:5433/canvas?sslmode=require"
    assert verified(plain) == plain
    assert verified("postgresql://a@127.0.0.1/canvas") == "postgresql://a@127.0.0.1/canvas"


@pytest.mark.parametrize(
    "wrong",
    [
        "host=db password=secret",
        "mysql://a:secret@db/canvas",
        "postgresql://a:secret@db",
        "postgresql://a:secret@db:x/c",
    ],
)
def test_what_is_no_address_of_a_database_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(DictionaryError, match="CD2_DSN must look like postgresql://") as caught:
        verified(wrong)
    assert "secret" not in str(caught.value)
