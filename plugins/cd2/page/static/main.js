// Asks Airflow what the page shows, and shows it again whenever something has changed.

import { clearButton, tableButtons } from "./actions.js";
import { followTheme, link } from "./airflow.js";
import * as api from "./api.js";
import { el, say, show } from "./dom.js";
import { clock, relative } from "./format.js";
import { Live } from "./live.js";
import { isActive, problemsOf, rows, verdict } from "./model.js";
import { notice } from "./problems.js";
import { overviewSections, liveSection, verdictSection } from "./sections.js";
import { Tables } from "./tables.js";

const RUNS = 14;
const STATUSES_TRIED = 5; // dry runs and runs that were killed leave no status of all tables
const EVERY_MS = { active: 4000, idle: 30000, trouble: 10000 };
const CLOCK_MS = 15000;

const place = (id) => document.getElementById(id);
const state = { dag: null, runs: [], report: null, failures: [], problems: [], told: null, sentence: null };
const statuses = new Map(); // run and its end -> status; null: it left none
const live = new Live();
const tables = new Tables(place("tables"), (names) =>
  tableButtons({ dag: state.dag, active: state.runs.some(isActive), then: soon }, names));
let timer = null;
let asking = false;
let again = false;

// -- asking -------------------------------------------------------------------------------------------------------------

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  clearTimeout(timer);
  let wait = EVERY_MS.idle;
  try {
    await read();
    state.told = Date.now();
    place("notice").replaceChildren();
    draw();
    if (state.runs.some(isActive)) wait = EVERY_MS.active;
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    const since = state.told ? clock(state.told) : null;
    show(place("notice"), [error.kind, error.detail, since], () => notice(error, since));
    if (!state.told) for (const id of ["verdict", "live", "overview"]) place(id).replaceChildren();
    wait = EVERY_MS.trouble;
  } finally {
    asking = false;
    timer = setTimeout(refresh, again ? 500 : wait);
    again = false;
  }
}

async function read() {
  const [dag, runs] = await Promise.all([api.dag(), api.runs(RUNS)]);
  const active = runs.find((run) => run.state === "running") ?? runs.find(isActive);
  const [report, failed] = await Promise.all([newestReport(runs), failuresOf(runs.find((run) => !isActive(run))), live.read(active)]);
  Object.assign(state, { dag, runs, report }, failed);
}

// The newest run that left a status; each run is asked once. One that is cleared has its old one until notify begins again.
async function newestReport(runs) {
  for (const run of runs.slice(0, STATUSES_TRIED)) {
    const key = `${run.dag_run_id} ${run.end_date}`;
    if (!statuses.has(key)) statuses.set(key, await api.xcom(run.dag_run_id, api.NOTIFY, "status"));
    const status = statuses.get(key);
    if (status?.version === 1) return { run, status };
  }
  return null;
}

// The failed tasks of the last run that has ended, and what those said that belong to no table.
let known = { key: null, failures: [], problems: [] };
async function failuresOf(run) {
  const key = run?.state === "failed" ? `${run.dag_run_id} ${run.end_date}` : null;
  if (key === null) known = { key, failures: [], problems: [] };
  if (known.key !== key) {
    const failures = await api.taskInstances(run.dag_run_id, { state: "failed" });
    const problems = await Promise.all(problemsOf(failures).map(async (ti) => ({ ...ti, sentence: await api.xcom(run.dag_run_id, ti.task_id, "error") })));
    known = { key, failures, problems };
  }
  return { failures: known.failures, problems: known.problems };
}

function soon() {
  again = true;
  refresh();
}

// -- showing ------------------------------------------------------------------------------------------------------------

function draw() {
  const now = Date.now();
  const { dag, runs, report, failures, problems } = state;
  const list = rows(report, failures, now);
  const active = runs.find(isActive);
  const told = verdict({ dag, runs, report, problems, tables: list }, now);
  const last = runs.find((run) => !isActive(run));
  if (state.sentence !== told.text) {
    state.sentence = told.text;
    document.title = `${told.text} Canvas Data`;
    say(told.text);
  }
  show(place("verdict"), [told, problems, runs, Boolean(active), dag.is_paused], () => verdictSection({
    verdict: told, problems, runs,
    buttons: [
      last?.state === "failed" && failures.length && !active && clearButton({ run: last, failures, then: soon }),
      told.failed && !active && el("button", { type: "button", "data-focus": "failed", onclick: () => tables.filter("bad") }, "Show the failed tables"),
      !list.length && !active && tableButtons({ dag, active, then: soon }, [])[0],
    ].filter(Boolean),
  }, now));
  const shown = live.shown(now, dag.is_paused);
  show(place("live"), shown, () => (shown ? liveSection(shown, now) : []));
  tables.update(list, report?.run, now, [dag.is_paused, Boolean(active), dag.params]);
  refreshTimes(now);
  show(place("overview"), report?.status ?? null, () => overviewSections({ status: report?.status }, now));
}

function refreshTimes(now) {
  for (const time of document.querySelectorAll("time[data-short]")) {
    time.textContent = relative(time.dateTime, now, time.dataset.short === "true");
  }
}

// Airflow offers the page on every DAG; on others than ours it says where it belongs.
function isElsewhere() {
  const dag = new URLSearchParams(location.search).get("dag");
  if (!dag || dag === api.DAG_ID) return false;
  place("verdict").replaceChildren(el("div", { class: "card notice" }, el("p", {},
    `The DAG ${dag} does not replicate Canvas Data 2. `, link(api.urls.dag, {}, `The DAG ${api.DAG_ID}`), " does.")));
  return true;
}

followTheme();
if (!isElsewhere()) {
  refresh();
  setInterval(() => state.told && draw(), CLOCK_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else soon();
  });
}
