"""Which of the listed tables a run works on, and in which order."""

import random

import pytest

from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.settings import Settings
from cd2.tasks.selection import LARGE, choose_tables, in_turn, wanted_namespaces
from local.simulator.catalogue import default_tables

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


SOURCES = pytest.mark.parametrize("source", ["The trigger form", "[cd2] include_tables"])


def refusal(source: str, *requested: str) -> str:
    by_form = source == "The trigger form"
    with pytest.raises(TableFailure) as caught:
        choose_tables(LISTED, Settings(include_tables=() if by_form else requested), requested if by_form else [])
    return caught.value.message


@SOURCES
@pytest.mark.parametrize(
    ("unknown", "meant"),
    [("userz", "canvas.users or catalog.users"), ("canvas.usres", "canvas.users"), ("catalog.user", "catalog.users")],
)
def test_an_unknown_name_is_an_error_that_suggests_similar_ones(source: str, unknown: str, meant: str) -> None:
    told = refusal(source, unknown, "users")
    assert told.startswith(f"{source} names {unknown}, but DAP lists no such table in canvas, catalog. Did you mean ")
    suggested = told.partition("Did you mean ")[2].removesuffix("?").split(" or ")
    assert set(meant.split(" or ")) <= set(suggested) <= {str(name) for name in LISTED}
    assert len(set(suggested)) == len(suggested)
    assert "\n" not in told


@SOURCES
def test_a_name_like_no_other_is_an_error_that_says_how_to_list_all(source: str) -> None:
    assert refusal(source, "zzz*").endswith("A dry run (dry_run in the trigger form) lists all tables.")


@SOURCES
@pytest.mark.parametrize("odd", ["users; drop", "canvas.users.id", "Users", "", "canvas."])
def test_what_is_no_name_is_an_error_that_says_what_one_is(source: str, odd: str) -> None:
    assert refusal(source, odd) == (
        f'{source} has "{odd}", which is not a table name: write table or namespace.table, such as users or '
        "canvas.users; * stands for any characters."
    )


def test_namespaces_of_the_form_win_over_the_settings() -> None:
    assert wanted_namespaces(Settings(), {"namespaces": ["catalog"]}) == ("catalog",)
    assert wanted_namespaces(Settings(), {"namespaces": []}) == ("canvas",)
    with pytest.raises(TableFailure, match="Unknown namespace nope"):
        wanted_namespaces(Settings(), {"namespaces": ["nope"]})


# -- the order -------------------------------------------------------------------------------------


def tables(*names: str) -> list[TableName]:
    return [TableName("canvas", name) for name in names]


SIZES = {TableName("canvas", f"t{number:02}"): 4**number for number in range(12)}
"""Twelve tables, each four times as large as the one before."""


def test_small_tables_ask_first_and_large_ones_between_them() -> None:
    assert in_turn(list(SIZES), SIZES) == tables(
        "t00", "t01", "t02", "t11", "t03", "t04", "t05", "t10", "t06", "t07", "t08", "t09"
    )


def test_of_many_tables_the_largest_begin_early_and_the_last_ones_are_of_medium_size() -> None:
    sizes = {TableName("canvas", f"t{number:03}"): 1_000_000 * 4 ** (number // 10) for number in range(100)}
    order = in_turn(list(sizes), sizes)
    largest = [order.index(name) for name in sizes if sizes[name] == max(sizes.values())]
    assert sorted(largest) == [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]
    assert max(sizes[name] for name in order[-10:]) < max(sizes.values()) / 4
    assert min(sizes[name] for name in order[-10:]) > min(sizes.values())


def test_in_a_first_load_the_tables_that_are_large_everywhere_begin_early_and_the_others_go_by_name() -> None:
    listed = sorted(TableName(*key) for key in default_tables())
    order = in_turn(listed, {})
    assert [name for name in order if name not in LARGE] == [name for name in listed if name not in LARGE]
    assert [name for name in order if name in LARGE] == list(LARGE)
    assert order.index(LARGE[0]) == 3
    assert order.index(LARGE[-1]) < len(order) - 20


def test_every_table_that_is_large_everywhere_is_a_table_of_canvas() -> None:
    assert [name for name in LARGE if (name.namespace, name.table) not in default_tables()] == []


def test_a_table_that_is_not_in_the_replica_yet_counts_as_large_only_if_it_is_known_to_be() -> None:
    sizes = dict.fromkeys(tables("a", "b", "c", "d", "e", "f"), 1000)
    order = in_turn([*sizes, *tables("submissions", "zz_new")], sizes)
    assert order == tables("zz_new", "a", "b", "submissions", "c", "d", "e", "f")


def test_what_the_replica_knows_counts_more_than_what_is_usual() -> None:
    sizes = {TableName("canvas", "submissions"): 0} | dict.fromkeys(tables("a", "b", "c", "users"), 10**9)
    assert in_turn(list(sizes), sizes)[0] == TableName("canvas", "submissions")


def test_the_order_depends_neither_on_the_order_of_the_list_nor_on_a_little_growth() -> None:
    order = in_turn(list(SIZES), SIZES)
    for seed in range(20):
        mixed = random.Random(seed).sample(list(SIZES), len(SIZES))
        assert in_turn(mixed, {name: size + size // 2 for name, size in SIZES.items()}) == order


def test_every_table_has_one_turn_however_few_there_are() -> None:
    for number in range(13):
        listed = list(SIZES)[:number]
        for sizes in ({}, SIZES, dict.fromkeys(SIZES, 7)):
            assert sorted(in_turn(listed, sizes)) == listed


def test_a_later_listing_of_the_same_run_keeps_the_order_and_adds_new_tables_at_its_end() -> None:
    first = in_turn(list(SIZES), SIZES)
    grown = {name: 4 ** (20 - number) for number, name in enumerate(SIZES)}
    assert in_turn(list(SIZES), grown, first) == first
    more = tables("a_new", "submissions")
    assert in_turn([*more, *SIZES], grown, first) == first + more
    assert in_turn(list(SIZES)[1:], grown, first) == [name for name in first if name != TableName("canvas", "t00")]
