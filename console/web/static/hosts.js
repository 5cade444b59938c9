// @ts-check
// Hosts: state and cameras of every console, and the visits of all.

import { at, clock, day, duration, failed, get, h, plural, show, t, table, watchHealth, words } from "./app.js";

/** @import { HostOut, HostVisitOut, HostVisitsOut } from "../api.d.ts" */

const EVERY_MS = 3000;
const LIMIT = 30;
const list = h("section", { class: "card" }, h("p", {}, t("Loading …")));
const visits = h("ul", { class: "faces", "aria-label": t("Visits") });
const status = h("div", { class: "empty", role: "status" });
const more = h("button", { class: "quiet", hidden: true, onclick: () => load(next) }, t("Older visits"));
/** @type {string | null} */
let next = null;

/** Address below a host's console. @param {string} host @param {string} path */
const on = (host, path) => at(host ? `hosts/${encodeURIComponent(host)}/${path}` : path);
/** @param {string} host */
const called = (host) => host || t("this host");

/** @param {HostOut} host */
function row(host) {
  const live = host.cameras.filter(({ state }) => state === "live").length;
  const others = host.cameras.filter(({ state }) => !["live", "paused"].includes(state));
  return h("tr", {},
    h("td", {}, h("a", { href: on(host.name, "live") }, called(host.name))),
    h("td", { class: host.ok ? "good" : "bad" }, host.ok ? t("answers") : host.problem),
    h("td", {}, host.ok ? `${live} / ${host.cameras.length}` : ""),
    h("td", { class: others.length ? "warn" : "" }, others.map(({ label, state }) => `${label}: ${words(state)}`).join(", ")),
    h("td", { class: host.alarms ? "bad" : "" }, host.ok ? h("a", { href: on(host.name, "alarms") }, String(host.alarms)) : ""));
}

/** @param {HostVisitOut} found */
function item({ host, visit }) {
  const name = visit.name ?? (visit.unknown_id === null ? t("unknown") : t("Unknown {n}", { n: visit.unknown_id }));
  const path = `visits/${visit.visit.split("/").map(encodeURIComponent).join("/")}`;
  return h("li", {}, h("a", { class: "face", href: on(host, path), "aria-label": `${name}, ${called(host)}, ${visit.camera}` },
    h("img", { src: visit.best ? on(host, `api/v1/shots/${visit.best}/crop.jpg`) : at("static/icon.svg"), alt: "", loading: "lazy" }),
    h("span", { class: "text" },
      h("b", { class: visit.name ? "good" : "" }, name),
      h("span", { class: "soft" }, `${called(host)} · ${visit.camera}`), h("br"),
      h("span", { class: "soft" }, `${day(visit.first)} ${clock(visit.first)}, ${duration(visit.last - visit.first)}`))));
}

let asked = 0;
/** @param {string | null} after */
async function load(after = null) {
  const mine = ++asked;
  try {
    /** @type {HostVisitsOut} */
    const found = await get(`/hosts/visits?${new URLSearchParams({ limit: String(LIMIT), ...(after ? { after } : {}) })}`);
    if (mine !== asked) return;
    if (after === null) visits.replaceChildren();
    visits.append(...found.visits.map(item));
    next = found.next;
    more.hidden = next === null || !found.visits.length;
    const away = Object.values(found.away);
    status.replaceChildren(...(away.length ? [h("p", { class: "warn" }, plural(away.length, "Visits of {n} host are missing: {reasons}", "Visits of {n} hosts are missing: {reasons}", { reasons: away.join("; ") }))] : []),
      ...(visits.children.length ? [] : [t("No visits yet.")]));
  } catch (error) {
    if (mine === asked) status.replaceChildren(failed(error, () => load(after)));
  }
}

let paged = false;
more.addEventListener("click", () => { paged = true; });
async function refresh() {
  try {
    /** @type {HostOut[]} */
    const hosts = await get("/hosts");
    list.replaceChildren(table(["host", "state", "cameras live", "cameras with problems", "alarms"], hosts.map(row), ["cameras live", "alarms"]));
  } catch (error) {
    list.replaceChildren(failed(error, refresh));
  }
  if (!paged) await load();
  setTimeout(refresh, EVERY_MS);
}

show(list, h("h2", {}, t("Visits of all hosts")), status, visits, more);
watchHealth();
await refresh();
