// @ts-check
// Shared by all pages: elements, API requests, events, notifications.

/** @import { AlarmsOut, Problem, HealthOut } from "../api.d.ts" */
/** @typedef {Node | string | number | boolean | null | undefined} Child */
/** @typedef {SubmitEvent & { target: HTMLFormElement }} FormEvent */
/**
 * @typedef {{
 *   onclick?: (event: MouseEvent) => unknown,
 *   oninput?: (event: Event) => unknown,
 *   onchange?: (event: Event) => unknown,
 *   onsubmit?: (event: FormEvent) => unknown,
 *   [name: string]: unknown,
 * }} Attributes
 */

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Language of the page, as the console has chosen it; texts in the code are English. */
export const language = document.documentElement.lang;
/** Locale of dates and numbers: the browser's, if it is of the same language. */
const locale = navigator.languages.find((each) => each.split("-")[0] === language) ?? language;
/** @type {Record<string, string>} */
const catalog = language === "en" ? {} : await fetch(new URL(`languages/${language}.json`, import.meta.url)).then((found) => found.json()).catch(() => ({}));

/**
 * A text in the language of the page: t("{n} visits of {name}", { n: 3, name: "Ada" }).
 * @param {string} text
 * @param {Record<string, unknown>} values
 */
export const t = (text, values = {}) => (catalog[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => {
  const value = values[name];
  return value === undefined ? whole : typeof value === "number" ? value.toLocaleString(locale) : String(value);
});

/**
 * @param {number} n
 * @param {string} one text for one, such as "{n} visit"
 * @param {string} other text for all other numbers
 * @param {Record<string, unknown>} values
 */
export const plural = (n, one, other, values = {}) => t(n === 1 ? one : other, { n, ...values });

/**
 * A number with a fixed number of digits after the decimal mark.
 * @param {number} n
 * @param {number} digits
 */
export const decimal = (n, digits) => n.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const main = byId("main");
export const content = byId("content");
export const mayChange = main.dataset.role === "administrator";
/** Whether the user may see some cameras only. */
const isRestricted = "restricted" in main.dataset;

/**
 * Create an element: h("p", { class: "note", onclick: f }, "text", child, ...). Text is text, never HTML.
 * @template {string} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...(Child | Child[])} children
 * @returns {Tag extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag] : SVGElement}
 */
export function h(tag, attributes = {}, ...children) {
  /** @type {any} */
  const element = tag === "svg" || SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const SVG = new Set(["line", "circle", "rect", "text", "path", "g", "title"]);

/** @param {HTMLCanvasElement} canvas */
export const penOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/**
 * A table that becomes a list of cards on a phone; its heads are translated, and those of `numbers` stand above their right-aligned cells.
 * @param {string[]} heads
 * @param {HTMLElement[]} rows
 * @param {string[]} numbers
 */
export function table(heads, rows, numbers = []) {
  for (const row of rows) [...row.children].forEach((cell, i) => {
    cell.setAttribute("data-head", t(heads[i]));
    cell.classList.toggle("n", numbers.includes(heads[i]));
  });
  return h("div", { class: "scroll", tabindex: 0 }, h("table", { class: "stacked" },
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { class: numbers.includes(text) ? "n" : null }, t(text))))),
    h("tbody", {}, rows)));
}

/** @param {...(Child | Child[])} children */
export function show(...children) {
  content.replaceChildren(.../** @type {Node[]} */ (children.flat().filter(Boolean)));
  content.removeAttribute("aria-busy");
}

export class ApiError extends Error {
  /**
   * @param {Pick<Problem, "detail" | "remedy">} problem
   * @param {number} status
   */
  constructor(problem, status) {
    super(problem.detail);
    this.problem = problem;
    this.status = status;
  }
}

class ConnectionLost extends Error {}

/**
 * Why a request failed, for the line at the top of a page.
 * @param {unknown} error
 */
export const reasonOf = (error) => (error instanceof ApiError ? `${error.message}: ${error.problem.remedy}` : t("No connection to the console"));

/**
 * URL of a path of the console, which a reverse proxy may show below a prefix.
 * @param {string} path
 */
export function at(path) {
  return new URL("../" + path, import.meta.url).href;
}

/**
 * What a part of a page shows where its request failed: never the same as where there is nothing.
 * @param {unknown} error
 * @param {() => unknown} retry
 */
export const failed = (error, retry) => h("div", { class: "empty failed", role: "alert" },
  h("p", { class: "bad" }, t("This cannot be shown. {reason}", { reason: reasonOf(error) })), h("button", { class: "quiet", onclick: retry }, t("Retry")));

/**
 * Fill a part of a page: "Loading …" at first, then what `render` makes of the reply, or the failure with a button.
 * @template Reply
 * @param {HTMLElement} part
 * @param {() => Promise<Reply>} request
 * @param {(reply: Reply) => Child | Child[]} render
 * @returns {Promise<boolean>} whether the request succeeded
 */
export async function fill(part, request, render) {
  if (!part.hasChildNodes() || part.querySelector(".failed")) part.replaceChildren(h("p", { class: "note" }, t("Loading …")));
  /** @type {Child[]} */
  let found;
  let isFilled = true;
  try {
    found = [render(await request())].flat();
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
    found = [failed(error, () => fill(part, request, render))];
    isFilled = false;
  }
  part.replaceChildren(.../** @type {Node[]} */ (found.filter(Boolean)));
  part.removeAttribute("aria-busy");
  return isFilled;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function api(method, path, body, headers = {}) {
  const form = body instanceof FormData;
  const response = await fetch(at("api/v1" + path), {
    method,
    headers: body === undefined || form ? headers : { "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : form ? body : JSON.stringify(body),
  }).catch(() => { throw new ConnectionLost("no connection"); });
  if (response.status === 401) location.assign(at("login"));
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText, remedy: "retry" }));
    throw new ApiError(problem, response.status);
  }
  return response.status === 204 ? null : response.json();
}
/** @param {string} path */
export const get = (path) => api("GET", path);

/**
 * @param {string} text
 * @param {boolean} isError
 */
export function notify(text, isError = false) {
  const toast = h("div", { class: isError ? "toast wrong" : "toast" }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), isError ? 9000 : 4000);
}

/** Remove the red notices of earlier tries. */
function clearErrors() {
  for (const old of document.querySelectorAll(".toast.wrong")) old.remove();
}

/** @param {ApiError} error */
const notifyError = (error) => notify(`${error.message}: ${error.problem.remedy}`, true);

// Errors of requests that a page makes on its own are shown too. A lost connection is not: it happens whenever a page
// is left, and the event stream reports it.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof ConnectionLost || event.reason instanceof ApiError)) return;
  event.preventDefault();
  if (event.reason instanceof ApiError) notifyError(event.reason);
});

/**
 * Run an action; notify on success (`done`) or failure.
 * @template Result
 * @param {() => Promise<Result>} work
 * @param {string} [done]
 * @returns {Promise<Result | undefined>}
 */
export async function attempt(work, done) {
  clearErrors();
  try {
    const result = await work();
    if (done) notify(done);
    return result;
  } catch (error) {
    if (error instanceof ConnectionLost) notify(t("No connection to the console"), true);
    else if (error instanceof ApiError) notifyError(error);
    else throw error;
    return undefined;
  }
}

/** @type {EventSource | null} */
let source = null;
/** @type {(() => unknown)[]} */
const reloads = [];
/**
 * Subscribe to events of a kind; `reload` is called when events may have been missed.
 * @param {string} kind
 * @param {(data: any) => unknown} act
 * @param {() => unknown} [reload]
 */
export function subscribe(kind, act, reload) {
  if (!source) {
    const opened = new EventSource(at("api/v1/events"));
    source = opened;
    let lost = false;
    opened.onerror = () => { lost = true; alarm("events", t("No connection to the console")); };
    opened.onopen = () => {
      alarm("events", "");
      if (lost) reloads.forEach((each) => each());
      lost = false;
    };
    opened.addEventListener("resync", () => reloads.forEach((each) => each()));
    addEventListener("pagehide", () => opened.close());
  }
  source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  if (reload) reloads.push(reload);
}

/** @type {Map<string, string>} */
const lines = new Map();
/**
 * Say in the bar at the top what is wrong with a part of the page; an empty text takes it back.
 * @param {string} part
 * @param {string} text
 */
export function alarm(part, text) {
  if (text) lines.set(part, text);
  else lines.delete(part);
  byId("alarm").textContent = [...new Set(lines.values())].join(" · ");
}

/** @param {number} seconds */
export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString(locale);
/** @param {number} seconds */
export function when(seconds) {
  const date = new Date(1000 * seconds);
  const today = new Date().toDateString() === date.toDateString();
  return today ? date.toLocaleTimeString(locale) : date.toLocaleString(locale);
}
/**
 * The day of a time, such as "today" or "Mon, Nov 23".
 * @param {number} seconds
 */
export function day(seconds) {
  const date = new Date(1000 * seconds);
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0 || days === 1) return days ? t("yesterday") : t("today");
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString(locale, { weekday: "short", day: "numeric", month: "short", year });
}
/** Short names of the days of a week, which begins on Monday. */
export const WEEKDAYS = [5, 6, 7, 8, 9, 10, 11].map((date) => new Date(2026, 0, date).toLocaleDateString(locale, { weekday: "short" }));
/** @param {number} seconds */
export function duration(seconds) {
  const s = Math.round(seconds);
  return s >= 86400 ? t("{d} d {h} h", { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) })
    : s >= 3600 ? t("{h} h {min} min", { h: Math.floor(s / 3600), min: Math.floor((s % 3600) / 60) })
    : s >= 60 ? t("{min} min {s} s", { min: Math.floor(s / 60), s: s % 60 }) : t("{s} s", { s });
}
/**
 * A word of the API, such as "below_threshold".
 * @param {string} name
 */
export const words = (name) => t(name.replaceAll("_", " "));
/** @param {number} n */
export const bytes = (n) => (n > 1e9 ? `${decimal(n / 1e9, 1)} GB` : n > 1e6 ? `${decimal(n / 1e6, 1)} MB` : `${decimal(n / 1e3, 0)} kB`);

/** @param {Record<string, number>} disk */
export const usage = (disk) => t("Store {store} · recordings {recordings} · free {free}", Object.fromEntries(Object.entries(disk).map(([name, n]) => [name, bytes(n)])));

/** @type {Record<string, string>} */
const labels = JSON.parse(main.dataset.cameras ?? "{}");
/**
 * Name of a camera for people.
 * @param {string} name
 */
export const cameraName = (name) => labels[name] ?? name;
/**
 * Learn the names of cameras, which may have changed since the page was loaded.
 * @param {{ name: string, display_name: string }[]} cameras
 */
export function learnCameraNames(cameras) {
  for (const each of cameras) labels[each.name] = each.display_name;
}

/**
 * A dialog with a title; `fill(close)` returns its content.
 * @param {string} title
 * @param {(close: () => void) => Child | Child[]} fill
 */
export function dialog(title, fill) {
  const box = h("dialog", { "aria-label": title });
  const close = () => box.close();
  box.append(
    h("div", { class: "head" }, h("h2", {}, title), h("button", { class: "quiet", onclick: close }, t("Close"))),
    .../** @type {Node[]} */ ([fill(close)].flat()),
  );
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

/**
 * @param {string} title
 * @param {string} text
 * @param {string} button
 * @param {() => unknown} act
 */
export function ask(title, text, button, act) {
  dialog(title, (close) => [
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { class: "danger", onclick: async () => { close(); await act(); } }, button),
      h("button", { class: "quiet", onclick: close }, t("Cancel"))),
  ]);
}

/**
 * @param {string} label
 * @param {Attributes & { options?: [value: string | number, text: string][], value?: any }} attributes
 */
export function field(label, attributes = {}) {
  const { options, ...rest } = attributes;
  const input = options
    ? h("select", rest, options.map(([value, text]) => h("option", { value }, text)))
    : h("input", rest);
  if (options && rest.value !== undefined) input.value = rest.value;
  return h("label", {}, label, input);
}

/**
 * Values of a form without files.
 * @param {HTMLFormElement} form
 */
export const values = (form) => /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));

const choice = /** @type {HTMLSelectElement | null} */ (document.getElementById("language"));
choice?.addEventListener("change", () => {
  document.cookie = `facegate-language=${choice.value}; path=${new URL(at("")).pathname}; max-age=${choice.value ? 31_536_000 : 0}; samesite=strict`;
  location.reload();
});
document.getElementById("log-out")?.addEventListener("click", async () => {
  await api("DELETE", "/session");
  location.assign(at("login"));
});

const RETRY_MS = 3000;
/**
 * Count the open alarms in the bar of every page, and say there what is restarting.
 * @param {() => unknown} [changed] called when an alarm begins or ends
 */
export async function watchHealth(changed = () => {}) {
  const refresh = async () => {
    try {
      /** @type {[HealthOut | null, AlarmsOut]} */
      const [health, { open }] = await Promise.all([isRestricted ? null : get("/health"), get("/alarms?limit=0")]);
      const parts = [];
      if (health && !health.worker.running) parts.push(t("recognition is restarting"));
      if (health && !health.gate.running && health.gate.starts && !health.gate_finished) parts.push(t("the gate is restarting"));
      alarm("health", parts.join(" · "));
      const count = byId("alarms");
      count.textContent = plural(open.length, "{n} alarm", "{n} alarms");
      count.title = open.map((each) => `${cameraName(each.subject)} ${each.problem}`.trim()).join("\n");
      count.hidden = !open.length;
    } catch (error) {
      alarm("health", reasonOf(error));
      setTimeout(refresh, RETRY_MS);
    }
  };
  await refresh();
  subscribe("health", refresh, refresh);
  subscribe("alarms", () => { refresh(); changed(); }, changed);
}
