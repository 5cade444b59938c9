// @ts-check
// How everything is doing: processes, where time goes, what waits, the balance of all faces, and what was said.

import { alarm, api, attempt, bytes, get, h, hear, mayChange, show, watchHealth, when, words } from "./app.js";

/** @import { HealthOut, Process } from "../api.d.ts" */

const EVERY_MS = 2000;

/**
 * @param {Process} each
 * @param {boolean} fine
 */
function process(each, fine) {
  return h("tr", {},
    h("td", {}, each.name),
    h("td", {}, each.running ? h("span", { class: "good" }, "runs") : h("span", { class: fine ? "soft" : "bad" }, fine ? "nothing to do" : "is being started again")),
    h("td", {}, each.since ? `since ${when(each.since)}` : ""),
    h("td", { class: "n" }, `${Math.max(0, each.starts - 1)} restarts`),
    h("td", { class: "note" }, !each.running && each.last_words ? each.last_words : ""));
}

/**
 * @param {Record<string, number>} parts
 * @param {(n: number) => string} unit
 */
function bars(parts, unit) {
  const total = Object.values(parts).reduce((sum, n) => sum + n, 0) || 1;
  return h("div", { class: "bars" }, Object.entries(parts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]).flatMap(([name, n]) => [
    h("span", {}, words(name)), h("meter", { min: 0, max: 1, value: n / total, "aria-label": words(name) }),
    h("span", { class: "note" }, `${unit(n)} · ${((100 * n) / total).toFixed(1)} %`)]));
}

/** @param {any} report */
function delivery(report) {
  const places = Object.entries({ recognition: report.delivery, ...report.delivery.others });
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["to", "given", "delivered", "waiting", "again", "lost"].map((text, i) => h("th", { class: i ? "n" : "" }, text)))),
    h("tbody", {}, places.map(([name, each]) => h("tr", {}, h("td", {}, name.split("/").at(-1)),
      ["accepted", "acknowledged", "undelivered", "redelivered", "dropped"].map((key) => h("td", { class: "n" }, each[key])))))));
}

async function look() {
  /** @type {HealthOut | null} */
  const health = await get("/health").catch(() => { alarm("no connection"); return null; });
  if (!health) return;
  const report = health.report;
  /** @type {Record<string, number>} */
  const cost = report ? Object.fromEntries(Object.entries(report.cost).filter(([key]) => key.endsWith("_s")).map(([key, n]) => [key.slice(0, -2), n])) : {};
  show(
    health.notices.length ? h("section", { class: "card" },
      h("h2", { class: "bad" }, "A file was damaged"),
      health.notices.map((line) => h("p", {}, line)),
      h("p", { class: "note" }, "This is shown until the damaged file's note (.txt) is removed from the folder.")) : null,
    health.config_changed ? h("section", { class: "card" },
      h("h2", { class: "warn" }, "The configuration was changed by hand"),
      health.config_problem ? h("p", { class: "bad" }, `It cannot be used: ${health.config_problem}`)
        : h("p", {}, "What runs is still what was there before."),
      mayChange && !health.config_problem ? h("button", { onclick: () => attempt(() => api("POST", "/config/load"), "Taken over.").then(look) }, "Take it over") : null) : null,
    h("section", { class: "card scroll" }, h("h2", {}, "Processes"), h("table", {}, h("tbody", {},
      process(health.gate, health.gate_finished || health.gate.starts === 0), process(health.worker, false)))),
    report ? h("div", { class: "grid" },
      h("section", { class: "card" }, h("h2", {}, `What became of ${report.observed} faces`), bars(report.outcomes, (n) => String(n))),
      h("section", { class: "card" }, h("h2", {}, `Where ${report.cost.cores.toFixed(2)} cores go`), bars(cost, (n) => `${n.toFixed(1)} s`))) : null,
    report ? h("section", { class: "card" }, h("h2", {}, "Delivery"), delivery(report)) : null,
    h("section", { class: "card" }, h("h2", {}, "Kept"),
      h("p", {}, `${health.stored.visits} visits and ${health.stored.shots} shots in ${bytes(health.disk.store)}, recordings ${bytes(health.disk.recordings)}; ${bytes(health.disk.free)} are free.`)),
    h("section", { class: "card scroll" }, h("h2", {}, "What was said"),
      health.lines.length ? h("table", {}, h("tbody", {}, [...health.lines].reverse().slice(0, 60).map((line) => h("tr", {},
        h("td", { class: "note" }, when(line.at)), h("td", {}, line.process),
        h("td", { class: line.level === "warning" ? "warn" : "bad" }, line.level),
        h("td", {}, line.event, " ", h("span", { class: "note" }, Object.entries(line.details).map(([key, value]) => `${key}=${value}`).join(" ")))))))
        : h("p", { class: "note" }, "No warnings.")));
}

await look();
watchHealth();
hear("line", look, look);
setInterval(() => { if (!document.hidden) look(); }, EVERY_MS);
