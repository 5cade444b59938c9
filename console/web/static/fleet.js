// @ts-check
// Fleet: nodes with their load, camera assignments; drain a node, pause a camera.

import { api, ask, attempt, cameraName, content, decimal, duration, fill, get, h, mayChange, t, table, watchHealth, words } from "./app.js";

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
  const notes = [each.problem, each.config === revision ? "" : each.config ? t("uses configuration {revision}", { revision: each.config }) : t("has no configuration yet")];
  const drain = () => ask(t("Drain {name}?", { name }), t("Its cameras move to other nodes, and it gets no new ones."), t("Drain"),
    () => put(`/fleet/gates/${encodeURIComponent(name)}`, { drained: true }, t("{name} is draining.", { name })));
  return h("tr", {},
    h("td", {}, name), h("td", {}, each.host), h("td", {}, each.cameras),
    h("td", {}, t("{n} fps", { n: Math.round(each.capacity) })),
    h("td", {}, h("meter", { min: 0, max: 1, value: Math.min(1, each.load), "aria-label": t("load of {name}", { name }) }), ` ${decimal(100 * each.load, 0)} %`),
    h("td", { class: each.seen_s > 5 ? "bad" : "" }, t("{s} s ago", { s: decimal(each.seen_s, 1) })),
    h("td", { class: "note" }, notes.filter(Boolean).join(", ")),
    h("td", {}, !mayChange ? (each.drained ? t("drained") : "") : each.drained
      ? h("button", { class: "quiet", onclick: () => put(`/fleet/gates/${encodeURIComponent(name)}`, { drained: false }, t("{name} accepts cameras.", { name })) }, t("Undrain {name}", { name }))
      : h("button", { class: "quiet", onclick: drain }, t("Drain {name}", { name }))));
}

/** @param {[name: string, each: FleetCameraOut]} entry */
function camera([name, each]) {
  const paused = each.state === "paused";
  const isOk = each.state === "live" || paused;
  return h("tr", {},
    h("td", {}, cameraName(name)), h("td", {}, each.gate ?? "–"),
    h("td", { class: isOk ? "" : "warn" }, words(each.state)),
    h("td", {}, each.since_s === null ? "" : duration(each.since_s)),
    h("td", {}, decimal(each.processed_fps, 1)),
    h("td", {}, mayChange ? h("button", { class: "quiet",
      onclick: () => put(`/fleet/cameras/${encodeURIComponent(name)}`, { paused: !paused }, paused ? t("{name} resumed.", { name }) : t("{name} paused.", { name })) },
      paused ? t("Resume {name}", { name }) : t("Pause {name}", { name })) : null));
}

/** @param {FleetOut} fleet */
function page(fleet) {
  const nodes = Object.entries(fleet.gates), cameras = Object.entries(fleet.cameras);
  return [
    h("section", { class: "card" }, h("h2", {}, t("Nodes of {fleet}: {n}", { fleet: fleet.fleet, n: nodes.length })),
      nodes.length ? table(["node", "host", "cameras", "capacity", "load", "last seen", "", ""], nodes.map((each) => node(each, fleet.config)), NUMBERS)
        : h("p", { class: "bad" }, t("No node is running: no camera is processed."))),
    h("section", { class: "card" }, h("h2", {}, fleet.config ? t("Cameras: {n}, configuration {revision}", { n: cameras.length, revision: fleet.config }) : t("Cameras: {n}, no configuration yet", { n: cameras.length })),
      cameras.length ? table(["camera", "node", "state", "for", "fps", ""], cameras.map(camera), NUMBERS)
        : h("p", {}, t("Publish a configuration with 'facegate fleet apply CONFIG'."))),
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
