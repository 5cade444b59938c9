// @ts-check
// The gates that share cameras: who watches what, how full each is; drain a gate, pause a camera.

import { Refused, api, ask, attempt, get, h, mayChange, show, watchHealth } from "./app.js";

/** @import { CameraOut, FleetOut, GateOut } from "../api.d.ts" */

const EVERY_MS = 2000;
const NUMBERS = new Set(["cameras", "capacity", "heard", "since", "looks/s"]);

/**
 * @param {string} path
 * @param {unknown} body
 * @param {string} done
 */
const wish = (path, body, done) => attempt(() => api("PUT", path, body), done).then(look);

/**
 * @param {[name: string, each: GateOut]} entry
 * @param {number} revision
 */
function gate([name, each], revision) {
  const notes = [each.problem, each.config === revision ? "" : `follows configuration ${each.config || "none yet"}`];
  const drain = () => ask(`Drain ${name}?`, "It gives its cameras to other gates and takes no more.", "Drain it",
    () => wish(`/fleet/gates/${encodeURIComponent(name)}`, { drained: true }, "It gives its cameras away."));
  return h("tr", {},
    h("td", {}, name), h("td", {}, each.host), h("td", { class: "n" }, each.cameras),
    h("td", { class: "n" }, `${each.capacity.toFixed(0)} looks/s`),
    h("td", {}, h("meter", { min: 0, max: 1, value: Math.min(1, each.load), "aria-label": `load of ${name}` }), ` ${(100 * each.load).toFixed(0)} %`),
    h("td", { class: `n ${each.seen_s > 5 ? "bad" : ""}` }, `${each.seen_s.toFixed(1)} s ago`),
    h("td", { class: "note" }, notes.filter(Boolean).join(", ")),
    h("td", {}, !mayChange ? (each.drained ? "drained" : "") : each.drained
      ? h("button", { class: "quiet", onclick: () => wish(`/fleet/gates/${encodeURIComponent(name)}`, { drained: false }, "It takes cameras again.") }, `Use ${name} again`)
      : h("button", { class: "quiet", onclick: drain }, `Drain ${name}`)));
}

/** @param {[name: string, each: CameraOut]} entry */
function camera([name, each]) {
  const paused = each.state === "paused";
  const fine = each.state === "live" || paused;
  return h("tr", {},
    h("td", {}, name), h("td", {}, each.gate ?? "–"),
    h("td", { class: fine ? "" : "warn" }, each.state),
    h("td", { class: "n" }, each.since_s === null ? "" : `${each.since_s.toFixed(0)} s`),
    h("td", { class: "n" }, each.processed_fps.toFixed(1)),
    h("td", {}, mayChange ? h("button", { class: "quiet",
      onclick: () => wish(`/fleet/cameras/${encodeURIComponent(name)}`, { paused: !paused }, paused ? "It is watched again." : "Nobody watches it.") },
      paused ? `Watch ${name} again` : `Pause ${name}`) : null));
}

/**
 * @param {string[]} heads
 * @param {Node[]} rows
 */
function table(heads, rows) {
  return h("div", { class: "scroll", tabindex: 0 }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { class: NUMBERS.has(text) ? "n" : "" }, text)))), h("tbody", {}, rows)));
}

async function look() {
  /** @type {FleetOut | null} */
  const fleet = await get("/fleet").catch((error) => {
    if (!(error instanceof Refused)) throw error;
    show(h("section", { class: "card" }, h("h2", { class: "bad" }, error.message), h("p", {}, error.problem.remedy)));
    return null;
  });
  if (!fleet) return;
  const gates = Object.entries(fleet.gates), cameras = Object.entries(fleet.cameras);
  const focused = document.activeElement?.textContent;
  show(
    h("section", { class: "card" }, h("h2", {}, `Gates of ${fleet.fleet}: ${gates.length}`),
      gates.length ? table(["gate", "host", "cameras", "capacity", "load", "heard", "", ""], gates.map((each) => gate(each, fleet.config)))
        : h("p", { class: "bad" }, "No gate is there: nobody watches anything.")),
    h("section", { class: "card" }, h("h2", {}, `Cameras: ${cameras.length}, configuration ${fleet.config || "none yet"}`),
      cameras.length ? table(["camera", "gate", "state", "since", "looks/s", ""], cameras.map(camera))
        : h("p", {}, "Apply one with 'facegate fleet apply CONFIG'.")));
  // What is drawn anew under somebody's fingers must not take the keyboard away.
  [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("main button"))].find((each) => each.textContent === focused)?.focus();
}

await look();
watchHealth();
setInterval(() => { if (!document.hidden) look(); }, EVERY_MS);
