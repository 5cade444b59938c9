// @ts-check
// Health: processes, outcomes, CPU time, delivery, storage, warnings.

import { api, attempt, content, decimal, fill, get, h, mayChange, plural, subscribe, t, table, usage, watchHealth, when, words } from "./app.js";

/** @import { HealthOut, ProcessOut } from "../api.d.ts" */

const EVERY_MS = 2000;

/**
 * @param {ProcessOut} each
 * @param {boolean} isIdle
 */
function process(each, isIdle) {
  return h("tr", {},
    h("td", {}, words(each.name)),
    h("td", {}, each.running ? h("span", { class: "good" }, t("running")) : h("span", { class: isIdle ? "soft" : "bad" }, isIdle ? t("idle") : t("restarting"))),
    h("td", {}, each.since ? t("since {time}", { time: when(each.since) }) : ""),
    h("td", { class: "n" }, plural(Math.max(0, each.starts - 1), "{n} restart", "{n} restarts")),
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
    h("span", { class: "note" }, `${unit(n)} · ${decimal((100 * n) / total, 1)} %`)]));
}

/** @param {any} report */
function delivery(report) {
  const outputs = Object.entries({ recognition: report.delivery, ...report.delivery.outputs });
  const counts = ["accepted", "delivered", "pending", "redelivered", "dropped"];
  return table(["output", ...counts], outputs.map(([name, each]) => h("tr", {}, h("td", {}, name === "recognition" ? t(name) : name.split("/").at(-1)),
    ["accepted", "acknowledged", "undelivered", "redelivered", "dropped"].map((key) => h("td", {}, each[key])))), counts);
}

/** @param {HealthOut} health */
function page(health) {
  const report = health.report;
  /** @type {Record<string, number>} */
  const cost = report ? Object.fromEntries(Object.entries(report.cost).filter(([key]) => key.endsWith("_s")).map(([key, n]) => [key.slice(0, -2), n])) : {};
  return [
    health.notices.length ? h("section", { class: "card" },
      h("h2", { class: "bad" }, t("Damaged files")),
      health.notices.map((line) => h("p", {}, line)),
      h("p", { class: "note" }, t("To dismiss the notice of a replaced file, delete the note (.txt) beside the damaged file."))) : null,
    health.config_changed ? h("section", { class: "card" },
      h("h2", { class: "warn" }, t("Configuration file edited by hand")),
      health.config_problem ? h("p", { class: "bad" }, t("It is invalid: {config_problem}", { config_problem: health.config_problem }))
        : h("p", {}, t("The previous configuration is still running.")),
      mayChange && !health.config_problem ? h("button", { onclick: () => attempt(() => api("POST", "/config/load"), t("Configuration loaded.")).then(refresh) }, t("Load configuration")) : null) : null,
    h("section", { class: "card scroll" }, h("h2", {}, t("Processes")), h("table", {}, h("tbody", {},
      process(health.gate, health.gate_finished || health.gate.starts === 0), process(health.worker, false)))),
    report ? h("div", { class: "grid" },
      h("section", { class: "card" }, h("h2", {}, t("{n} faces by outcome", { n: report.observed })), bars(report.outcomes, (n) => String(n))),
      h("section", { class: "card" }, h("h2", {}, t("CPU time by stage ({n} cores)", { n: decimal(report.cost.cores, 2) })), bars(cost, (n) => `${decimal(n, 1)} s`))) : null,
    report ? h("section", { class: "card" }, h("h2", {}, t("Delivery")), delivery(report)) : null,
    h("section", { class: "card" }, h("h2", {}, t("Storage")),
      "visits" in health.stored ? h("p", {}, t("{visits} visits and {shots} shots.", health.stored)) : h("p", { class: "bad" }, t("Visits and shots cannot be read.")),
      h("p", {}, usage(health.disk))),
    h("section", { class: "card scroll" }, h("h2", {}, t("Warnings and errors")),
      health.lines.length ? h("table", {}, h("tbody", {}, [...health.lines].reverse().slice(0, 60).map((line) => h("tr", {},
        h("td", { class: "note" }, when(line.at)), h("td", {}, words(line.process)),
        h("td", { class: line.level === "warning" ? "warn" : "bad" }, words(line.level)),
        h("td", {}, line.event, " ", h("span", { class: "note" }, Object.entries(line.details).map(([key, value]) => `${key}=${value}`).join(" ")))))))
        : h("p", { class: "note" }, t("None."))),
  ];
}

const refresh = () => fill(content, () => get("/health"), page);
await refresh();
watchHealth();
subscribe("line", refresh, refresh);
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
