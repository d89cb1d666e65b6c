// The submit form: checked by the server while it is filled in, each problem beside its field.
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
  form.addEventListener("submit", () => {
    form.querySelector("[type=submit]").disabled = true;
  });
  window.addEventListener("pageshow", () => {
    form.querySelector("[type=submit]").disabled = false;
  });
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
  const state = form.querySelector("[data-check-state]");
  try {
    const answer = await fetch("/jobs/check", {
      method: "POST",
      headers: csrfHeaders(),
      body: new URLSearchParams(new FormData(form)),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    const { problems, warnings, estimate } = await answer.json();
    if (mine !== asked) return; // a newer question is on its way
    show(problems);
    const open = problems.length;
    state.textContent = open ? `${open} ${open === 1 ? "thing" : "things"} to put right.` : `Ready to submit. ${estimate}`;
    state.className = open ? "error" : "muted";
    const advice = form.querySelector("[data-advice]");
    advice.hidden = !warnings.length;
    advice.replaceChildren(...warnings.map(paragraph));
  } catch {
    state.textContent = "Not checked: the server cannot be reached.";
  }
}

function show(problems) {
  form.querySelector("[data-form-problem]").hidden = !problems.some((each) => !each.place);
  form.querySelector("[data-at-limit]").hidden = !problems.some((each) => each.at_limit);
  for (const slot of form.querySelectorAll("[data-error]")) {
    const place = slot.dataset.error;
    const problem = problems.find((each) => each.place === place);
    // What was not filled in yet is no mistake yet.
    const early = problem && place === "dataset" && !touched.has(place);
    slot.textContent = problem && !early ? problem.detail : "";
    const control = slot.id && form.querySelector(`[aria-describedby~="${slot.id}"]`);
    if (control) control.setAttribute("aria-invalid", String(Boolean(slot.textContent)));
    if (slot.textContent) slot.closest("details")?.setAttribute("open", "");
  }
}
