// @ts-check
// A visit: its card in a list, and its dialog with all decisions.

import { api, at, attempt, clock, dialog, get, h, mayChange, when, words } from "./app.js";

/** @import { EnrollmentResultOut, FaceOutcomeOut, ShotOut, TimelineOut, VisitOut } from "../api.d.ts" */

/** @type {Record<string, string>} */
const COLORS = { forwarded: "#12915a", shadow: "#8e54c9", superseded: "#4f83cc", below_threshold: "#d04437", not_needed: "#8c959f" };
/** @param {string} outcome */
const color = (outcome) => COLORS[outcome] ?? "#c98a1b";

/**
 * @param {VisitOut} visit
 * @param {() => unknown} act
 */
export function visitCard(visit, act) {
  const label = visit.name ?? (visit.answered ? "unknown" : "pending");
  const similarity = visit.answered && visit.similarity !== null && visit.similarity > 0 ? ` · ${visit.similarity.toFixed(2)}` : "";
  return h("button", { class: "face", onclick: act, "aria-label": `${label}, ${visit.camera}, ${when(visit.last)}` },
    visit.best
      ? h("img", { src: at(`api/v1/shots/${visit.best}/crop.jpg`), alt: "", loading: "lazy" })
      : h("img", { src: at("static/icon.svg"), alt: "" }),
    h("span", { class: "text" },
      h("b", { class: visit.name ? "good" : "" }, label),
      h("span", { class: "soft" }, `${visit.camera} · quality ${visit.quality}${similarity}`), h("br"),
      h("span", { class: "soft" }, period(visit))));
}

/** @param {VisitOut} visit */
function period(visit) {
  const s = Math.round(visit.last - visit.first);
  const long = s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
  return `${when(visit.first)} to ${clock(visit.last)}${s ? `, ${long}` : ""}`;
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
    const text = `${(face.pts_s - first).toFixed(2)} s${face.quality === null ? "" : `, quality ${face.quality}`}: ${words(face.outcome)}`;
    if (face.quality === null) {
      marks.push(h("line", { x1: at, x2: at, y1: tall - base, y2: tall - base + 6, stroke: color(face.outcome) }, h("title", {}, text)));
    } else {
      marks.push(h("circle", { cx: at, cy: y(face.quality), r: 3.5, fill: color(face.outcome) }, h("title", {}, text)));
      if (face.shot_id) marks.push(h("circle", { cx: at, cy: y(face.quality), r: 8, fill: "none", stroke: color(face.outcome), "stroke-width": 2 }));
    }
  }
  marks.push(h("text", { x: left, y: tall - 4 }, "0 s"), h("text", { x: wide - right, y: tall - 4, "text-anchor": "end" }, `${span.toFixed(1)} s`));
  return h("svg", { class: "chart", viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": "Quality of each face over time; rings mark sent shots" }, marks.flat());
}

/**
 * @param {VisitOut | null} visit
 * @param {ShotOut} shot
 * @param {() => void} close
 */
function actions(visit, shot, close) {
  if (!mayChange) return null;
  const name = h("input", { name: "name", required: true, maxlength: 100, value: visit?.name ?? "", "aria-label": "Name" });
  const out = h("div", { role: "status" });
  /** @param {boolean} accept */
  const enroll = async (accept) => {
    /** @type {EnrollmentResultOut | undefined} */
    const result = await attempt(() => api("POST", `/people/${encodeURIComponent(name.value.trim())}/shots`, { shot_id: shot.shot_id, accept }));
    if (!result) return;
    out.replaceChildren(
      h("p", { class: result.added ? "good" : "warn" }, result.added ? `Enrolled as ${name.value.trim()}.` : "Not enrolled."),
      ...result.faults.map((fault) => h("p", { class: "warn" }, `${fault.kind}: ${fault.reason}; ${fault.remedy}`)),
      ...(result.added ? [] : [h("button", { class: "quiet", onclick: () => enroll(true) }, "Enroll anyway")]),
    );
  };
  /** @type {HTMLElement[]} */
  const parts = [h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); enroll(false); } },
    h("label", {}, "Enroll this face as", name), h("button", {}, "Enroll"))];
  const named = visit?.name;
  if (named) {
    parts.push(h("button", {
      class: "quiet",
      onclick: () => attempt(async () => {
        await api("POST", `/people/${encodeURIComponent(named)}/negatives`, { shot_id: shot.shot_id });
        close();
      }, `This face is no longer matched to ${named}.`),
    }, `Not ${named}`));
  }
  return h("div", { class: "card" }, parts, out);
}

/** @param {number} ms */
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** @param {Pick<VisitOut, "visit">} visit */
export async function visitDialog(visit) {
  /** @type {TimelineOut | undefined} */
  let timeline = await attempt(() => get(`/visits/${visit.visit}`));
  // A new track is written a second after its first shot.
  for (let tries = 0; timeline && !timeline.events.length && tries < 4 && Date.now() / 1000 - timeline.last < 10; tries++) {
    await pause(700);
    timeline = await attempt(() => get(`/visits/${visit.visit}`));
  }
  if (!timeline) return;
  const title = `${timeline.visit?.name ?? (timeline.visit ? "Unknown" : "No shots sent")} · ${timeline.camera}, track ${timeline.track_id}`;
  dialog(title, (close) => {
    const known = timeline.visit;
    const where = at(`api/v1/visits/${visit.visit}/face.jpg`);
    const detail = h("div", {});
    const best = timeline.shots.find((shot) => shot.shot_id === known?.best) ?? timeline.shots.at(-1);
    /** @param {FaceOutcomeOut} face */
    const heat = (face) => detail.replaceChildren(
      h("div", { class: "strip" }, h("figure", { class: "wide" },
        h("img", { src: `${where}?face_id=${face.face_id}&heat=true`, alt: "Face and heat map of patch qualities" }),
        h("figcaption", {}, `quality ${face.quality ?? "not measured"}: ${words(face.outcome)}`))));
    const rejected = timeline.events.flatMap((face) => (face.shot_id || face.quality === null ? [] : [{ ...face, quality: face.quality }]));
    const shown = rejected.sort((a, b) => b.quality - a.quality).slice(0, 24);
    return [
      h("p", { class: "soft" },
        `${when(timeline.first)} to ${clock(timeline.last)}, ${timeline.faces} faces, ${timeline.shots.length} sent. `,
        known?.answered && known.similarity !== null && known.margin !== null && known.similarity > 0 ? `Similarity ${known.similarity.toFixed(3)}, ${known.margin.toFixed(3)} above the runner-up` : "",
        known?.fpir ? `; an unknown visitor reaches this score in one of ${Math.round(1 / known.fpir).toLocaleString()} visits.` : ""),
      timeline.events.length ? chart(timeline) : h("p", { class: "note" }, "The decision history of this visit has expired."),
      h("p", { class: "note" }, Object.entries(timeline.outcomes).map(([name, n]) => `${words(name)} ${n}`).join(" · ")),
      h("h3", {}, "Sent shots"),
      h("div", { class: "strip" }, timeline.shots.map((shot) => h("figure", {},
        h("img", { src: at(`api/v1/shots/${shot.shot_id}/crop.jpg`), alt: `Shot ${shot.rank}` }),
        h("figcaption", {}, `${shot.quality.value} · ${words(shot.reason)}`,
          shot.reasons?.advice ? [h("br"), h("span", { class: "soft" }, shot.reasons.advice)] : "")))),
      known ? h("p", {}, h("a", { href: at(`search?visit=${encodeURIComponent(known.visit)}`) }, "Find this face in other visits")) : null,
      best ? actions(known, best, close) : null,
      h("h3", {}, "Scored, not sent"),
      shown.length
        ? h("div", { class: "strip" }, shown.map((face) => h("figure", {},
          face.picture ? h("button", { class: "face", "aria-label": `quality ${face.quality}, ${words(face.outcome)}: show heat map`, onclick: () => heat(face) },
            h("img", { src: `${where}?face_id=${face.face_id}`, alt: "", loading: "lazy" })) : null,
          h("figcaption", {}, `${face.quality} · ${words(face.outcome)}`))))
        : h("p", { class: "note" }, "None."),
      detail,
    ].filter(Boolean);
  });
}
