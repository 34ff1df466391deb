// Numbers and times as people read them.

const NUMBER = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

export const number = (value) => NUMBER.format(value);
export const compact = (value) => (Math.abs(value) < 10000 ? NUMBER.format(value) : COMPACT.format(value));
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

// The zone that the person chose in Airflow.
let chosen;
function zone() {
  if (chosen === undefined) {
    try {
      const kept = localStorage.getItem("timezone");
      chosen = kept ? kept.replaceAll('"', "") : undefined;
      new Intl.DateTimeFormat("en", { timeZone: chosen });
    } catch {
      chosen = undefined;
    }
    chosen ??= Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
  return chosen;
}

const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone(), ...options });

// 18:00, or 24 Nov, 18:00 on another day.
export function clock(moment, now = Date.now()) {
  const date = new Date(moment);
  const day = part({ year: "numeric", month: "2-digit", day: "2-digit" });
  const time = part({ hour: "2-digit", minute: "2-digit" }).format(date);
  return day.format(date) === day.format(now) ? time : `${part({ day: "numeric", month: "short" }).format(date)}, ${time}`;
}

export function full(moment) {
  return part({ dateStyle: "full", timeStyle: "long" }).format(new Date(moment));
}

export const day = (moment) =>
  new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" }).format(new Date(moment));

// "12 minutes"; short: "12 min".
export function span(seconds, short = false) {
  const s = Math.max(0, Math.round(seconds));
  const unit = (count, noun, brief) => (short ? `${count} ${brief}` : plural(count, noun));
  if (s < MINUTE) return unit(s, "second", "s");
  if (s < HOUR) return unit(Math.round(s / MINUTE), "minute", "min");
  if (s < DAY) {
    const minutes = Math.round((s % HOUR) / MINUTE);
    const hours = unit(Math.floor(s / HOUR), "hour", "h");
    return minutes && s < 10 * HOUR && minutes < 60 ? `${hours} ${unit(minutes, "minute", "min")}` : hours;
  }
  return unit(Math.floor(s / DAY), "day", "d");
}

// "12 minutes ago", "in 2 hours".
export function relative(moment, now = Date.now(), short = false) {
  const seconds = (now - new Date(moment).getTime()) / 1000;
  if (Math.abs(seconds) < 30) return seconds >= 0 ? "just now" : "now";
  return seconds > 0 ? `${span(seconds, short)} ago` : `in ${span(-seconds, short)}`;
}
