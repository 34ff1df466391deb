// Airflow's REST API, with the cookie and the rights of the person who looks at the page.

export const DAG_ID = "canvas_data_2";
export const SYNC = "process_table.sync_table";
export const INIT = "process_table.init_table";
export const LIST = "list_tables";
export const NOTIFY = "notify";
const PAGE = 100; // Airflow's own limit
const TIMEOUT_MS = 30000;

// The page stands at BASE/canvas-data/, whatever path BASE has.
export const BASE = new URL("../", document.baseURI);
const API = new URL("api/v2/", BASE);

// Airflow refused or did not answer; `kind` says what to tell.
export class ApiError extends Error {
  constructor(kind, status, detail) {
    super(detail || kind);
    this.kind = kind; // "logged-out", "forbidden", "missing", "refused", "down"
    this.status = status;
    this.detail = detail;
  }
}

const KINDS = { 401: "logged-out", 403: "forbidden", 404: "missing" };

async function call(method, path, { query, body, headers } = {}) {
  const url = new URL(path, API);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one !== undefined) url.searchParams.append(name, one);
  }
  let response;
  try {
    response = await fetch(url, {
      method,
      credentials: "same-origin",
      redirect: "manual", // to a log-in page: that is no answer
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch {
    throw new ApiError("down", 0, "");
  }
  if (response.type === "opaqueredirect") throw new ApiError("logged-out", 401, "");
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    if (response.ok && response.status !== 204) throw new ApiError("down", response.status, "");
  }
  if (response.ok) return answer;
  const kind = KINDS[response.status] ?? (response.status >= 500 ? "down" : "refused");
  throw new ApiError(kind, response.status, describe(answer?.detail));
}

function describe(detail) {
  if (!detail) return "";
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((one) => one.msg ?? JSON.stringify(one)).join("; ");
  return detail.reason ?? JSON.stringify(detail);
}

const seg = encodeURIComponent;
const run = (runId) => `dags/${DAG_ID}/dagRuns/${seg(runId)}`;

export const dag = () => call("GET", `dags/${DAG_ID}/details`);

// The newest runs first.
export async function runs(limit) {
  const answer = await call("GET", `dags/${DAG_ID}/dagRuns`, { query: { limit, order_by: "-run_after" } });
  return answer.dag_runs;
}

// What a task handed on; null: nothing.
export async function xcom(runId, taskId, key = "return_value", mapIndex = -1) {
  try {
    const path = `${run(runId)}/taskInstances/${seg(taskId)}/xcomEntries/${seg(key)}`;
    const { value } = await call("GET", path, { query: { map_index: mapIndex } });
    return typeof value === "string" ? parsed(value) : value;
  } catch (error) {
    if (error.kind === "missing") return null;
    throw error;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// The task instances of a run, mapped ones each; with `since` only those that have changed.
export async function taskInstances(runId, { since, state } = {}) {
  const page = (offset) =>
    call("GET", `${run(runId)}/taskInstances`, { query: { limit: PAGE, offset, updated_at_gte: since, state } });
  const first = await page(0);
  const offsets = [];
  for (let offset = PAGE; offset < (first.total_entries ?? 0); offset += PAGE) offsets.push(offset);
  const more = await Promise.all(offsets.map(page));
  return [first, ...more].flatMap((answer) => answer.task_instances);
}

// The events of a try's log, oldest first; empty if it cannot be read.
export async function log(runId, taskId, mapIndex, tryNumber) {
  const path = `${run(runId)}/taskInstances/${seg(taskId)}/logs/${tryNumber}`;
  try {
    const answer = await call("GET", path, { query: { map_index: mapIndex } });
    return (answer?.content ?? []).filter((line) => typeof line === "object" && line?.event);
  } catch {
    return []; // somebody without the right to read logs still sees the rest
  }
}

export const trigger = (conf) => call("POST", `dags/${DAG_ID}/dagRuns`, { body: { logical_date: null, conf } });

export const clearFailed = (runId) =>
  call("POST", `dags/${DAG_ID}/clearTaskInstances`, { body: { dry_run: false, dag_run_id: runId, only_failed: true } });

// Addresses of Airflow's own pages, relative to BASE.
export const urls = {
  home: "",
  dag: `dags/${DAG_ID}`,
  run: (runId) => `dags/${DAG_ID}/runs/${seg(runId)}`,
  log: (runId, taskId, mapIndex) =>
    `dags/${DAG_ID}/runs/${seg(runId)}/tasks/${seg(taskId)}${mapIndex >= 0 ? `/mapped/${mapIndex}` : ""}`,
};
