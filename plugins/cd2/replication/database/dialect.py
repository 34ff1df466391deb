"""The options of the official client's DDL generator. Our DDL must use the same."""

from __future__ import annotations

from types import ModuleType

from pysqlsync.base import GeneratorOptions
from pysqlsync.formation.mutation import MutatorOptions
from pysqlsync.formation.py_to_sql import StructMode

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
