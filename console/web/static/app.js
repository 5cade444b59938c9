// @ts-check
// What every page needs: building elements, asking the API, hearing events, saying what happened.

/** @import { Problem, HealthOut } from "../api.d.ts" */
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

/**
 * An element: h("p", { class: "note", onclick: f }, "text", child, ...). Text is text, never HTML.
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
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const SVG = new Set(["line", "circle", "rect", "text", "path", "g", "title"]);

/** @param {HTMLCanvasElement} canvas */
export const penOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** @param {...(Child | Child[])} children */
export function show(...children) {
  content.replaceChildren(.../** @type {Node[]} */ (children.flat().filter(Boolean)));
  content.removeAttribute("aria-busy");
}

export class Refused extends Error {
  /**
   * @param {Pick<Problem, "message" | "remedy">} problem
   * @param {number} status
   */
  constructor(problem, status) {
    super(problem.message);
    this.problem = problem;
    this.status = status;
  }
}

class Lost extends Error {}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function api(method, path, body, headers = {}) {
  const form = body instanceof FormData;
  const answer = await fetch("/api/v1" + path, {
    method,
    headers: body === undefined || form ? headers : { "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : form ? body : JSON.stringify(body),
  }).catch(() => { throw new Lost("no connection"); });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ message: answer.statusText, remedy: "try again" }));
    throw new Refused(problem, answer.status);
  }
  return answer.status === 204 ? null : answer.json();
}
/** @param {string} path */
export const get = (path) => api("GET", path);

/**
 * @param {string} text
 * @param {boolean} wrong
 */
export function say(text, wrong = false) {
  const toast = h("div", { class: wrong ? "toast wrong" : "toast" }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), wrong ? 9000 : 4000);
}

/** @param {Refused} refused */
const sayRefused = (refused) => say(`${refused.message}: ${refused.problem.remedy}`, true);

// Leaving a page, or a console that ends, breaks off what was being fetched; what comes back says so by itself.
// What a page asked for by itself and was refused is said like what somebody asked for.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Lost || event.reason instanceof Refused)) return;
  event.preventDefault();
  if (event.reason instanceof Refused) sayRefused(event.reason);
});

/**
 * Do something and say what went wrong, if anything did.
 * @template Result
 * @param {() => Promise<Result>} work
 * @param {string} [done]
 * @returns {Promise<Result | undefined>}
 */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) say(done);
    return result;
  } catch (error) {
    if (error instanceof Lost) say("no connection to the console", true);
    if (!(error instanceof Refused)) throw error;
    sayRefused(error);
    return undefined;
  }
}

/** @type {EventSource | null} */
let source = null;
/** @type {(() => unknown)[]} */
const anew = [];
/**
 * Hear events of a kind; `again` is called when some may have been missed.
 * @param {string} kind
 * @param {(data: any) => unknown} act
 * @param {() => unknown} [again]
 */
export function hear(kind, act, again) {
  if (!source) {
    const opened = new EventSource("/api/v1/events");
    source = opened;
    let lost = false;
    opened.onerror = () => { lost = true; alarm("no connection"); };
    opened.onopen = () => {
      alarm("");
      if (lost) anew.forEach((each) => each());
      lost = false;
    };
    opened.addEventListener("anew", () => anew.forEach((each) => each()));
    addEventListener("pagehide", () => opened.close());
  }
  source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  if (again) anew.push(again);
}

/** @param {string} text */
export function alarm(text) {
  byId("alarm").textContent = text;
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
 * A dialog with a head; `fill(close)` gives what is in it.
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
      h("button", { class: "quiet", onclick: close }, "Leave it")),
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
 * What a form without files holds.
 * @param {HTMLFormElement} form
 */
export const values = (form) => /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));

document.getElementById("leave")?.addEventListener("click", async () => {
  await api("DELETE", "/session");
  location.assign("/login");
});

// What an operator must know on every page.
export async function watchHealth() {
  const look = async () => {
    /** @type {HealthOut | null} */
    const health = await get("/health").catch(() => null);
    if (!health) return;
    const parts = [];
    if (health.notices.length) parts.push("a damaged file was replaced: see Health");
    if (health.config_changed) parts.push("configuration changed by hand");
    if (!health.worker.running) parts.push("recognition is starting again");
    if (!health.gate.running && health.gate.starts && !health.gate_finished) parts.push("the gate is starting again");
    alarm(parts.join(" · "));
  };
  hear("health", look, look);
}
