"""Which of the listed tables a run works on."""

import pytest

from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.settings import Settings
from cd2.tasks.selection import choose_tables, wanted_namespaces

LISTED = [TableName.parse(name) for name in ("canvas.quizzes", "canvas.quiz_groups", "canvas.users", "catalog.users")]


def chosen(settings: Settings, *requested: str) -> list[str]:
    return [str(table) for table in choose_tables(LISTED, settings, requested)]


def test_everything_listed_is_chosen_by_default() -> None:
    assert chosen(Settings()) == [str(table) for table in LISTED]


def test_names_wildcards_and_qualified_names_choose() -> None:
    assert chosen(Settings(include_tables=("quiz*",))) == ["canvas.quizzes", "canvas.quiz_groups"]
    assert chosen(Settings(), "users") == ["canvas.users", "catalog.users"]
    assert chosen(Settings(), "catalog.*") == ["catalog.users"]


def test_skipped_tables_are_left_out_also_when_requested_for() -> None:
    settings = Settings(skip_tables=("canvas.users", "quiz*"))
    assert chosen(settings) == ["catalog.users"]
    assert chosen(settings, "users") == ["catalog.users"]


@pytest.mark.parametrize("source", ["The trigger form", "[cd2] include_tables"])
def test_an_unknown_name_is_an_error_that_says_what_there_is(source: str) -> None:
    requested = ["userz", "users"]
    by_form = source == "The trigger form"
    with pytest.raises(TableFailure) as caught:
        choose_tables(
            LISTED, Settings(include_tables=() if by_form else tuple(requested)), requested if by_form else []
        )
    assert caught.value.message.startswith(f"{source} names userz, but DAP lists no such table")
    assert "catalog.users" in caught.value.message


def test_namespaces_of_the_form_win_over_the_settings() -> None:
    assert wanted_namespaces(Settings(), {"namespaces": ["catalog"]}) == ("catalog",)
    assert wanted_namespaces(Settings(), {"namespaces": []}) == ("canvas",)
    with pytest.raises(TableFailure, match="Unknown namespace nope"):
        wanted_namespaces(Settings(), {"namespaces": ["nope"]})
