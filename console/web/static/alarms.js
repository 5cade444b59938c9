// @ts-check
// Alarms: what is wrong, since when, and what was.

import { api, attempt, cameraName, duration, fill, get, h, mayChange, show, t, table, watchHealth, when, words } from "./app.js";

/** @import { AlarmOut, AlarmsOut } from "../api.d.ts" */

const LIMIT = 50;
const list = h("div", {});
const more = h("button", { class: "quiet", hidden: true, onclick: () => attempt(older) }, t("Older alarms"));
/** @type {number | null} */
let next = null;

/** @param {AlarmOut} alarm */
const subject = (alarm) => (alarm.kind === "file" ? t("damaged file")
  : `${words(alarm.kind)} ${alarm.kind === "camera" ? cameraName(alarm.subject) : words(alarm.subject)}`.trim());

/** @param {AlarmOut} alarm */
const current = (alarm) => h("tr", { "data-alarm": alarm.id },
  h("td", {}, h("b", {}, subject(alarm))),
  h("td", {}, h("span", { class: "bad" }, alarm.problem), h("div", { class: "note" }, alarm.remedy)),
  h("td", {}, when(alarm.since)),
  h("td", {}, mayChange ? h("button", {
    class: "quiet", "aria-label": t("Dismiss: {alarm}", { alarm: subject(alarm) }),
    onclick: async () => { await attempt(() => api("DELETE", `/alarms/${alarm.id}`), t("Dismissed.")); await load(); },
  }, t("Dismiss")) : null));

/** @param {AlarmOut} alarm */
const ended = (alarm) => h("tr", { "data-alarm": alarm.id },
  h("td", {}, subject(alarm)), h("td", {}, alarm.problem), h("td", {}, when(alarm.since)),
  h("td", {}, alarm.ended === null ? t("open") : duration(alarm.ended - alarm.since)));

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
      : h("p", { class: "empty" }, t("No alarms. Cameras, processes, disk, gallery and clock are checked all the time."))),
    h("h2", {}, t("Past alarms")),
    h("section", { class: "card past" }, rows.length
      ? table(["what", "problem", "began", "lasted"], rows, ["lasted"]) : h("p", { class: "empty" }, t("None yet.")), more),
  ];
});

show(list);
await load();
watchHealth(load);
