"""A view as the statements that recreate it, and the GRANTs that recreate its access control list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["detail", "refresh", "rule", "grant"]


@dataclass(frozen=True)
class Step:
    """One statement after the creation of a view.

    :param role: who runs it; None: the view's owner. A grant is run by its grantor.
    """

    sql: str
    kind: Kind = "detail"
    role: str | None = None


@dataclass(frozen=True, order=True)
class Privilege:
    """One entry of an access control list; `grantee` and `column` are quoted; PUBLIC counts as a grantee."""

    column: str
    grantee: str
    grantee_role: str
    grantor: str
    privilege: str
    grantable: bool

    @property
    def effect(self) -> tuple[str, str, str, bool]:
        """Who gets what, whoever granted it."""
        return self.column, self.grantee, self.privilege, self.grantable


@dataclass(frozen=True)
class View:
    """A view or materialized view, and everything that belongs to it, as statements.

    :param sql_name: qualified and quoted.
    :param kind: VIEW or MATERIALIZED VIEW.
    :param tables: qualified and quoted names of the tables that its rows come from.
    :param create: its CREATE statement; a materialized view is created empty.
    :param detach: statements that keep objects that would be dropped with it although they are not part of it.
    :param steps: statements to run after it, in order.
    :param privileges: its complete access control list.
    """

    schema: str
    name: str
    sql_name: str
    kind: str
    owner: str
    tables: tuple[str, ...]
    create: str
    detach: tuple[str, ...]
    steps: tuple[Step, ...]
    privileges: tuple[Privilege, ...]

    @property
    def qualified_name(self) -> str:
        """`schema.view`, for people."""
        return f"{self.schema}.{self.name}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> View:
        return cls(
            **{key: data[key] for key in ("schema", "name", "sql_name", "kind", "owner", "create")},
            tables=tuple(data["tables"]),
            detach=tuple(data["detach"]),
            steps=tuple(Step(**step) for step in data["steps"]),
            privileges=tuple(Privilege(**privilege) for privilege in data["privileges"]),
        )

    def with_steps(self, steps: Iterable[Step]) -> View:
        """The same view with further steps at the end."""
        return replace(self, steps=(*self.steps, *steps))


def grants(view: View) -> list[Step]:
    """The GRANTs that recreate a view's access control list from an empty one.

    Grantors get a privilege before they pass it on.
    """
    remaining = sorted(view.privileges)
    able: set[tuple[str, str, str]] = set()
    statements: list[Step] = []
    bulk: dict[tuple[str, str, bool], list[str]] = {}
    for item in (item for item in remaining if item.grantor == view.owner):
        bulk.setdefault((item.column, item.grantee, item.grantable), []).append(item.privilege)
        able |= {(item.grantee_role, item.privilege, item.column)} if item.grantable else set()
    for (column, grantee, grantable), names in bulk.items():
        statements.append(Step(_grant(view, names, column, grantee, grantable), "grant", view.owner))
    remaining = [item for item in remaining if item.grantor != view.owner]
    while remaining:
        ready = [
            item
            for item in remaining
            if {(item.grantor, item.privilege, item.column), (item.grantor, item.privilege, "")} & able
        ]
        for item in ready or remaining:
            sql = _grant(view, [item.privilege], item.column, item.grantee, item.grantable)
            statements.append(Step(sql, "grant", item.grantor))
            able |= {(item.grantee_role, item.privilege, item.column)} if item.grantable else set()
        remaining = [item for item in remaining if ready and item not in ready]
    return statements


def missing_grants(view: View, privileges: Iterable[Privilege]) -> list[Step]:
    """GRANTs by the owner for what a view's access control list still lacks, whoever granted it."""
    there = {item.effect for item in privileges}
    there |= {(*item.effect[:3], False) for item in privileges if item.grantable}
    lacking = {item.effect: item for item in view.privileges if item.effect not in there}
    return [
        Step(_grant(view, [item.privilege], item.column, item.grantee, item.grantable), "grant", view.owner)
        for item in lacking.values()
    ]


def _grant(view: View, privileges: list[str], column: str, grantee: str, grantable: bool) -> str:
    what = ", ".join(f"{privilege} ({column})" if column else privilege for privilege in privileges)
    return f"GRANT {what} ON TABLE {view.sql_name} TO {grantee}{' WITH GRANT OPTION' if grantable else ''}"
