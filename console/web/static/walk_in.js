// @ts-check
// Walk-in enrollment: somebody in front of a camera is asked to look here and there.

import { api, at, attempt, cameraName, dialog, get, h, notify, t } from "./app.js";

/** @import { CamerasOut, WalkInOut } from "../api.d.ts" */
/** @typedef {"front" | "left" | "right"} Pose */

const EVERY_MS = 700;
const POSES = /** @type {Pose[]} */ (["front", "left", "right"]);

/**
 * What the person should do next.
 * @param {Pose[]} wanted
 */
const order = (wanted) => (wanted.includes("front") ? t("Look into the camera.") : wanted.length === 2 ? t("Turn the head to one side.") : t("Now turn it to the other side."));

/**
 * Why the last picture was not taken.
 * @param {WalkInOut} found
 * @param {Pose[]} wanted
 */
function hint(found, wanted) {
  if (found.state === "nobody") return t("Nobody is in the picture.");
  if (found.state === "several") return t("Several people are in the picture: one at a time.");
  if (found.state === "poor") return found.advice ? t(found.advice) : t("poor, cause unknown");
  if (found.state === "refused") return found.faults.map((fault) => `${fault.reason}; ${fault.remedy}`).join(" ");
  return found.state === "pose" && !wanted.includes("front") ? t("A little further: about half to the side.") : "";
}

/**
 * Ask for a name and a camera, then enroll one picture of each pose.
 * @param {() => unknown} done called when pictures were added
 */
export async function walkInDialog(done) {
  /** @type {CamerasOut | undefined} */
  const found = await attempt(() => get("/cameras"));
  if (!found) return;
  const cameras = found.cameras.filter((camera) => camera.enabled);
  let running = false;
  let added = 0;
  const box = dialog(t("Enroll at a camera"), () => {
    if (!cameras.length) return h("p", { class: "empty" }, t("No cameras yet."));
    const camera = h("select", { name: "camera" }, cameras.map((each) => h("option", { value: each.name }, cameraName(each.name))));
    const name = h("input", { name: "name", required: true, maxlength: 100, autocomplete: "off", pattern: ".*\\S.*" });
    const start = h("button", {}, t("Start"));
    const what = h("p", { class: "order", role: "status" });
    const why = h("p", { class: "warn", role: "status" });
    const picture = h("img", { class: "mirror", alt: t("Picture of the camera"), hidden: true });
    const list = h("ul", {}, POSES.map((pose) => h("li", { "data-pose": pose }, t(pose))));
    const stop = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => { running = false; } }, t("Stop"));
    const run = async () => {
      /** @type {Pose[]} */
      let wanted = [...POSES];
      running = true;
      start.disabled = true;
      stop.hidden = false;
      why.textContent = t("The first picture takes a moment …");
      while (running && wanted.length) {
        what.textContent = order(wanted);
        picture.src = at(`api/v1/cameras/${encodeURIComponent(camera.value)}/snapshot.jpg?side=480&at=${Date.now()}`);
        picture.hidden = false;
        const poses = wanted.includes("front") ? ["front"] : wanted;
        const [taken] = await Promise.all([
          attempt(() => /** @type {Promise<WalkInOut>} */ (api("POST", `/people/${encodeURIComponent(name.value.trim())}/camera`, { camera: camera.value, poses }))),
          new Promise((next) => setTimeout(next, EVERY_MS)),
        ]);
        if (!taken) break;
        why.textContent = hint(taken, wanted);
        if (taken.state !== "added") continue;
        added++;
        const pose = taken.pose;
        wanted = wanted.filter((each) => each !== pose);
        list.querySelector(`[data-pose=${pose}]`)?.classList.add("good");
      }
      running = false;
      start.disabled = false;
      stop.hidden = true;
      what.textContent = wanted.length ? "" : t("Done: {name} is enrolled with three pictures.", { name: name.value.trim() });
      if (!wanted.length) why.textContent = "";
    };
    return h("form", { onsubmit: (event) => { event.preventDefault(); run(); } },
      h("div", { class: "row" }, h("label", {}, t("Name"), name), h("label", {}, t("Camera"), camera), start, stop),
      what, why, picture, list);
  });
  box.addEventListener("close", () => {
    running = false;
    if (added) { notify(t("Enrolled from a camera.")); done(); }
  });
}
