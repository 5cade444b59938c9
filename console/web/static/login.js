// @ts-check
import { Refused, byId, values } from "./app.js";

const form = /** @type {HTMLFormElement} */ (byId("login"));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = byId("refused");
  refused.textContent = "";
  const { name, password } = values(form);
  try {
    const answer = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, password }),
    });
    if (!answer.ok) throw new Refused(await answer.json(), answer.status);
    location.assign("/live");
  } catch (error) {
    refused.textContent = error instanceof Refused ? `${error.message}: ${error.problem.remedy}` : "no connection";
  }
});
