"""The official client's DDL generator, as it uses it and as we do: our DDL must be the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from pysqlsync.base import GeneratorOptions
from pysqlsync.dialect.postgresql.mutation import PostgreSQLMutator
from pysqlsync.formation.mutation import MutatorOptions
from pysqlsync.formation.object_types import Column
from pysqlsync.formation.py_to_sql import StructMode
from pysqlsync.model.data_types import SqlArrayType, SqlDataType, SqlUserDefinedType

DIALECT = "postgresql"


def generator_options(**namespaces: ModuleType) -> GeneratorOptions:
    """The options with which the client generates DDL.

    :param namespaces: for each schema of the database, the module whose classes are its tables.
    """
    return GeneratorOptions(
        struct_mode=StructMode.JSON,
        foreign_constraints=False,
        namespaces={module: schema for schema, module in namespaces.items()},
        synchronization=MutatorOptions(
            allow_drop_enum=False, allow_drop_struct=False, allow_drop_table=False, allow_drop_namespace=False
        ),
    )


class Mutator(PostgreSQLMutator):
    """The client's mutator, without its conversion of an enumeration to a number, which ends in a KeyError.

    :param collations: those that users have given columns which stay texts, quoted, by column.
    """

    def __init__(self, collations: Mapping[str, str]) -> None:
        super().__init__()
        self._collations = collations

    def is_column_migrated(self, source: Column, target: Column) -> bool | None:  # noqa: ARG002
        """Never by a table of values."""
        return False

    def mutate_column_type(self, source: Column, target: Column) -> str | None:
        """The part of ALTER COLUMN that changes the type; None: it is right."""
        statement: str | None = super().mutate_column_type(source, target)
        if statement is None:
            return None
        wanted, using = str(target.data_type), f"{source.name}::{target.data_type}"
        if _needs_text(source.data_type, target.data_type):
            is_array = isinstance(target.data_type, SqlArrayType)
            if is_array and not isinstance(source.data_type, SqlArrayType):
                using = f"ARRAY[{source.name}::text]::{wanted}"
            else:
                using = f"{source.name}::{'text[]' if is_array else 'text'}::{wanted}"
        collation = self._collations.get(source.name.local_id)
        return f"SET DATA TYPE {wanted}{f' COLLATE {collation}' if collation else ''} USING {using}"


def _needs_text(source: SqlDataType, target: SqlDataType) -> bool:
    """Whether there may be no direct cast; via text, everything can be cast."""
    return type(source) is not type(target) or isinstance(source, SqlUserDefinedType | SqlArrayType)
