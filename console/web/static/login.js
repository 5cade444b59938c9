import { Refused } from "./app.js";

const form = document.getElementById("login");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = document.getElementById("refused");
  refused.textContent = "";
  const { name, password } = Object.fromEntries(new FormData(form));
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
