// @ts-check
// Alarms: what is wrong, since when, and what was.

import { api, attempt, fill, get, h, mayChange, show, table, watchHealth, when } from "./app.js";

/** @import { AlarmOut, AlarmsOut } from "../api.d.ts" */

const LIMIT = 50;
const list = h("div", {});
const more = h("button", { class: "quiet", hidden: true, onclick: () => attempt(older) }, "Older alarms");
/** @type {number | null} */
let next = null;

/** @param {AlarmOut} alarm */
const subject = (alarm) => (alarm.kind === "file" ? "damaged file" : `${alarm.kind} ${alarm.subject}`.trim());

/** @param {number} seconds */
function duration(seconds) {
  const s = Math.round(seconds);
  return s >= 86400 ? `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`
    : s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

/** @param {AlarmOut} alarm */
const current = (alarm) => h("tr", { "data-alarm": alarm.id },
  h("td", {}, h("b", {}, subject(alarm))),
  h("td", {}, h("span", { class: "bad" }, alarm.problem), h("div", { class: "note" }, alarm.remedy)),
  h("td", {}, when(alarm.since)),
  h("td", {}, mayChange ? h("button", {
    class: "quiet", "aria-label": `Dismiss: ${subject(alarm)}`,
    onclick: async () => { await attempt(() => api("DELETE", `/alarms/${alarm.id}`), "Dismissed."); await load(); },
  }, "Dismiss") : null));

/** @param {AlarmOut} alarm */
const ended = (alarm) => h("tr", { "data-alarm": alarm.id },
  h("td", {}, subject(alarm)), h("td", {}, alarm.problem), h("td", {}, when(alarm.since)),
  h("td", {}, alarm.ended === null ? "open" : duration(alarm.ended - alarm.since)));

/** @param {AlarmsOut} page */
function history(page) {
  next = page.next;
  more.hidden = next === null;
  return page.alarms.filter((alarm) => alarm.ended !== null).map(ended);
}

async function older() {
  const rows = history(await get(`/alarms?limit=${LIMIT}&before=${next}`));
  list.querySelector(".past tbody")?.append(...rows);
}

const load = () => fill(list, () => get(`/alarms?limit=${LIMIT}`), (/** @type {AlarmsOut} */ page) => {
  const rows = history(page);
  return [
    h("section", { class: "card" }, page.open.length
      ? table(["what", "problem", "since", ""], page.open.map(current))
      : h("p", { class: "empty" }, "No alarms. Cameras, processes, disk, gallery and clock are checked all the time.")),
    h("h2", {}, "Past alarms"),
    h("section", { class: "card past" }, rows.length
      ? table(["what", "problem", "began", "lasted"], rows, ["lasted"]) : h("p", { class: "empty" }, "None yet."), more),
  ];
});

show(list);
await load();
watchHealth(load);
