// The submit form: checked by the server while it is filled in, each problem beside its field.
import { duration } from "./amounts.js";
import { csrfHeaders } from "./csrf.js";

const WAIT_MS = 300;
const form = document.querySelector("[data-job-form]");
let timer = 0;
let asked = 0;
const touched = new Set();

if (form) {
  if (form.elements.dataset.value) check();
  form.addEventListener("input", (event) => {
    if (event.target.name) touched.add(placeOf(event.target));
    clearTimeout(timer);
    timer = setTimeout(check, WAIT_MS);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "config") check();
  });
  let sent = null;
  form.addEventListener("submit", () => {
    // Whoever comes back to the page by the browser's history and changes something wants another job, not the same.
    const filled = filledIn();
    if (sent !== null && sent !== filled) form.elements.idempotency_key.value = freshKey();
    sent = filled;
    form.querySelector("[type=submit]").disabled = true;
  });
  window.addEventListener("pageshow", () => {
    form.querySelector("[type=submit]").disabled = false;
  });
}

function filledIn() {
  const fields = new FormData(form);
  fields.delete("idempotency_key");
  return new URLSearchParams(fields).toString();
}

// `crypto.randomUUID` is there only with TLS, or on the machine itself.
function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

function placeOf(element) {
  return element.name.replace(/^config\./, "");
}

async function check() {
  const mine = ++asked;
  clearTimeout(timer);
  let answer;
  try {
    answer = await fetch("/jobs/check", {
      method: "POST",
      headers: { "HX-Request": "true", ...csrfHeaders() }, // whoever is logged out is told so, not led to the login
      body: new URLSearchParams(new FormData(form)),
    });
  } catch {
    if (mine === asked) tell("Not checked: the server cannot be reached.");
    return;
  }
  const found = await answer.json().catch(() => ({}));
  if (mine !== asked) return; // a newer question is on its way
  if (!answer.ok) {
    tell(`Not checked: ${refusal(answer, found)}`);
    return;
  }
  const { problems, warnings, estimate } = found;
  show(problems);
  const open = problems.length;
  if (open) tell(`${open} ${open === 1 ? "thing" : "things"} to put right.`, "error");
  else tell(`Ready to submit. ${estimate}`);
  const advice = form.querySelector("[data-advice]");
  advice.hidden = !warnings.length;
  advice.replaceChildren(...warnings.map(paragraph));
}

function tell(text, kind = "muted") {
  const state = form.querySelector("[data-check-state]");
  state.textContent = text;
  state.className = kind;
}

// Why the server did not check, and what to do about it. After too many requests it is asked again by itself.
function refusal(answer, problem) {
  if (answer.status === 401) return "you are logged out. Load the page again to log in.";
  if (problem.code === "csrf_failed") return "this page is too old. Load it again.";
  if (answer.status === 429) {
    const seconds = Math.max(Number(answer.headers.get("Retry-After")) || 1, 1);
    timer = setTimeout(check, 1000 * seconds);
    return `too many requests. Checked again in ${duration(seconds)}.`;
  }
  return problem.detail ?? `the server answered ${answer.status}.`;
}

function show(problems) {
  form.querySelector("[data-form-problem]").hidden = !problems.some((each) => !each.place);
  form.querySelector("[data-at-limit]").hidden = !problems.some((each) => each.at_limit);
  for (const slot of form.querySelectorAll("[data-error]")) {
    const place = slot.dataset.error;
    const problem = problems.find((each) => each.place === place);
    // What was not filled in yet is no mistake yet.
    const early = problem && place === "dataset" && !touched.has(place) && !form.elements.dataset.value;
    slot.textContent = problem && !early ? problem.detail : "";
    const control = slot.id && form.querySelector(`[aria-describedby~="${slot.id}"]`);
    if (control) control.setAttribute("aria-invalid", String(Boolean(slot.textContent)));
    if (slot.textContent) slot.closest("details")?.setAttribute("open", "");
  }
}
