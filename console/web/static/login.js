// @ts-check
import { ApiError, at, byId, t, values } from "./app.js";

const form = /** @type {HTMLFormElement} */ (byId("login"));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = byId("refused");
  refused.textContent = "";
  const { name, password } = values(form);
  try {
    const response = await fetch(at("api/v1/session"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, password }),
    });
    if (!response.ok) throw new ApiError(await response.json(), response.status);
    const next = new URL(at(new URLSearchParams(location.search).get("next") ?? "live"));
    location.assign(next.origin === location.origin ? next : at("live"));
  } catch (error) {
    refused.textContent = error instanceof ApiError ? `${error.message}: ${error.problem.remedy}` : t("No connection");
  }
});
