// @ts-check
// The page of one visit, at an address of its own.

import { byId, content, h, show, subscribe, t, watchHealth } from "./app.js";
import { timelineOf, titleOf, visitParts } from "./visit.js";

/** @import { VisitOut } from "../api.d.ts" */

const visit = location.pathname.split("/").slice(-3).map(decodeURIComponent).join("/");

let shown = "";
/** @param {VisitOut | null} found */
const state = (found) => JSON.stringify([found?.name, found?.corrected, found?.ended, found?.shots]);
/** Whether somebody is watching the video or typing: then the page is not drawn again. */
const busy = () => [...content.querySelectorAll("video")].some((video) => !video.paused) || [...content.querySelectorAll("input")].some((input) => input.value);

/** @param {boolean} asked whether the user has asked for it, so that what is typed no longer counts */
async function load(asked = true) {
  const timeline = await timelineOf(visit);
  if (!asked && busy()) return;
  if (!timeline) return show(h("p", { class: "empty" }, t("This visit could not be loaded. It may have expired or been erased.")));
  shown = state(timeline.visit);
  byId("heading").textContent = titleOf(timeline);
  show(h("section", { class: "card", "aria-label": t("Visit") }, visitParts(timeline, visit, () => load())));
}

await load();
watchHealth();
subscribe("visit", (/** @type {VisitOut} */ found) => { if (found.visit === visit && state(found) !== shown && !busy()) load(false); }, () => load(false));
