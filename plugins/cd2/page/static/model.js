// What Airflow answered -> what the page says. Pure: no element, no request, no clock of its own.

import { INIT, LIST, NOTIFY, SYNC } from "./api.js";
import { clock, plural, relative, span } from "./format.js";

export const STALE_S = 8 * 3600; // Canvas Data 2 is refreshed every 4 h, new_quizzes every 8 h
const LATE_S = 900;
const GOOD = new Set(["complete", "complete_with_schema_update", "initialized"]);

// The states of a table: what people read, how urgent it is, and its color.
export const STATES = {
  failed: { label: "Failed", rank: 0, tone: "bad" },
  never: { label: "Never loaded", rank: 1, tone: "warn" },
  stale: { label: "Not checked", rank: 2, tone: "warn" },
  schema: { label: "Schema updated", rank: 3, tone: "good" },
  initialized: { label: "Initialized", rank: 4, tone: "good" },
  good: { label: "Up to date", rank: 5, tone: "good" },
  unlisted: { label: "Not listed", rank: 6, tone: "none" },
};

const age = (moment, now) => (now - new Date(moment).getTime()) / 1000;

// Whether a run was asked for all tables.
export function isWhole(run) {
  const conf = run?.conf ?? {};
  return !conf.dry_run && !(conf.tables ?? []).length && !(conf.namespaces ?? []).length;
}

function stateOf(table, whole, now) {
  if (table.failing_since || (table.state && !GOOD.has(table.state))) return "failed";
  if (!table.state && whole) return "unlisted";
  if (!table.checked) return "never";
  if (age(table.checked, now) > STALE_S) return "stale";
  if (table.state === "complete_with_schema_update") return "schema";
  return table.state === "initialized" ? "initialized" : "good";
}

// The rows of the table of tables.
//   report: { run, status }, the newest run that left a status; failures: the failed task instances of its run.
export function rows(report, failures, now) {
  if (!report) return [];
  const whole = isWhole(report.run) && report.status.tables.some((table) => table.state);
  const logs = new Map(failures.filter((ti) => ti.map_index >= 0).map((ti) => [ti.rendered_map_index, ti]));
  return report.status.tables.map((table) => {
    const [namespace] = table.table.split(".", 1);
    const changed = table.rows_written === null ? null : (table.rows_written ?? 0) + (table.rows_deleted ?? 0);
    const failure = logs.get(table.table);
    const state = stateOf(table, whole, now);
    return { ...table, namespace, changed, kind: state, ...STATES[state], failure: state === "failed" ? failure : undefined };
  });
}

// One sentence for all tables, what follows it, and its tone.
export function verdict({ dag, runs, report, problems, tables }, now) {
  const active = runs.find(isActive);
  const next = nextRun(dag, active, now);
  if (!report) {
    if (problems.length) return { tone: "bad", text: `The last run failed in ${problems[0].task_id}.`, more: [next] };
    if (active) return { tone: "info", text: "The first refresh is running.", more: ["the tables appear here when it has ended"] };
    if (runs.length) return { tone: "warn", text: "No recent run has left a status of the tables.", more: ["the next one will", next] };
    return { tone: "warn", text: "There has been no run yet.", more: ["the first one initializes every table", next] };
  }
  const listed = tables.filter((table) => table.kind !== "unlisted");
  const count = (kind) => listed.filter((table) => table.kind === kind).length;
  const failed = count("failed");
  const never = count("never");
  const stale = count("stale");
  const checked = listed.map((table) => table.checked).filter(Boolean).sort();
  const newest = checked.length ? `checked ${relative(checked.at(-1), now)}` : null;
  const oldest = checked.length ? `last checked ${relative(checked[0], now)}` : null;
  const all = listed.length;
  if (problems.length) {
    const text = `The last run failed in ${problems[0].task_id}, before it reached the tables.`;
    return { tone: "bad", text, more: [oldest, next] };
  }
  if (failed) {
    const rest = all - failed - never - stale;
    const others = failed === all ? "" : rest === all - failed ? "; the others are up to date" : `; ${rest} are up to date`;
    return { tone: "bad", text: `${failed} of ${plural(all, "table")} failed${others}.`, more: [newest, next], failed };
  }
  if (!all) return { tone: "warn", text: "There are no tables yet.", more: ["the last run listed none", next] };
  if (stale === all) return { tone: "warn", text: `No table has been checked for ${span(age(checked.at(-1), now))}.`, more: [next] };
  if (stale + never) {
    const text = `${all - stale - never} of ${plural(all, "table")} are up to date.`;
    const parts = [stale && `${stale} not checked for ${STALE_S / 3600} hours`, never && `${never} never loaded`];
    return { tone: "warn", text, more: [...parts.filter(Boolean), newest, next] };
  }
  const text = all === 1 ? "The one table is up to date." : `All ${all} tables are up to date.`;
  return { tone: "good", text, more: [newest, next] };
}

function nextRun(dag, active, now) {
  if (active) return null; // the page shows it live
  if (dag?.is_paused) return "the DAG is paused: no run starts automatically";
  const next = dag?.next_dagrun_run_after;
  if (!next) return "no run is scheduled";
  if (age(next, now) > LATE_S) return `the run that was due at ${clock(next, now)} has not started`;
  return new Date(next) <= now ? "the next run is due" : `next run at ${clock(next, now)}`;
}

export const isActive = (run) => run.state === "running" || run.state === "queued";

export function duration(run) {
  if (!run.start_date || !run.end_date) return null;
  return (new Date(run.end_date) - new Date(run.start_date)) / 1000;
}

// The failed tasks of a run that belong to no table; notify fails on purpose.
export const problemsOf = (failures) => failures.filter((ti) => ti.map_index < 0 && ti.task_id !== NOTIFY);

// -- a run that is going on -------------------------------------------------------------------------------------------

export const PHASES = [
  { kind: "loading", label: "loading" },
  { kind: "dap", label: "at DAP" },
  { kind: "turn", label: "waiting for a turn at DAP" },
  { kind: "waiting", label: "waiting for DAP" },
  { kind: "worker", label: "waiting for a worker" },
  { kind: "retry", label: "waiting for a retry" },
  { kind: "failed", label: "failed" },
  { kind: "done", label: "done" },
];
const ENDED = new Set(["success", "skipped", "failed", "upstream_failed", "removed"]);

// What each table of a run is doing: [{ name, index, kind, ti }], in the order of the list.
//   instances: task id + map index -> task instance; hints: the same -> what its log says (see `hint`).
export function phases(names, instances, hints, now) {
  return names.map((name, index) => {
    const both = [instances.get(`${INIT} ${index}`), instances.get(`${SYNC} ${index}`)];
    const [init, sync] = both;
    const of = (kind, ti) => ({ name, index, kind, ti });
    const inState = (...states) => both.find((ti) => ti && states.includes(ti.state));
    const running = inState("running");
    if (running) return of("loading", running);
    const deferred = inState("deferred");
    if (deferred) {
      const told = hints.get(`${deferred.task_id} ${index} ${deferred.try_number}`);
      return of(told ? told.kind(now) : "waiting", deferred);
    }
    const retry = inState("up_for_retry");
    if (retry) return of("retry", retry);
    if (both.some((ti) => ti?.state === "failed")) return of("failed", both.find((ti) => ti?.state === "failed"));
    if (sync?.state === "upstream_failed") return of("failed", sync);
    if (sync && init && both.every((ti) => ENDED.has(ti.state))) return of("done", init.state === "success" ? init : sync);
    return of("worker", sync);
  });
}

const IN_LINE = /wait in line for a turn at DAP/;
const OUR_TURN = /^Waiting (\d+) s for our turn/;
const AT_DAP = /DAP is still working on job|resuming with job/;
const LOADED = /: ([\d,]+) rows loaded, .*?([\d,]+) rows\/s/;
const STAGED = /: staged ([\d,]+) rows; applying/;

// What the log of a table's task says about where it is: { kind: (now) => phase, rows, rate }; null: nothing.
export function hint(events) {
  for (const { event, timestamp } of [...events].reverse()) {
    let found;
    if ((found = LOADED.exec(event))) return { kind: () => "loading", rows: count(found[1]), rate: count(found[2]) };
    if ((found = STAGED.exec(event))) return { kind: () => "loading", rows: count(found[1]), applying: true };
    if (AT_DAP.test(event)) return { kind: () => "dap" };
    if ((found = OUR_TURN.exec(event))) {
      const until = new Date(timestamp).getTime() + Number(found[1]) * 1000;
      return { kind: (now) => (now < until ? "turn" : "dap"), until };
    }
    if (IN_LINE.test(event)) return { kind: () => "turn" };
  }
  return null;
}

const count = (text) => Number(text.replaceAll(",", ""));

// What a run does before its tables begin and after they have ended.
export function step(instances, names, active, paused) {
  if (active.state === "queued") return paused ? "It starts when somebody unpauses the DAG." : "It starts in a moment, or when the run before it has ended.";
  const state = (task) => instances.get(`${task} -1`)?.state;
  if (!names.length) return state(LIST) === "running" ? "Listing the tables of DAP …" : "Preparing the database …";
  return state(NOTIFY) === "running" ? "Reporting the run …" : "";
}

// -- the list -----------------------------------------------------------------------------------------------------------

export const SORTS = {
  table: (row) => row.table,
  state: (row) => row.rank,
  checked: (row) => row.checked ?? "",
  data_as_of: (row) => row.data_as_of ?? "",
  rows: (row) => row.rows ?? -1,
  changed: (row) => row.changed ?? -1,
  recent: (row) => row.recent.reduce((sum, value) => sum + value, 0),
  schema_version: (row) => row.schema_version ?? -1,
  verified_at: (row) => row.verified_at ?? "",
};

// The rows that a person wants to see, in the order that the person wants.
export function chosen(rows, { text, kind, namespace, sort, descending }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = rows.filter(
    (row) =>
      words.every((word) => row.table.includes(word) || (row.error ?? "").toLowerCase().includes(word)) &&
      (!namespace || row.namespace === namespace) &&
      (!kind || (kind === "changed" ? row.changed > 0 : row.tone === kind || row.kind === kind)),
  );
  const key = SORTS[sort];
  const order = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
  return kept.sort((a, b) => (descending ? -order(a, b) : order(a, b)) || (a.table < b.table ? -1 : 1));
}
