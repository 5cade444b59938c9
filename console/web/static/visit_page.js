// @ts-check
// The page of one visit, at an address of its own.

import { byId, h, show, subscribe, watchHealth } from "./app.js";
import { timelineOf, titleOf, visitParts } from "./visit.js";

/** @import { VisitOut } from "../api.d.ts" */

const visit = location.pathname.split("/").slice(-3).map(decodeURIComponent).join("/");

async function load() {
  const timeline = await timelineOf(visit);
  if (!timeline) return show(h("p", { class: "empty" }, "This visit could not be loaded. It may have expired or been erased."));
  byId("heading").textContent = titleOf(timeline);
  show(h("section", { class: "card", "aria-label": "Visit" }, visitParts(timeline, visit, load)));
}

await load();
watchHealth();
subscribe("visit", (/** @type {VisitOut} */ found) => { if (found.visit === visit) load(); }, load);
