// The run that is going on, asked for cheaply: all task instances once, then those that have changed.

import * as api from "./api.js";
import { hint, phases, step } from "./model.js";

const OVERLAP_MS = 5000;
const LOGS_READ = 8; // of tables that load, and of those that are next at DAP: the others wait behind them
const LOGS_EVERY_MS = 8000;

export class Live {
  constructor() {
    this.forget(null);
  }

  forget(run) {
    this.run = run;
    this.names = [];
    this.instances = new Map();
    this.hints = new Map();
    this.asked = null;
    this.logsAsked = 0;
  }

  // Ask about the run; none is going on: forget the last one.
  async read(run) {
    if (!run || run.dag_run_id !== this.run?.dag_run_id) this.forget(run ?? null);
    this.run = run ?? null;
    if (!run || run.state === "queued") return;
    const now = Date.now();
    const since = this.asked ? new Date(this.asked - OVERLAP_MS).toISOString() : undefined;
    for (const ti of await api.taskInstances(run.dag_run_id, { since })) this.instances.set(`${ti.task_id} ${ti.map_index}`, ti);
    this.asked = now;
    if (this.instances.get(`${api.LIST} -1`)?.state === "success") {
      if (!this.names.length) this.names = (await api.xcom(run.dag_run_id, api.LIST)) ?? [];
    } else {
      this.names = [];
    }
    if (now - this.logsAsked >= LOGS_EVERY_MS) {
      this.logsAsked = now;
      await this.readLogs(now);
    }
  }

  async readLogs(now) {
    const all = phases(this.names, this.instances, this.hints, now);
    const loading = all.filter((one) => one.kind === "loading").slice(0, LOGS_READ);
    const waiting = all.filter((one) => one.ti?.state === "deferred");
    const next = waiting.slice(0, LOGS_READ);
    const hints = new Map();
    await Promise.all([...loading, ...next].map(async ({ ti, index }) => {
      const told = hint(await api.log(this.run.dag_run_id, ti.task_id, index, ti.try_number));
      if (told) hints.set(`${ti.task_id} ${index} ${ti.try_number}`, told);
    }));
    // Tables ask in the order of the list: behind one that waits for its turn, all do.
    const first = next.findIndex(({ ti, index }) => hints.get(`${ti.task_id} ${index} ${ti.try_number}`)?.kind(now) === "turn");
    if (first >= 0) {
      for (const { ti, index } of waiting.slice(first)) {
        const key = `${ti.task_id} ${index} ${ti.try_number}`;
        if (!hints.has(key)) hints.set(key, { kind: () => "turn" });
      }
    }
    this.hints = hints;
  }

  // What the page shows of it; null: nothing goes on.
  shown(now, paused) {
    if (!this.run) return null;
    const all = phases(this.names, this.instances, this.hints, now);
    const loading = all.filter((one) => one.kind === "loading").map((one) => {
      const { rows, rate, applying } = this.hints.get(`${one.ti.task_id} ${one.index} ${one.ti.try_number}`) ?? {};
      return { name: one.name, index: one.index, ti: { task_id: one.ti.task_id }, rows, rate, applying };
    });
    const slim = all.map(({ name, kind }) => ({ name, kind }));
    const { dag_run_id, start_date, state } = this.run;
    return { run: { dag_run_id, start_date, state }, phases: slim, loading, step: step(this.instances, this.names, this.run, paused) };
  }
}
