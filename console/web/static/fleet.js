// @ts-check
// Fleet: nodes with their load, camera assignments; drain a node, pause a camera.

import { api, ask, attempt, content, fill, get, h, mayChange, table, watchHealth } from "./app.js";

/** @import { FleetCameraOut, FleetNodeOut, FleetOut } from "../api.d.ts" */

const EVERY_MS = 2000;
const NUMBERS = ["cameras", "capacity", "last seen", "for", "fps"];

/**
 * @param {string} path
 * @param {unknown} body
 * @param {string} done
 */
const put = (path, body, done) => attempt(() => api("PUT", path, body), done).then(refresh);

/**
 * @param {[name: string, each: FleetNodeOut]} entry
 * @param {number} revision
 */
function node([name, each], revision) {
  const notes = [each.problem, each.config === revision ? "" : `uses configuration ${each.config || "none yet"}`];
  const drain = () => ask(`Drain ${name}?`, "Its cameras move to other nodes, and it gets no new ones.", "Drain",
    () => put(`/fleet/gates/${encodeURIComponent(name)}`, { drained: true }, `${name} is draining.`));
  return h("tr", {},
    h("td", {}, name), h("td", {}, each.host), h("td", {}, each.cameras),
    h("td", {}, `${each.capacity.toFixed(0)} fps`),
    h("td", {}, h("meter", { min: 0, max: 1, value: Math.min(1, each.load), "aria-label": `load of ${name}` }), ` ${(100 * each.load).toFixed(0)} %`),
    h("td", { class: each.seen_s > 5 ? "bad" : "" }, `${each.seen_s.toFixed(1)} s ago`),
    h("td", { class: "note" }, notes.filter(Boolean).join(", ")),
    h("td", {}, !mayChange ? (each.drained ? "drained" : "") : each.drained
      ? h("button", { class: "quiet", onclick: () => put(`/fleet/gates/${encodeURIComponent(name)}`, { drained: false }, `${name} accepts cameras.`) }, `Undrain ${name}`)
      : h("button", { class: "quiet", onclick: drain }, `Drain ${name}`)));
}

/** @param {[name: string, each: FleetCameraOut]} entry */
function camera([name, each]) {
  const paused = each.state === "paused";
  const isOk = each.state === "live" || paused;
  return h("tr", {},
    h("td", {}, name), h("td", {}, each.gate ?? "–"),
    h("td", { class: isOk ? "" : "warn" }, each.state),
    h("td", {}, each.since_s === null ? "" : `${each.since_s.toFixed(0)} s`),
    h("td", {}, each.processed_fps.toFixed(1)),
    h("td", {}, mayChange ? h("button", { class: "quiet",
      onclick: () => put(`/fleet/cameras/${encodeURIComponent(name)}`, { paused: !paused }, paused ? `${name} resumed.` : `${name} paused.`) },
      paused ? `Resume ${name}` : `Pause ${name}`) : null));
}

/** @param {FleetOut} fleet */
function page(fleet) {
  const nodes = Object.entries(fleet.gates), cameras = Object.entries(fleet.cameras);
  return [
    h("section", { class: "card" }, h("h2", {}, `Nodes of ${fleet.fleet}: ${nodes.length}`),
      nodes.length ? table(["node", "host", "cameras", "capacity", "load", "last seen", "", ""], nodes.map((each) => node(each, fleet.config)), NUMBERS)
        : h("p", { class: "bad" }, "No node is running: no camera is processed.")),
    h("section", { class: "card" }, h("h2", {}, `Cameras: ${cameras.length}, configuration ${fleet.config || "none yet"}`),
      cameras.length ? table(["camera", "node", "state", "for", "fps", ""], cameras.map(camera), NUMBERS)
        : h("p", {}, "Publish a configuration with 'facegate fleet apply CONFIG'.")),
  ];
}

async function refresh() {
  const focused = document.activeElement?.textContent;
  await fill(content, () => get("/fleet"), page);
  // Keep the focus on the same button after redrawing.
  [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("main button"))].find((each) => each.textContent === focused)?.focus();
}

await refresh();
watchHealth();
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
