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
 * A table that becomes a list of cards on a phone; the heads of `numbers` stand above their right-aligned cells.
 * @param {string[]} heads
 * @param {HTMLElement[]} rows
 * @param {string[]} numbers
 */
export function table(heads, rows, numbers = []) {
  for (const row of rows) [...row.children].forEach((cell, i) => {
    cell.setAttribute("data-head", heads[i]);
    cell.classList.toggle("n", numbers.includes(heads[i]));
  });
  return h("div", { class: "scroll", tabindex: 0 }, h("table", { class: "stacked" },
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { class: numbers.includes(text) ? "n" : null }, text)))),
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
export const reasonOf = (error) => (error instanceof ApiError ? `${error.message}: ${error.problem.remedy}` : "No connection to the console");

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
  h("p", { class: "bad" }, `This cannot be shown. ${reasonOf(error)}`), h("button", { class: "quiet", onclick: retry }, "Retry"));

/**
 * Fill a part of a page: "Loading …" at first, then what `render` makes of the reply, or the failure with a button.
 * @template Reply
 * @param {HTMLElement} part
 * @param {() => Promise<Reply>} request
 * @param {(reply: Reply) => Child | Child[]} render
 * @returns {Promise<boolean>} whether the request succeeded
 */
export async function fill(part, request, render) {
  if (!part.hasChildNodes() || part.querySelector(".failed")) part.replaceChildren(h("p", { class: "note" }, "Loading …"));
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
    if (error instanceof ConnectionLost) notify("No connection to the console", true);
    if (!(error instanceof ApiError)) throw error;
    notifyError(error);
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
    opened.onerror = () => { lost = true; alarm("events", "No connection to the console"); };
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
export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString();
/** @param {number} seconds */
export function when(seconds) {
  const date = new Date(1000 * seconds);
  const today = new Date().toDateString() === date.toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}
/** @param {string} name */
export const words = (name) => name.replaceAll("_", " ");
/** @param {number} n */
export const bytes = (n) => (n > 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n > 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} kB`);

/**
 * A dialog with a title; `fill(close)` returns its content.
 * @param {string} title
 * @param {(close: () => void) => Child | Child[]} fill
 */
export function dialog(title, fill) {
  const box = h("dialog", { "aria-label": title });
  const close = () => box.close();
  box.append(
    h("div", { class: "head" }, h("h2", {}, title), h("button", { class: "quiet", onclick: close }, "Close")),
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
      h("button", { class: "quiet", onclick: close }, "Cancel")),
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
      if (health && !health.worker.running) parts.push("recognition is restarting");
      if (health && !health.gate.running && health.gate.starts && !health.gate_finished) parts.push("the gate is restarting");
      alarm("health", parts.join(" · "));
      const count = byId("alarms");
      count.textContent = open.length === 1 ? "1 alarm" : `${open.length} alarms`;
      count.title = open.map((each) => `${each.subject} ${each.problem}`.trim()).join("\n");
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
