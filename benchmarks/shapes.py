"""The tables of the benchmarks, in the notation of the simulator's catalog, and their SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

NAMESPACE = "canvas"


@dataclass(frozen=True)
class Shape:
    """A kind of table.

    :param columns: without the key, which is `id:i64`.
    :param row_bytes: approximate size of a row as TSV.
    """

    name: str
    columns: str
    row_bytes: int

    def table(self, rows: int) -> str:
        """The name of a table of this shape with this many rows."""
        return f"bench_{self.name}_{rows}"


SHAPES = {
    shape.name: shape
    for shape in (
        # 250 bytes a row as TSV: the row of "Numbers to reach".
        Shape("narrow", "user_id:i64 title:s255? body:text settings:json? updated_at:ts", 250),
        # Like Canvas's assignments and submissions: many flags, many columns that are often empty.
        Shape(
            "wide",
            "context_id:i64 context_type:enum(Account|Course) title:s255? description:text? due_at:ts? unlock_at:ts? "
            "lock_at:ts? points_possible:f64? min_score:f64? max_score:f64? grading_type:enum(letter|percent|points)? "
            "submission_types:s255? settings:json? peer_reviews:bool peer_review_count:i32? peer_reviews_due_at:ts? "
            "peer_reviews_assigned:bool automatic_reviews:bool intra_group_reviews:bool anonymous_reviews:bool "
            "anonymous_grading:bool moderated:bool grader_count:i32 group_category:s255? group_category_id:i64? "
            "all_day:bool? all_day_date:date? position:i32? user_id:i64? course_id:i64 grader_id:i64? score:f64? "
            "grade:s255? attempt:i32? submitted_at:ts? graded_at:ts? posted_at:ts? excused:bool? late_status:s16? "
            "points_deducted:num(6,2)? lookup_uuid:uuid? muted:bool omitted:bool? visible:bool turnitin_enabled:bool? "
            "turnitin_id:i64? created_at:ts updated_at:ts +state(active|deleted|published|unpublished)",
            780,
        ),
    )
}


def create_statements(described: dict[str, Any]) -> list[sql.Composed]:
    """SQL that makes an empty table with its key, as the simulator describes it.

    :param described: the head of the simulator's truth.
    """
    namespace, table = described["namespace"], described["table"]
    statements = [sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(namespace))]
    for column in described["columns"]:
        if column["kind"] == "enum":
            statements.append(
                sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
                    sql.Identifier(namespace, f"{table}__{column['name']}"),
                    sql.SQL(", ").join(sql.Literal(value) for value in column["values"]),
                )
            )
    parts = [
        sql.SQL("{} " + column["type"] + ("" if column["nullable"] else " NOT NULL")).format(
            sql.Identifier(column["name"])
        )
        for column in described["columns"]
    ]
    keys = [sql.Identifier(column["name"]) for column in described["columns"] if column["key"]]
    key = sql.SQL("CONSTRAINT {} PRIMARY KEY ({})").format(sql.Identifier(f"pk_{table}"), sql.SQL(", ").join(keys))
    body = sql.SQL(", ").join([*parts, key])
    statements.append(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(namespace, table), body))
    return statements
