"""The dictionary as one HTML file: no other file, no network, no value of any row."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cd2 import __version__
from cd2.dictionary.areas import Area, areas
from cd2.dictionary.catalog import UNSPECIFIED
from cd2.dictionary.diagram import diagram
from cd2.dictionary.markup import anchor, escape, moment, prose
from cd2.dictionary.model import Column, Dictionary, Reference, Source, Table
from cd2.replication.names import TableName

STATIC = Path(__file__).parent / "static"
TITLE = "Data dictionary of Canvas Data 2"
SHOWN_VALUES = 8
"""Of an enumeration; with more, all of them are behind a click."""
_HOW: Mapping[Source, str] = {
    "foreign key": "foreign key",
    "documented": "",
    "comment": "by comment",
    "name": "by name",
}

Referrers = Mapping[TableName, Sequence[tuple[Table, Column]]]


def render(dictionary: Dictionary) -> Iterator[str]:
    """The file, in pieces; none is larger than a table or a diagram."""
    shown = areas(dictionary.tables)
    known = {table.name for table in dictionary.tables}
    referrers = _referrers(dictionary)
    style, script = (STATIC / name for name in ("style.css", "script.js"))
    css, js = style.read_text(encoding="utf-8"), script.read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(js)}'; base-uri 'none'"
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="canvas_data_2 {__version__}"><style>{css}</style></head><body>'
    )
    yield _head(dictionary)
    yield _navigation(shown)
    yield '<main id="tables">'
    for number, area in enumerate(shown):
        yield (
            f'<section class="area" aria-labelledby="area-{number}"><h2 id="area-{number}">{escape(area.title)}</h2>'
            f"{_figure(area)}"
        )
        for table in area.tables:
            yield _table(table, known, referrers.get(table.name, ()))
        yield "</section>"
    yield '<p id="nothing" hidden>No table or column matches all of these words.</p></main>'
    yield f"<script>{js}</script></body></html>"


def _digest(text: str) -> str:
    """How a content security policy names a style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _referrers(dictionary: Dictionary) -> Referrers:
    found: dict[TableName, list[tuple[Table, Column]]] = defaultdict(list)
    for table in dictionary.tables:
        for column in table.columns:
            for target in column.reference.targets if column.reference else ():
                found[target].append((table, column))
    return found


def _head(dictionary: Dictionary) -> str:
    columns = [column for table in dictionary.tables for column in table.columns]
    references = [column.reference for column in columns if column.reference]
    by_name = sum(reference.source == "name" for reference in references)
    return (
        f'<header><h1>{TITLE}</h1><p class="muted">{len(dictionary.tables):,} tables, {len(columns):,} columns, '
        f"{len(references):,} references, as of {moment(dictionary.at)} UTC. All times are UTC.</p>"
        '<div class="search" role="search" hidden>'
        '<label for="query">Search tables, columns, comments and values</label>'
        '<input id="query" type="search" autocomplete="off" spellcheck="false" aria-describedby="found" '
        'placeholder="user email, workflow_state, …"><p id="found" class="muted" role="status"></p></div>'
        "<details><summary>What this dictionary says, and what it does not</summary>"
        "<p>Tables, columns, types and comments are those of the replica; the comments are Instructure's. "
        "Canvas Data 2 has no foreign keys. A reference without a mark is one that Instructure's documentation of the "
        "datasets names; <span class=\"how\">by comment</span> is one that the column's comment names, "
        "<span class=\"how\">foreign key</span> a constraint that somebody created, and "
        "<span class=\"how\">by name</span> a guess from the name of the column "
        f"({by_name:,} of {len(references):,}). Referenced rows may be missing, because "
        "each table is as of its own moment. <code>one of</code> means several possible tables: the column beside it "
        "with <code>type</code> in its name says which.</p>"
        f"<p>Each enumeration also has the value <code>{UNSPECIFIED}</code>, for values that the schema does not know. "
        "Row counts are those of the last load; <em>about</em> marks PostgreSQL's estimate.</p></details></header>"
    )  # fmt: skip


def _navigation(shown: Sequence[Area]) -> str:
    parts = ['<nav aria-label="Tables">']
    for area in shown:
        links = "".join(
            f'<li><a href="#{anchor(table.name)}">{escape(table.name.table)}</a></li>' for table in area.tables
        )
        parts.append(f'<div class="group"><p>{escape(area.title)}</p><ul>{links}</ul></div>')
    return "".join([*parts, "</nav>"])


def _figure(area: Area) -> str:
    label = f"Diagram of {escape(area.title)}, scrollable"
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"{diagram(area)}</div><figcaption>Keys and references. A line leads from a column to the table that it refers "
        "to; a dashed one is a guess by name. A reference to another area names the table.</figcaption></figure>"
    )


def _table(table: Table, known: set[TableName], referrers: Sequence[tuple[Table, Column]]) -> str:
    name = escape(str(table.name))
    comment = f'<p class="comment">{prose(table.comment)}</p>' if table.comment else ""
    rows = "".join(_row(table, column, known) for column in table.columns)
    used = ", ".join(
        f'<a href="#{anchor(of.name, column.name)}">{escape(f"{of.name}.{column.name}")}</a>{_mark(column.reference)}'
        for of, column in referrers
    )
    return (
        f'<section class="table" id="{anchor(table.name)}" aria-label="{name}">'
        f'<h3><a href="#{anchor(table.name)}">{name}</a></h3>{comment}{_facts(table)}'
        f'<div class="scroll"><table><caption class="visually-hidden">Columns of {name}</caption><thead><tr>'
        '<th scope="col">Column</th><th scope="col">Type</th><th scope="col">Refers to</th><th scope="col">Comment</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
        + (f'<p class="used"><strong>Referred to by</strong> {used}</p>' if used else "")
        + "</section>"
    )


def _facts(table: Table) -> str:
    facts: list[tuple[str, str]] = []
    if table.rows is not None:
        facts.append(("Rows", ("about " if table.estimated else "") + f"{table.rows:,}"))
    for title, at in (
        ("Data as of", table.data_as_of),
        ("Checked", table.checked_at),
        ("Last change", table.last_change_at),
        ("Verified", table.verified_at),
        ("Failing since", table.failing_since),
    ):
        if at is not None:
            facts.append((title, moment(at)))
    if table.schema_version is not None:
        facts.append(("Schema version", str(table.schema_version)))
    shown = "".join(f"<div><dt>{title}</dt><dd>{value}</dd></div>" for title, value in facts)
    return f"<dl>{shown}</dl>" if shown else ""


def _row(table: Table, column: Column, known: set[TableName]) -> str:
    marks = "".join(
        f' <span class="mark">{mark}</span>'
        for mark, holds in (("key", column.key), ("optional", not column.required), ("added by you", column.added))
        if holds
    )
    return (
        f'<tr id="{anchor(table.name, column.name)}"><th scope="row"><code>{escape(column.name)}</code>{marks}</th>'
        f"<td><code>{escape(column.type)}</code></td><td>{_reference(column.reference, known)}</td>"
        f"<td>{prose(column.comment)}{_values(column.values)}</td></tr>"
    )


def _reference(reference: Reference | None, known: set[TableName]) -> str:
    if reference is None:
        return ""
    targets = (
        f'<a href="#{anchor(target)}">{escape(str(target))}</a>'
        if target in known
        else f'{escape(str(target))} <span class="muted">(not here)</span>'
        for target in reference.targets
    )
    several = '<span class="muted">one of</span> ' if len(reference.targets) > 1 else ""
    return several + ", ".join(targets) + _mark(reference)


def _mark(reference: Reference | None) -> str:
    how = _HOW[reference.source] if reference else ""
    return f' <span class="how">{how}</span>' if how else ""


def _values(values: Sequence[str]) -> str:
    if not values:
        return ""
    listed = f'<span class="values">{" ".join(f"<code>{escape(value)}</code>" for value in values)}</span>'
    if len(values) <= SHOWN_VALUES:
        return listed
    return f"<details><summary>{len(values):,} values</summary>{listed}</details>"
