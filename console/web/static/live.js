// @ts-check
// Live view: two pictures per second of each visible tile, and up to ten of a single one.

import { ApiError, alarm, at, cameraName, content, decimal, fill, get, h, learnCameraNames, penOf, plural, reasonOf, subscribe, t, watchHealth, words } from "./app.js";
import { POOR, isPoor, visitCard, visitDialog } from "./visit.js";

/** @import { CameraOut, VisitOut, VisitsOut } from "../api.d.ts" */
/** @typedef {{ track_id: number, box: [number, number, number, number], quality: number | null, advice: string, name: string | null }} LiveFace */
/** @typedef {{ camera: string, seq: number, age_s: number | null, width: number, height: number, bytes: number, faces: LiveFace[] }} LiveCamera */
/** @typedef {{ name: string, state: string, problem: string | null, processed_fps: number, observed: number, sent: number }} State */
/**
 * @typedef {{
 *   box: HTMLElement, canvas: HTMLCanvasElement, state: HTMLElement, counts: HTMLElement, problem: HTMLElement,
 *   seq: number, age: number | null, picture?: ImageBitmap,
 * }} Tile
 */

const EVERY_MS = 500;
const SMOOTH_MS = 100; // of one tile; the pictures are those that the gate processes
const LAYOUTS = [1, 4, 9, 16];
const LAYOUT = "facegate-layout"; // in the browser's storage
const KEPT = 12;
/** @type {Map<string, Tile>} */
const tiles = new Map();
/** @type {Set<string>} */
const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const name = /** @type {HTMLElement} */ (entry.target).dataset.name ?? "";
    if (entry.isIntersecting) seen.add(name);
    else seen.delete(name);
  }
});

/** @param {CameraOut} camera */
function tile(camera) {
  const canvas = h("canvas", { width: 640, height: 360, role: "img", "aria-label": t("{camera}: no frame yet", { camera: cameraName(camera.name) }) });
  const state = h("span", { class: `state ${camera.state}` }, words(camera.state));
  const counts = h("span", { class: "note" });
  const problem = h("span", { class: "bad note" }, camera.problem ?? "");
  const shown = cameraName(camera.name);
  const enlargeButton = h("button", { class: "quiet", "aria-label": t("Enlarge {camera}", { camera: shown }), onclick: () => enlarge(camera.name) }, "⤢");
  const box = h("article", { class: "card tile", "data-name": camera.name },
    canvas, h("div", { class: "foot" }, h("b", {}, shown), state, h("span", { class: "grow" }), enlargeButton, counts, problem));
  canvas.addEventListener("click", () => enlarge(camera.name));
  watcher.observe(box);
  tiles.set(camera.name, { box, canvas, state, counts, problem, seq: -1, age: null });
  return box;
}

/** Tiles of the grid beside each other: as many as fit, or a chosen number of tiles on the screen. */
const grid = h("section", { class: "grid", "aria-label": t("Cameras") });
const layout = h("select", { onchange: () => { localStorage.setItem(LAYOUT, layout.value); arrange(); } },
  h("option", { value: "" }, t("as they fit")), LAYOUTS.map((n) => h("option", { value: n }, plural(n, "{n} tile", "{n} tiles"))));
/** Camera of the only tile that is shown, if one was enlarged. */
let single = "";

function arrange() {
  const count = Number(layout.value);
  grid.className = count ? `grid tiles-${count}` : "grid";
  grid.classList.toggle("single", Boolean(single));
  for (const [name, { box }] of tiles) box.hidden = Boolean(single) && name !== single;
  back.hidden = !single;
}

/** @param {string} name of the camera, or the one that is enlarged, or nothing to go back */
function enlarge(name) {
  single = single === name ? "" : name;
  arrange();
  history.replaceState(null, "", single ? `?${new URLSearchParams({ camera: single })}` : location.pathname);
}
const back = h("button", { class: "quiet", hidden: true, onclick: () => enlarge(single) }, t("All cameras"));
addEventListener("keydown", (event) => { if (event.key === "Escape" && single && !document.querySelector("dialog")) enlarge(single); });

/**
 * @param {Tile} mine
 * @param {LiveCamera} shown
 * @param {ImageBitmap | null} picture
 */
function draw(mine, shown, picture) {
  const { canvas } = mine;
  if (picture) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    mine.picture = picture;
  }
  if (!mine.picture) return;
  const pen = penOf(canvas);
  const { width, height } = canvas;
  pen.drawImage(mine.picture, 0, 0);
  pen.font = `600 ${Math.max(11, width / 46)}px system-ui`;
  pen.lineWidth = Math.max(1.5, width / 300);
  for (const face of shown.faces) {
    const [x1, y1, x2, y2] = face.box;
    const color = face.name ? "#35d08f" : "#ffc44d";
    pen.strokeStyle = color;
    pen.strokeRect(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
    const text = `${face.name ?? "#" + face.track_id}${face.quality === null ? "" : " · " + face.quality}`;
    const across = pen.measureText(text).width + 8;
    const tall = Math.max(15, width / 34);
    const top = Math.max(0, y1 * height - tall);
    pen.fillStyle = color;
    pen.fillRect(x1 * width - 1, top, across, tall);
    pen.fillStyle = "#111";
    pen.fillText(text, x1 * width + 3, top + tall * 0.75);
    if (face.advice) {
      const advice = t(face.advice);
      const below = Math.min(height - tall, y2 * height);
      pen.fillStyle = "#111c";
      pen.fillRect(x1 * width - 1, below, pen.measureText(advice).width + 8, tall);
      pen.fillStyle = "#fff";
      pen.fillText(advice, x1 * width + 3, below + tall * 0.75);
    }
  }
  const people = shown.faces.map((face) => face.name ?? t("unknown person"));
  canvas.setAttribute("aria-label", `${cameraName(shown.camera)}: ${people.length ? people.join(", ") : t("nobody")}`);
}

async function refresh() {
  const visible = [...seen].flatMap((name) => { const mine = tiles.get(name); return mine ? [{ name, mine }] : []; });
  if (document.hidden || !visible.length) return;
  const have = visible.map(({ name, mine }) => `${name}:${mine.seq}`).join(",");
  const side = Math.min(visible.length === 1 ? 1280 : 640, Math.max(240, Math.round(visible[0].mine.box.clientWidth * devicePixelRatio)));
  const response = await fetch(at(`api/v1/live?have=${encodeURIComponent(have)}&side=${side}`));
  if (response.status === 401) location.assign(at("login"));
  if (!response.ok) throw new ApiError(await response.json(), response.status);
  const body = await response.arrayBuffer();
  const length = new DataView(body).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length)));
  let offset = 4 + length;
  for (const camera of /** @type {LiveCamera[]} */ (head.cameras)) {
    const mine = tiles.get(camera.camera);
    const jpeg = camera.bytes ? new Blob([new Uint8Array(body, offset, camera.bytes)], { type: "image/jpeg" }) : null;
    offset += camera.bytes;
    if (!mine) continue;
    mine.seq = camera.seq;
    mine.age = camera.age_s;
    draw(mine, camera, jpeg ? await createImageBitmap(jpeg) : null);
  }
}

/** @param {State[]} cameras */
function states(cameras) {
  const names = cameras.map((camera) => camera.name);
  if (names.length !== tiles.size || names.some((name) => !tiles.has(name))) return start();
  for (const camera of cameras) {
    const mine = tiles.get(camera.name);
    if (!mine) continue;
    mine.state.textContent = words(camera.state);
    mine.state.className = `state ${camera.state}`;
    mine.problem.textContent = camera.problem ?? "";
    const age = mine.age === null ? "" : " · " + t("{s} s ago", { s: decimal(mine.age, 1) });
    const rate = !camera.processed_fps ? "" : t("{n} fps", { n: decimal(camera.processed_fps, 1) }) + " · ";
    mine.counts.textContent = `${rate}${t("{faces} faces, {sent} sent", { faces: camera.observed, sent: camera.sent })}${age}`;
  }
}

const latest = h("ul", { class: "faces" });
/** @param {VisitOut} found */
function visit(found) {
  if (isPoor(found)) return;
  const old = latest.querySelector(`[data-visit="${CSS.escape(found.visit)}"]`);
  const item = h("li", { "data-visit": found.visit }, visitCard(found, () => visitDialog(found)));
  if (old) old.replaceWith(item);
  else {
    item.classList.add("fresh");
    latest.prepend(item);
    while (latest.children.length > KEPT) latest.lastElementChild?.remove();
  }
}

const load = () => /** @type {Promise<[{ cameras: CameraOut[] }, VisitsOut]>} */ (
  Promise.all([get("/cameras"), get(`/visits?limit=${KEPT}&min_unknown_quality=${POOR}`)]));

const start = () => fill(content, load, ([{ cameras }, { visits }]) => {
  if (!cameras.length) location.replace(at("cameras"));
  learnCameraNames(cameras);
  tiles.clear();
  seen.clear();
  latest.replaceChildren();
  [...visits].reverse().forEach(visit);
  grid.replaceChildren(...cameras.map(tile));
  if (!tiles.has(single)) single = "";
  arrange();
  return h("div", { class: "split" },
    h("div", {}, h("div", { class: "row tools" }, h("label", { class: "flat" }, t("Layout"), layout), back), grid),
    h("section", { class: "card", "aria-label": t("Recent visits") }, h("h2", {}, t("Recent visits")), latest));
});

layout.value = localStorage.getItem(LAYOUT) ?? "";
single = new URLSearchParams(location.search).get("camera") ?? "";
await start();
watchHealth();
subscribe("visit", visit, start);
subscribe("cameras", states);
subscribe("config", start);
for (;;) {
  const began = performance.now();
  await refresh().then(() => {
    alarm("pictures", "");
  }).catch((error) => {
    alarm("pictures", t("Pictures are not current. {reason}", { reason: reasonOf(error) }));
  });
  const every = seen.size === 1 ? SMOOTH_MS : EVERY_MS;
  await new Promise((done) => setTimeout(done, Math.max(50, every - (performance.now() - began))));
}
