"""What the benchmarks say about their runs: ratios, verdicts, the report, and the options that choose the runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.competitors import CLIENT, HAND, OURS, PSQL
from benchmarks.figures import ratio, verdicts, work
from benchmarks.measure import Usage
from benchmarks.options import CASES, DOCUMENT, Options
from benchmarks.report import report
from benchmarks.results import Results, Run
from local.errors import LocalStackError

MEGABYTE = 1_000_000
INIT = ("init", "narrow", 1_000_000)


def run(case: str, competitor: str, repeat: int, wall: float, rows: int = 1_000_000, **usage: float) -> Run:
    return Run(case, "narrow", rows, competitor, repeat, Usage(wall=wall, **usage))  # type: ignore[arg-type]


def full(**changes: float) -> list[Run]:
    """Runs that reach every number, unless told otherwise."""
    values = {"ours": 10.0, "client": 130.0, "psql": 10.0}
    values |= {"ours_sync": 5.0, "client_sync": 41.0, "hand_sync": 4.6} | changes
    memory, large_memory = (int(changes.get(name, 60) * MEGABYTE) for name in ("memory", "large_memory"))
    temporary = int(changes.get("temporary", 0))
    runs = []
    for repeat in range(3):
        runs += [
            run("init", OURS, repeat, values["ours"], rss=memory, temporary=temporary),
            run("init", CLIENT, repeat, values["client"], rss=200 * MEGABYTE, temporary=300 * MEGABYTE),
            run("init", PSQL, repeat, values["psql"]),
            run("init", OURS, repeat, 4 * values["ours"], rows=4_000_000, rss=large_memory),
            run("sync", OURS, repeat, values["ours_sync"], rss=memory),
            run("sync", CLIENT, repeat, values["client_sync"]),
            run("sync", HAND, repeat, values["hand_sync"]),
        ]
    return runs


def results(runs: list[Run]) -> Results:
    names = ("date", "commit", "cpu", "cores", "memory_gb", "system", "load_before", "python", "postgresql", "client")
    return Results(dict.fromkeys(names, "?"), {"repeats": 3}, runs)


# -- ratios ----------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_ratios_side_by_side_not_the_ratio_of_the_medians() -> None:
    # The machine was three times slower during the second repeat, and ten times during the third.
    runs = [run("init", OURS, n, seconds) for n, seconds in enumerate((1.0, 3.0, 10.0))]
    runs += [run("init", CLIENT, n, seconds) for n, seconds in enumerate((12.0, 39.0, 140.0))]
    found = ratio(runs, INIT, CLIENT, OURS)
    assert found is not None
    assert (found.middle, found.least, found.largest) == pytest.approx((13.0, 12.0, 14.0))


def test_a_repeat_in_which_only_one_ran_does_not_count() -> None:
    runs = [
        run("init", OURS, 0, 1.0),
        run("init", OURS, 1, 1.0),
        run("init", CLIENT, 1, 5.0),
        run("init", CLIENT, 2, 50.0),
    ]
    found = ratio(runs, INIT, CLIENT, OURS)
    assert found is not None
    assert found.middle == pytest.approx(5.0)


def test_runs_of_another_table_size_or_case_are_not_mixed_in() -> None:
    runs = [run("init", OURS, 0, 1.0), run("init", CLIENT, 0, 9.0, rows=100_000), run("sync", CLIENT, 0, 7.0)]
    assert ratio(runs, INIT, CLIENT, OURS) is None


def test_work_falls_back_to_the_whole_time_for_a_program_that_does_not_say() -> None:
    assert work(Run("init", "narrow", 1, PSQL, 0, Usage(wall=2.0))) == 2.0
    assert work(Run("init", "narrow", 1, OURS, 0, Usage(wall=2.0), work_s=0.5)) == 0.5


# -- verdicts --------------------------------------------------------------------------------------


def test_every_number_can_be_met() -> None:
    assert all(verdict.met is True for verdict in verdicts(full()))


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"client": 119.0}, "init, against `dap initdb`"),
        ({"psql": 9.0}, "psql"),
        ({"hand_sync": 4.5}, "the same change by hand in psql"),
        ({"client_sync": 39.0}, "sync of 200,000 upserts and 20,000 deletes"),
        ({"memory": 151, "large_memory": 151}, "peak memory"),
        ({"large_memory": 70}, "the same for 1 and 4 million rows"),
        ({"temporary": 4096}, "temporary disk"),
    ],
)
def test_a_number_that_is_missed_is_said_to_be_missed_and_no_other(change: dict[str, float], missed: str) -> None:
    found = verdicts(full(**change))
    not_met = [verdict.what for verdict in found if not verdict.met]
    assert not_met
    assert all(missed in what or (missed == "psql" and "own steps" in what) for what in not_met)
    assert "**not met**" in report(results(full(**change)))


def test_a_number_exactly_at_its_limit_is_met() -> None:
    assert all(verdict.met for verdict in verdicts(full(client=120.0, client_sync=40.0, ours=10.0)))


def test_without_runs_of_the_right_size_nothing_is_claimed() -> None:
    runs = [run("init", name, 0, 1.0, rows=100_000) for name in (OURS, CLIENT, PSQL)]
    assert {verdict.met for verdict in verdicts(runs)} == {None}
    assert "**not met**" not in report(results(runs))


# -- the report ------------------------------------------------------------------------------------


def test_the_report_shows_each_competitor_of_each_case_with_its_ratio() -> None:
    text = report(results(full()))
    assert "## Init" in text
    assert "## Sync of 20% upserts" in text
    assert "## Sync of an unchanged table" not in text
    assert "| narrow, 1,000,000 rows | 13.0 (13.0 to 13.0) |" in text
    assert "official client | 130.00 |" in text
    assert "psql \\copy | 10.00 |" in text
    assert "by hand in psql | 4.60 |" in text
    assert "ours / by hand, work" in text


def test_every_line_of_a_table_has_as_many_cells_as_its_head() -> None:
    blocks = [block.splitlines() for block in report(results(full())).split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 6
    for block in blocks:
        assert {line.count("|") for line in block} == {block[0].count("|")}


def test_results_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    before = results(full())
    before.data["init narrow 1000000"] = {"columns": 6, "lines": 1_000_000, "compressed": 1, "decompressed": 2}
    before.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == before


@pytest.mark.parametrize("content", [None, "", "[]", '{"runs": [{"case": "init"}]}'])
def test_a_file_that_holds_no_results_is_refused_with_a_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LocalStackError, match="results"):
        Results.load(path)


# -- options ---------------------------------------------------------------------------------------


def test_options_are_read_from_the_environment() -> None:
    environment = {"ROWS_LIST": "2_000, 1000", "SHAPES": "wide", "CASES": "sync,init", "REPEATS": "5"}
    options = Options.from_environment(environment | {"CLIENT_MAX_ROWS": "0", "CD2_LOCAL_DIR": "/somewhere"})
    assert options.rows_list == (1000, 2000)
    assert options.shapes == ("wide",)
    assert options.cases == ("init", "sync")
    assert options.repeats == 5
    assert options.client_max_rows == 0
    assert options.directory == Path("/somewhere/bench")


@pytest.mark.parametrize(
    ("name", "value"),
    [("ROWS_LIST", "many"), ("ROWS_LIST", "0"), ("REPEATS", "0"), ("CASES", "init,copy"), ("SHAPES", "broad")],
)
def test_a_wrong_option_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(LocalStackError, match=name):
        Options.from_environment({name: value})


def test_only_results_that_answer_everything_replace_the_document(tmp_path: Path) -> None:
    options = Options.from_environment({"CD2_LOCAL_DIR": str(tmp_path)})
    assert options.cases == CASES
    assert options.destination(complete=True) == DOCUMENT
    assert options.destination(complete=False) == tmp_path / "bench" / "benchmarks.md"
    chosen = Options.from_environment({"REPORT": str(tmp_path / "here.md")})
    assert chosen.destination(complete=True) == tmp_path / "here.md"
