// @ts-check
// A visit: its card in a list, and all decisions about it, in a dialog or on a page of its own.

import { api, at, attempt, cameraName, clock, day, decimal, dialog, duration, get, h, mayChange, notify, plural, t, words } from "./app.js";
import { confirmation } from "./confirm.js";

/** @import { CorrectionOut, FaceOutcomeOut, PersonOut, ShotOut, TimelineOut, VisitOut } from "../api.d.ts" */

/** @type {Record<string, string>} */
const COLORS = { forwarded: "#12915a", shadow: "#8e54c9", superseded: "#4f83cc", below_threshold: "#d04437", not_needed: "#8c959f" };
/** Below this quality nobody can be recognized: unknown faces are shown by choice only, and deleted after a day. */
export const POOR = 20;
/** @param {VisitOut} visit */
export const isPoor = (visit) => visit.name === null && visit.quality < POOR;

/** @param {string} outcome */
const color = (outcome) => COLORS[outcome] ?? "#c98a1b";

/** @param {string} visit */
export const pageOf = (visit) => at(`visits/${visit.split("/").map(encodeURIComponent).join("/")}`);
/** @param {string} name */
export const visitsOf = (name) => at(`visits?${new URLSearchParams({ name })}`);

/**
 * @param {VisitOut} visit
 * @param {() => unknown} act
 */
export function visitCard(visit, act) {
  const who = visit.name ?? (visit.answered ? t("unknown") : t("pending"));
  const similarity = visit.answered && visit.similarity !== null && visit.similarity > 0 ? ` · ${decimal(visit.similarity, 2)}` : "";
  return h("a", {
    class: "face", href: pageOf(visit.visit), "aria-label": `${who}, ${cameraName(visit.camera)}, ${day(visit.first)} ${clock(visit.first)}`,
    onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      act();
    },
  },
    visit.best
      ? h("img", { src: at(`api/v1/shots/${visit.best}/crop.jpg`), alt: "", loading: "lazy" })
      : h("img", { src: at("static/icon.svg"), alt: "" }),
    h("span", { class: "text" },
      h("b", { class: visit.name ? "good" : "" }, who),
      h("span", { class: "soft" }, `${cameraName(visit.camera)} · ${t("quality {n}", { n: visit.quality })}${similarity}`), h("br"),
      h("span", { class: "soft" }, period(visit))));
}

/** @param {{ first: number, last: number }} visit */
function period(visit) {
  const s = Math.round(visit.last - visit.first);
  return [`${day(visit.first)} ${clock(visit.first)}`, s ? duration(s) : ""].filter(Boolean).join(", ");
}

/** @param {TimelineOut} timeline */
function chart(timeline) {
  const [wide, tall, left, right, base] = [760, 190, 34, 8, 24];
  const times = timeline.events.map((face) => face.pts_s);
  const first = Math.min(...times);
  const span = Math.max(Math.max(...times) - first, 0.001);
  /** @param {number} t */
  const x = (t) => left + ((wide - left - right) * (t - first)) / span;
  /** @param {number} q */
  const y = (q) => 8 + (tall - base - 8) * (1 - q / 100);
  /** @type {(SVGElement | SVGElement[])[]} */
  const marks = [0, 50, 100].map((q) => [
    h("line", { x1: left, x2: wide - right, y1: y(q), y2: y(q), stroke: "currentColor", "stroke-opacity": 0.15 }),
    h("text", { x: left - 6, y: y(q) + 4, "text-anchor": "end" }, q),
  ]);
  if (timeline.threshold !== null) {
    const at = y(timeline.threshold);
    marks.push(h("line", { x1: left, x2: wide - right, y1: at, y2: at, stroke: "#d04437", "stroke-dasharray": "4 3" }));
  }
  for (const face of timeline.events) {
    const at = x(face.pts_s);
    const text = `${decimal(face.pts_s - first, 2)} s${face.quality === null ? "" : ", " + t("quality {n}", { n: face.quality })}: ${words(face.outcome)}`;
    if (face.quality === null) {
      marks.push(h("line", { x1: at, x2: at, y1: tall - base, y2: tall - base + 6, stroke: color(face.outcome) }, h("title", {}, text)));
    } else {
      marks.push(h("circle", { cx: at, cy: y(face.quality), r: 3.5, fill: color(face.outcome) }, h("title", {}, text)));
      if (face.shot_id) marks.push(h("circle", { cx: at, cy: y(face.quality), r: 8, fill: "none", stroke: color(face.outcome), "stroke-width": 2 }));
    }
  }
  marks.push(h("text", { x: left, y: tall - 4 }, "0 s"), h("text", { x: wide - right, y: tall - 4, "text-anchor": "end" }, `${decimal(span, 1)} s`));
  return h("svg", { class: "chart", viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": t("Quality of each face over time; rings mark sent shots") }, marks.flat());
}

const WEAK = 40; // a face below this quality makes a weak template
const UNDO_S = 86_400;

/**
 * Who it was: a name for the visit, another one, not this one; and undo.
 * @param {VisitOut} visit
 * @param {ShotOut | undefined} best
 * @param {() => unknown} changed
 */
function actions(visit, best, changed) {
  if (!mayChange) return null;
  const path = `/visits/${visit.visit}/correction`;
  const choices = h("datalist", { id: "people" });
  get("/people").then((/** @type {PersonOut[]} */ people) => choices.append(...people.map((person) => h("option", { value: person.name }))), () => {});
  const name = h("input", { name: "name", required: true, maxlength: 100, list: "people", autocomplete: "off", "aria-label": t("Name") });
  const out = h("div", { role: "status" });
  /** @param {boolean} accept */
  const save = async (accept) => {
    /** @type {CorrectionOut | undefined} */
    const result = await attempt(() => api("POST", path, { name: name.value.trim(), accept }));
    if (!result) return;
    const faults = result.faults.map((fault) => `${fault.kind}: ${fault.reason}; ${fault.remedy}`);
    if (result.visit.corrected !== null && result.visit.corrected !== visit.corrected) {
      notify(result.enrolled ? t("Enrolled as {name}.", { name: result.visit.name }) : `${t("This visit was {name}. The picture was not added.", { name: result.visit.name })} ${faults[0] ?? ""}`);
      name.value = "";
      return changed();
    }
    out.replaceChildren(
      h("p", { class: "warn" }, t("Not enrolled.")),
      ...faults.map((fault) => h("p", { class: "warn" }, fault)),
      h("button", { class: "quiet", onclick: () => save(true) }, t("Enroll anyway")),
    );
  };
  const undo = () => attempt(async () => { await api("DELETE", path); changed(); }, t("Undone."));
  const named = visit.name;
  return h("section", { class: "card", "aria-label": t("Who it was") },
    h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); save(false); } },
      h("label", {}, named ? t("It is somebody else") : t("Enroll this face as"), name), choices,
      h("button", {}, named ? t("Correct") : t("Enroll")),
      named ? h("button", {
        type: "button", class: "quiet",
        onclick: () => attempt(async () => { await api("POST", path, { name: null }); changed(); }, t("This visit was not {named}.", { named })),
      }, t("Not {named}", { named })) : null),
    best && best.quality.value < WEAK
      ? h("p", { class: "warn" }, [t("Quality {n}: recognition from this face alone will be unreliable.", { n: best.quality.value }), best.reasons?.defect ? t("For a better one: {advice}.", { advice: t(best.reasons.advice) }) : t("A sharper, frontal face is better.")].join(" "))
      : null,
    visit.corrected !== null ? h("p", { class: "note" }, t("Corrected {day} {time}.", { day: day(visit.corrected), time: clock(visit.corrected) }), " ",
      Date.now() / 1000 - visit.corrected < UNDO_S ? h("button", { class: "quiet", onclick: undo }, t("Undo the correction")) : null) : null,
    out);
}

/** @param {number} ms */
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * All decisions about a visit, or undefined where it cannot be loaded.
 * @param {string} visit
 * @returns {Promise<TimelineOut | undefined>}
 */
export async function timelineOf(visit) {
  /** @type {TimelineOut | undefined} */
  let timeline = await attempt(() => get(`/visits/${visit}`));
  // A new track is written a second after its first shot.
  for (let tries = 0; timeline && !timeline.events.length && tries < 4 && Date.now() / 1000 - timeline.last < 10; tries++) {
    await pause(700);
    timeline = await attempt(() => get(`/visits/${visit}`));
  }
  return timeline;
}

/**
 * The seconds of video around a visit, and the whole picture of its best shot with the face's box.
 * @param {TimelineOut} timeline
 */
function scene(timeline) {
  const { clip } = timeline;
  const folder = timeline.visit ? `api/v1/visits/${timeline.visit.visit}` : "";
  const video = clip && timeline.visit ? h("figure", { class: "scene" }, h("video", {
    src: `${at(`${folder}/clip.mp4`)}#t=${clip.offset_s}`, controls: true, muted: true, playsinline: true, preload: "metadata",
    "aria-label": t("Video of {camera}, {s} s", { camera: cameraName(timeline.camera), s: Math.round(clip.seconds) }),
    onerror: (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).closest("figure")?.replaceWith(
      h("p", { class: "warn" }, t("This browser does not play {codec}. Use an H.264 stream of the camera.", { codec: clip.codec }), " ", h("a", { href: at(`${folder}/clip.mp4`), download: "clip.mp4" }, t("Download the video")))),
  })) : null;
  return [video, picture(timeline),
    timeline.visit ? h("p", {}, h("a", { href: at(`${folder}/evidence.zip`), download: true }, t("Download as evidence"))) : null];
}

/** @param {TimelineOut} timeline */
function picture(timeline) {
  const shot = timeline.shots.find((each) => each.shot_id === timeline.scene);
  if (!shot) return null;
  const [wide, tall] = shot.frame_size;
  const [x1, y1, x2, y2] = shot.box;
  return h("figure", { class: "scene" },
    h("img", { src: at(`api/v1/shots/${shot.shot_id}/scene.jpg`), alt: t("Whole picture of {camera}", { camera: cameraName(shot.camera) }) }),
    h("svg", { viewBox: `0 0 ${wide} ${tall}`, "aria-hidden": "true" },
      h("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 })));
}

/** @param {TimelineOut} timeline */
export const titleOf = (timeline) =>
  `${timeline.visit?.name ?? (timeline.visit ? t("Unknown") : t("No shots sent"))} · ${cameraName(timeline.camera)}, ${t("track {number}", { number: String(timeline.track_id) })}`;

/** @param {Pick<VisitOut, "visit">} visit */
export async function visitDialog(visit) {
  const timeline = await timelineOf(visit.visit);
  if (!timeline) return;
  const body = h("div", {});
  const render = (/** @type {TimelineOut} */ found) => body.replaceChildren(...visitParts(found, visit.visit, async () => {
    const again = await timelineOf(visit.visit);
    if (again) render(again);
  }));
  render(timeline);
  dialog(titleOf(timeline), () => [h("p", {}, h("a", { href: pageOf(visit.visit) }, t("Page of this visit"))), body]);
}

/**
 * @param {TimelineOut} timeline
 * @param {string} visit
 * @param {() => void} changed
 * @returns {HTMLElement[]}
 */
export function visitParts(timeline, visit, changed) {
  const known = timeline.visit;
  const where = at(`api/v1/visits/${visit}/face.jpg`);
  const detail = h("div", {});
  const best = timeline.shots.find((shot) => shot.shot_id === known?.best) ?? timeline.shots.at(-1);
  /** @param {FaceOutcomeOut} face */
  const heat = (face) => detail.replaceChildren(
    h("div", { class: "strip" }, h("figure", { class: "wide" },
      h("img", { src: `${where}?face_id=${face.face_id}&heat=true`, alt: t("Face and heat map of patch qualities") }),
      h("figcaption", {}, `${face.quality === null ? t("quality not measured") : t("quality {n}", { n: face.quality })}: ${words(face.outcome)}`))));
  const rejected = timeline.events.flatMap((face) => (face.shot_id || face.quality === null ? [] : [{ ...face, quality: face.quality }]));
  const shown = rejected.sort((a, b) => b.quality - a.quality).slice(0, 24);
  return /** @type {HTMLElement[]} */ ([
    h("p", { class: "soft" },
      `${period(timeline)}, ${t("{faces} faces, {sent} sent", { faces: timeline.faces, sent: timeline.shots.length })}. `,
      known?.answered && known.similarity !== null && known.margin !== null && known.similarity > 0 ? t("Similarity {similarity}, {margin} above the runner-up.", { similarity: decimal(known.similarity, 3), margin: decimal(known.margin, 3) }) : "", " ",
      known?.fpir ? t("An unknown visitor reaches this score in one of {n} visits.", { n: Math.round(1 / known.fpir) }) : ""),
    known?.name ? h("p", {}, h("a", { href: visitsOf(known.name) }, t("All visits of {name}", { name: known.name }))) : null,
    known ? h("p", {}, h("a", { href: at(`search?visit=${encodeURIComponent(known.visit)}`) }, t("Find this face in other visits"))) : null,
    ...scene(timeline),
    known?.name ? confirmation(known) : null,
    known ? actions(known, best, changed) : null,
    timeline.events.length ? chart(timeline) : h("p", { class: "note" }, t("The decision history of this visit has expired.")),
    h("p", { class: "note" }, Object.entries(timeline.outcomes).map(([name, n]) => `${words(name)} ${n}`).join(" · ")),
    h("h3", {}, t("Sent shots")),
    h("div", { class: "strip" }, timeline.shots.map((shot) => h("figure", {},
      h("img", { src: at(`api/v1/shots/${shot.shot_id}/crop.jpg`), alt: t("Shot {rank}", { rank: shot.rank }) }),
      h("figcaption", {}, `${shot.quality.value} · ${words(shot.reason)}`,
        shot.reasons?.advice ? [h("br"), h("span", { class: "soft" }, t(shot.reasons.advice))] : "")))),
    h("h3", {}, t("Scored, not sent")),
    shown.length
      ? h("div", { class: "strip" }, shown.map((face) => h("figure", {},
        face.picture ? h("button", { class: "face", "aria-label": t("quality {n}, {outcome}: show heat map", { n: face.quality, outcome: words(face.outcome) }), onclick: () => heat(face) },
          h("img", { src: `${where}?face_id=${face.face_id}`, alt: "", loading: "lazy" })) : null,
        h("figcaption", {}, `${face.quality} · ${words(face.outcome)}`))))
      : h("p", { class: "note" }, t("None.")),
    detail,
  ].filter(Boolean));
}
