"""Fixtures of the tests of dependents: a database of analysts, without and with views."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.postgres import EmbeddedPostgres
from tests.replication.dependents.world import CORPUS, World, make_world, remove_roles


@pytest.fixture
def world(postgres: EmbeddedPostgres, empty_database: str) -> Iterator[World]:
    """A world with tables, without views."""
    made = make_world(empty_database, postgres.create_role)
    yield made
    remove_roles(made)


@pytest.fixture
def corpus(world: World) -> World:
    """A world with every kind of view that we know of, and all that can hang on one."""
    world.admin("GRANT USAGE ON SCHEMA analytics TO {bob}; GRANT {bob} TO {etl}")
    for role, statements in CORPUS.items():
        world.admin(statements, role=role.split()[0])
    return world
