// @ts-check
// Tuning: replays recorded faces with other gate settings.

import { api, at, attempt, content, decimal, failed, fill, get, h, mayChange, notify, show, t, table as tableOf, watchHealth, when } from "./app.js";

/** @import { CamerasOut, EvidenceOut, GateUpdate, TuningOutcomeOut } from "../api.d.ts" */

const WAIT_MS = 150;
watchHealth();
/** @type {CamerasOut} */
const { cameras } = await get("/cameras").catch((error) => {
  show(failed(error, () => location.reload()));
  return new Promise(() => {});
});
const camera = h("select", { name: "camera" }, cameras.map((each) => h("option", { value: each.name }, each.display_name)));
const hours = h("select", { name: "hours" }, [[1, t("last hour")], [24, t("last day")], [48, t("last 2 days")], [168, t("last week")]].map(([value, text]) => h("option", { value }, text)));
hours.value = "24";
const slider = h("input", { type: "range", name: "min_quality", min: 0, max: 100, value: 0 });
const number = h("output", {}, "0");
const mode = h("select", { name: "mode" },
  [["end", t("best shot when the track ends")], ["early", t("first shot that is good enough")], ["interval", t("best shot at intervals")]]
    .map(([value, text]) => h("option", { value }, text)));
const budget = h("input", { type: "number", name: "max_per_minute", min: 0, max: 100000, placeholder: t("no limit") });
const picture = h("div", {});
const table = h("div", { role: "status" });
const about = h("p", { class: "note" });
const cost = h("p", { class: "note" });
const part = h("div", {});
const work = h("p", { class: "note", role: "status", hidden: true });
/** @type {EvidenceOut} */
let evidence;
/** @type {TuningOutcomeOut} */
let before;
let timer = 0;
let asked = 0;

const where = (query = "") => `/cameras/${encodeURIComponent(camera.value)}/tune?hours=${hours.value}${query}`;

function change() {
  /** @type {GateUpdate} */
  const changes = {};
  const gate = evidence.gate;
  if (Number(slider.value) !== gate.min_quality) changes.min_quality = Number(slider.value);
  if (mode.value !== gate.mode) changes.mode = /** @type {GateUpdate["mode"]} */ (mode.value);
  const minute = budget.value === "" ? null : Number(budget.value);
  if (minute !== gate.max_per_minute) changes.max_per_minute = minute;
  return changes;
}

function histogram() {
  const [wide, tall, base] = [760, 170, 22];
  const most = Math.max(1, ...evidence.histogram);
  /** @param {number} q */
  const x = (q) => 30 + ((wide - 40) * q) / 100;
  const parts = evidence.histogram.map((count, i) => {
    const height = ((tall - base - 10) * count) / most;
    const dropped = 5 * i + 5 <= Number(slider.value);
    return h("rect", { x: x(5 * i) + 1, width: x(5) - x(0) - 2, y: tall - base - height, height, fill: dropped ? "#8c959f" : "#12915a", "fill-opacity": dropped ? 0.45 : 0.85 },
      h("title", {}, t("quality {from} to {to}: {n} faces", { from: 5 * i, to: 5 * i + 5, n: count })));
  });
  parts.push(h("line", { x1: x(Number(slider.value)), x2: x(Number(slider.value)), y1: 4, y2: tall - base, stroke: "#d04437", "stroke-width": 2 }));
  for (const q of [0, 25, 50, 75, 100]) parts.push(h("text", { x: x(q), y: tall - 5, "text-anchor": "middle" }, q));
  return h("svg", { class: "chart", viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": t("Scored faces by quality, with the threshold") }, parts);
}

/** @param {TuningOutcomeOut} now */
function compare(now) {
  /**
   * @param {string} label
   * @param {"faces" | "shots" | "tracks" | "named"} key
   */
  const row = (label, key) => {
    const [a, b] = [before[key], now?.[key]];
    const shown = b === null || b === undefined ? "…" : b;
    const moved = typeof b === "number" && typeof a === "number" && b !== a ? `${b > a ? "+" : ""}${b - a}` : "";
    return h("tr", {}, h("td", {}, label), h("td", {}, a ?? "…"), h("td", { "data-now": key }, shown), h("td", {}, moved));
  };
  const counts = ["recorded", "with these settings", "difference"];
  const people = now?.people;
  const lost = people && before.people ? before.people.filter((name) => !people.includes(name)) : [];
  table.replaceChildren(
    tableOf(["", ...counts], [row(t("faces"), "faces"), row(t("shots sent to recognition"), "shots"), row(t("visits with a shot"), "tracks"), row(t("identified visits"), "named")], counts),
    lost.length ? h("p", { class: "bad" }, t("No longer identified: {people}", { people: lost.join(", ") })) : "");
}

async function play() {
  const mine = ++asked;
  number.textContent = slider.value;
  picture.replaceChildren(histogram());
  const changes = change();
  save.disabled = !mayChange || !Object.keys(changes).length;
  const quick = await attempt(() => api("POST", where(), changes));
  if (!quick || mine !== asked) return;
  compare(quick);
  const whole = await recognized(changes, () => mine === asked);
  if (whole && mine === asked) compare(whole);
}

/**
 * The outcome with the names of visits; each answer recognizes some of the selected shots, until none is left.
 * @param {GateUpdate} changes
 * @param {() => boolean} isWanted
 * @returns {Promise<TuningOutcomeOut | undefined>}
 */
async function recognized(changes, isWanted) {
  for (;;) {
    /** @type {TuningOutcomeOut | undefined} */
    const found = await attempt(() => api("POST", where("&named=true"), changes));
    if (!found?.to_recognize || !isWanted()) {
      if (isWanted()) progress("", 0);
      return found;
    }
    progress(t("Recognizing selected shots: {n} to go.", { n: found.to_recognize }), found.to_recognize);
  }
}

let most = 0;
/**
 * What a long answer is at; nothing without a text.
 * @param {string} said
 * @param {number} left
 */
function progress(said, left) {
  most = said ? Math.max(most, left) : 0;
  work.hidden = !said;
  work.replaceChildren(h("span", {}, said), " ", h("progress", { max: most || 1, value: most - left, "aria-label": said }));
}
const soon = () => { number.textContent = slider.value; picture.replaceChildren(histogram()); clearTimeout(timer); timer = setTimeout(play, WAIT_MS); };

const save = h("button", {
  disabled: true,
  onclick: async () => {
    if (await attempt(() => api("PUT", `/cameras/${encodeURIComponent(camera.value)}/tune`, change()))) {
      notify(t("Settings applied."));
      await load();
    }
  },
}, t("Apply"));
const undo = h("button", {
  class: "quiet", disabled: !mayChange,
  onclick: async () => {
    if (await attempt(() => api("POST", "/config/undo"), t("Undone."))) await load();
  },
}, t("Undo last change"));

async function read() {
  const mine = asked;
  for (evidence = await get(where()); evidence.to_read && mine === asked; evidence = await get(where())) {
    progress(t("Reading recordings: {n} segments to go.", { n: evidence.to_read }), evidence.to_read);
  }
  progress("", 0);
  slider.value = evidence.gate.min_quality;
  mode.value = evidence.gate.mode;
  budget.value = evidence.gate.max_per_minute ?? "";
  about.textContent = evidence.faces
    ? t("{n} faces recorded since {time}, {scored} of them scored.", { n: evidence.faces, time: when(evidence.since), scored: evidence.scored }) + (evidence.cut ? ` ${t("Older faces are not included.")}` : "")
    : t("No faces recorded in this period.");
  /** @type {CamerasOut} */
  const found = await get("/cameras");
  const loss = found.cameras.find((each) => each.name === camera.value)?.loss;
  cost.textContent = !loss ? ""
    : loss.visits_needed ? t("The loss of the threshold can be estimated after {n} more identified visits.", { n: loss.visits_needed })
    : t("The threshold loses {lost} % of identifications (95 % confidence interval {low} to {high} %).", { lost: decimal(100 * loss.lost, 1), low: decimal(100 * loss.low, 1), high: decimal(100 * loss.high, 1) });
  before = { ...(await api("POST", where(), {})), named: null };
}

async function load() {
  if (!camera.value) return show(h("p", { class: "empty" }, t("No cameras yet."), " ", h("a", { href: at("cameras") }, t("Add a camera"))));
  if (!part.isConnected) content.replaceChildren(work, part);
  const isRead = await fill(part, read, () => page);
  content.removeAttribute("aria-busy");
  if (!isRead) return;
  await play();
  const mine = asked;
  const whole = await recognized({}, () => mine === asked);
  if (whole && mine === asked) { before = whole; await play(); }
}

const page = [
  h("form", { class: "card row", onsubmit: (event) => event.preventDefault(), onchange: (event) => { if (event.target === camera || event.target === hours) load(); } },
    h("label", {}, t("Camera"), camera), h("label", {}, t("Period"), hours), about),
  h("section", { class: "card" }, h("h2", {}, t("Faces by quality")), picture,
    h("form", { oninput: soon, onsubmit: (event) => event.preventDefault() },
      h("label", {}, h("span", {}, t("Minimum quality:"), " ", number), slider),
      h("div", { class: "row" }, h("label", {}, t("Send"), mode), h("label", {}, t("Max. shots per minute"), budget))),
    table, cost,
    h("p", { class: "note" }, t("Replayed from the recording, like 'facegate replay'; selected shots are recognized again.")),
    h("div", { class: "row" }, save, undo)),
];
await load();
