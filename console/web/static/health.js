// @ts-check
// Health: processes, outcomes, CPU time, delivery, storage, warnings.

import { api, attempt, bytes, content, fill, get, h, mayChange, subscribe, table, watchHealth, when, words } from "./app.js";

/** @import { HealthOut, ProcessOut } from "../api.d.ts" */

const EVERY_MS = 2000;

/**
 * @param {ProcessOut} each
 * @param {boolean} isIdle
 */
function process(each, isIdle) {
  return h("tr", {},
    h("td", {}, each.name),
    h("td", {}, each.running ? h("span", { class: "good" }, "running") : h("span", { class: isIdle ? "soft" : "bad" }, isIdle ? "idle" : "restarting")),
    h("td", {}, each.since ? `since ${when(each.since)}` : ""),
    h("td", { class: "n" }, `${Math.max(0, each.starts - 1)} restarts`),
    h("td", { class: "note" }, !each.running && each.last_log_lines ? each.last_log_lines : ""));
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
  const outputs = Object.entries({ recognition: report.delivery, ...report.delivery.outputs });
  const counts = ["accepted", "delivered", "pending", "redelivered", "dropped"];
  return table(["output", ...counts], outputs.map(([name, each]) => h("tr", {}, h("td", {}, name.split("/").at(-1)),
    ["accepted", "acknowledged", "undelivered", "redelivered", "dropped"].map((key) => h("td", {}, each[key])))), counts);
}

/** @param {HealthOut} health */
function page(health) {
  const report = health.report;
  /** @type {Record<string, number>} */
  const cost = report ? Object.fromEntries(Object.entries(report.cost).filter(([key]) => key.endsWith("_s")).map(([key, n]) => [key.slice(0, -2), n])) : {};
  return [
    health.notices.length ? h("section", { class: "card" },
      h("h2", { class: "bad" }, "Damaged files"),
      health.notices.map((line) => h("p", {}, line)),
      h("p", { class: "note" }, "To dismiss the notice of a replaced file, delete the note (.txt) beside the damaged file.")) : null,
    health.config_changed ? h("section", { class: "card" },
      h("h2", { class: "warn" }, "Configuration file edited by hand"),
      health.config_problem ? h("p", { class: "bad" }, `It is invalid: ${health.config_problem}`)
        : h("p", {}, "The previous configuration is still running."),
      mayChange && !health.config_problem ? h("button", { onclick: () => attempt(() => api("POST", "/config/load"), "Configuration loaded.").then(refresh) }, "Load configuration") : null) : null,
    h("section", { class: "card scroll" }, h("h2", {}, "Processes"), h("table", {}, h("tbody", {},
      process(health.gate, health.gate_finished || health.gate.starts === 0), process(health.worker, false)))),
    report ? h("div", { class: "grid" },
      h("section", { class: "card" }, h("h2", {}, `${report.observed} faces by outcome`), bars(report.outcomes, (n) => String(n))),
      h("section", { class: "card" }, h("h2", {}, `CPU time by stage (${report.cost.cores.toFixed(2)} cores)`), bars(cost, (n) => `${n.toFixed(1)} s`))) : null,
    report ? h("section", { class: "card" }, h("h2", {}, "Delivery"), delivery(report)) : null,
    h("section", { class: "card" }, h("h2", {}, "Storage"),
      h("p", {}, `${"visits" in health.stored ? `${health.stored.visits} visits and ${health.stored.shots} shots in ` : "Visits and shots cannot be read; "}${bytes(health.disk.store)}, recordings ${bytes(health.disk.recordings)}, ${bytes(health.disk.free)} free.`)),
    h("section", { class: "card scroll" }, h("h2", {}, "Warnings and errors"),
      health.lines.length ? h("table", {}, h("tbody", {}, [...health.lines].reverse().slice(0, 60).map((line) => h("tr", {},
        h("td", { class: "note" }, when(line.at)), h("td", {}, line.process),
        h("td", { class: line.level === "warning" ? "warn" : "bad" }, line.level),
        h("td", {}, line.event, " ", h("span", { class: "note" }, Object.entries(line.details).map(([key, value]) => `${key}=${value}`).join(" ")))))))
        : h("p", { class: "note" }, "None.")),
  ];
}

const refresh = () => fill(content, () => get("/health"), page);
await refresh();
watchHealth();
subscribe("line", refresh, refresh);
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
