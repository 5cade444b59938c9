// What every page needs: building elements, asking the API, hearing events, saying what happened.

export const main = document.getElementById("main");
export const content = document.getElementById("content");
export const mayChange = main.dataset.role === "administrator";

// An element: h("p", { class: "note", onclick: f }, "text", child, ...). Text is text, never HTML.
export function h(tag, attributes = {}, ...children) {
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

export function show(...children) {
  content.replaceChildren(...children.flat().filter(Boolean));
  content.removeAttribute("aria-busy");
}

export class Refused extends Error {
  constructor(problem, status) {
    super(problem.message);
    this.problem = problem;
    this.status = status;
  }
}

class Lost extends Error {}

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
export const get = (path) => api("GET", path);

export function say(text, wrong = false) {
  const toast = h("div", { class: wrong ? "toast wrong" : "toast" }, text);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), wrong ? 9000 : 4000);
}

const sayRefused = (refused) => say(`${refused.message}: ${refused.problem.remedy}`, true);

// Leaving a page, or a console that ends, breaks off what was being fetched; what comes back says so by itself.
// What a page asked for by itself and was refused is said like what somebody asked for.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Lost || event.reason instanceof Refused)) return;
  event.preventDefault();
  if (event.reason instanceof Refused) sayRefused(event.reason);
});

// Do something and say what went wrong, if anything did.
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

let source = null;
const anew = [];
// Hear events of a kind; `again` is called when some may have been missed.
export function hear(kind, act, again) {
  if (!source) {
    source = new EventSource("/api/v1/events");
    let lost = false;
    source.onerror = () => { lost = true; alarm("no connection"); };
    source.onopen = () => {
      alarm("");
      if (lost) anew.forEach((each) => each());
      lost = false;
    };
    source.addEventListener("anew", () => anew.forEach((each) => each()));
    addEventListener("pagehide", () => source.close());
  }
  source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  if (again) anew.push(again);
}

export function alarm(text) {
  document.getElementById("alarm").textContent = text;
}

export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString();
export function when(seconds) {
  const date = new Date(1000 * seconds);
  const today = new Date().toDateString() === date.toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}
export const words = (name) => name.replaceAll("_", " ");
export const bytes = (n) => (n > 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n > 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} kB`);

// A dialog with a head; `fill(close)` gives what is in it.
export function dialog(title, fill) {
  const box = h("dialog", { "aria-label": title });
  const close = () => box.close();
  box.append(
    h("div", { class: "head" }, h("h2", {}, title), h("button", { class: "quiet", onclick: close }, "Close")),
    ...[fill(close)].flat(),
  );
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

export function ask(title, text, button, act) {
  dialog(title, (close) => [
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { class: "danger", onclick: async () => { close(); await act(); } }, button),
      h("button", { class: "quiet", onclick: close }, "Leave it")),
  ]);
}

export function field(label, attributes = {}) {
  const { options, ...rest } = attributes;
  const input = options
    ? h("select", rest, options.map(([value, text]) => h("option", { value }, text)))
    : h("input", rest);
  if (options && rest.value !== undefined) input.value = rest.value;
  return h("label", {}, label, input);
}

export const values = (form) => Object.fromEntries(new FormData(form));

document.getElementById("leave")?.addEventListener("click", async () => {
  await api("DELETE", "/session");
  location.assign("/login");
});

// What an operator must know on every page.
export async function watchHealth() {
  const look = async () => {
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
