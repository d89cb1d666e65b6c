// Upload forms: choose or drop a file, check the other fields, send the file, then create the thing that it is for.
//
// <form data-upload="/v1/datasets" data-check="/datasets/check" data-page="/datasets/"> with a file input, a name, and
// whatever else the API wants. One of these states:
//   idle      nothing is sent
//   sending, paused, verifying, creating   the fields cannot be changed
//   broken    it cannot go on by itself; what has arrived is kept, and the button goes on from there
import { rate, size } from "./amounts.js";
import { csrfHeaders } from "./csrf.js";
import { getJson, reason, UNREACHABLE } from "./problems.js";
import { Sending } from "./upload-sending.js";

const TOLD_PERCENT = 10; // a step that screen readers are told of; every chunk would be chatter
const MOST_WAIT_MS = 3000; // between two looks at a file that is being verified
const GONE = ["upload_not_found", "upload_expired"];

for (const form of document.querySelectorAll("form[data-upload]")) prepare(form);

function prepare(form) {
  const input = form.querySelector("input[type=file]");
  const drop = input.closest(".drop");
  const area = form.querySelector("[data-progress]");
  const submit = form.querySelector("[type=submit]");
  const pause = area.querySelector("[data-pause]");
  const discard = area.querySelector("[data-abort]");
  const bar = area.querySelector("progress");
  const error = area.querySelector("[data-progress-error]");
  let state = "idle";
  let checking = false;
  let sending = null; // of the chosen file, also when it broke off or is complete
  let lineBroke = false;
  let hadFocus = false; // whether it was on the button or in the area below
  let meter = rate();
  let told = 0;

  function enter(next, problem = "") {
    state = next;
    const busy = state !== "idle" && state !== "broken";
    const isHere = () => document.activeElement === submit || area.contains(document.activeElement);
    hadFocus ||= isHere();
    for (const element of form.querySelectorAll("input, select, button[type=submit]")) element.disabled = busy;
    area.hidden = state === "idle";
    pause.hidden = state !== "sending" && state !== "paused";
    pause.textContent = state === "paused" ? "Go on" : "Pause";
    discard.hidden = state === "creating" || state === "verifying" || !sending?.hasBegun;
    if (state !== "broken") lineBroke = false;
    error.textContent = problem;
    // The focus must not go with what is hidden or disabled; where it went elsewhere meanwhile, it stays.
    if (!hadFocus || !(isHere() || document.activeElement === document.body)) hadFocus = false;
    else if (!busy) submit.focus();
    else if (!pause.hidden) pause.focus();
  }

  function tell(text) {
    area.querySelector("[data-progress-told]").textContent = text;
  }

  function show(sent, total) {
    const percent = total ? (100 * sent) / total : 100;
    bar.value = percent;
    area.querySelector("[data-progress-text]").textContent = meter(sent, total);
    error.textContent = "";
    discard.hidden = false;
    const step = Math.floor(percent / TOLD_PERCENT) * TOLD_PERCENT;
    if (step > told) tell(`${step} % sent`);
    told = Math.max(told, step);
  }

  function makeSending(file) {
    bar.value = 0;
    told = 0;
    const here = new Sending(file, {
      progressed: (sent, total) => sending === here && show(sent, total),
      lost() {
        error.textContent = "The connection was lost; trying again. What has arrived stays.";
      },
      broke(text, isLine) {
        if (sending !== here) return; // it was discarded
        enter("broken", `${text} What has arrived is kept: press “${submit.textContent}” to go on from there.`);
        lineBroke = isLine;
      },
      finished() {
        if (sending !== here) return;
        show(file.size, file.size);
        verify(here);
      },
    });
    return here;
  }

  // A service that stores in S3 reads the file once more when all of it is there.
  async function verify(own) {
    enter("verifying");
    for (let wait = 0; ; wait = Math.min(wait + 500, MOST_WAIT_MS)) {
      let upload;
      try {
        upload = await getJson(own.address);
      } catch (failure) {
        enter("broken", `${failure.message} The file has arrived: “${submit.textContent}” goes on without sending it.`);
        return;
      }
      if (sending !== own) return;
      if (upload.status === "complete") break;
      if (upload.status === "failed") {
        await own.forget();
        sending = null;
        enter("broken", `${upload.error.message} The file has to be sent again.`);
        return;
      }
      area.querySelector("[data-progress-text]").textContent = "All of it is here, and is being verified.";
      if (wait === 0) tell("All of it is here, and is being verified");
      await new Promise((resume) => setTimeout(resume, wait));
    }
    create();
  }

  async function create() {
    enter("creating");
    let answer = null;
    let body = null;
    try {
      answer = await fetch(form.dataset.upload, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...csrfHeaders() },
        body: JSON.stringify({ upload_id: sending.id, ...nested(values(form)) }),
      });
      body = await answer.json();
    } catch {
      // Told below.
    }
    if (answer?.ok && body) {
      await sending.forget();
      state = "idle";
      window.location.assign(form.dataset.page + body.id);
      return;
    }
    const text = answer ? reason(answer.status, body) : UNREACHABLE;
    if (GONE.includes(body?.code)) {
      await sending.forget();
      sending = null;
      enter("broken", `${text} The file has to be sent again.`);
      return;
    }
    enter("broken", `${text} The file has arrived and is kept: “${submit.textContent}” tries again without sending it.`);
    const problems = (body?.errors ?? []).map((each) => ({ place: (each.pointer ?? "").slice(1).replaceAll("/", "."), detail: each.detail }));
    showProblems(form, problems);
  }

  function choose() {
    const file = input.files[0];
    if (!file) return;
    if (sending && sending.file !== file) {
      sending = null; // the other one's upload can be gone on with when it is chosen again
      enter("idle");
    }
    drop.querySelector(".drop-text").textContent = `${file.name}, ${size(file.size)}`;
    if (!form.elements.name.value) form.elements.name.value = file.name.replace(/(\.tar)?\.\w+$/, "").slice(0, 200);
  }

  input.addEventListener("change", choose);
  for (const type of ["dragenter", "dragover"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length || input.disabled) return;
    input.files = event.dataTransfer.files;
    choose();
  });
  // A file dropped beside the field must not replace the page.
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (checking || (state !== "idle" && state !== "broken")) return;
    checking = true;
    const problem = await check(form);
    checking = false;
    if (problem !== null) {
      if (problem) enter("broken", problem);
      return;
    }
    const file = input.files[0];
    if (sending?.file !== file) sending = makeSending(file);
    if (sending.isFinished) {
      verify(sending);
      return;
    }
    meter = rate();
    enter("sending");
    sending.go();
  });
  pause.addEventListener("click", async () => {
    if (state === "paused") {
      meter = rate();
      enter("sending");
      sending.go();
    } else {
      enter("paused");
      tell("Paused");
      await sending.hold();
    }
  });
  discard.addEventListener("click", async () => {
    const dropped = sending;
    sending = null;
    enter("idle");
    await dropped?.discard();
  });
  window.addEventListener("online", async () => {
    if (state !== "sending" && !(state === "broken" && lineBroke)) return;
    enter("sending");
    await sending.hold(); // or its next try would come on top of this one
    sending.go();
  });
  window.addEventListener("beforeunload", (event) => {
    if (state !== "idle" && state !== "broken") event.preventDefault();
  });
}

// By the fields' names; what may be left out and is, is the API's default.
function values(form) {
  const given = {};
  for (const element of form.elements) {
    if (!element.name || element.type === "file") continue;
    if (!element.required && element.value === "") continue;
    given[element.name] = element.type === "number" ? Number(element.value) : element.value;
  }
  return given;
}

// "options.celeba.target" stands for a field inside a field.
function nested(given) {
  const body = {};
  for (const [name, value] of Object.entries(given)) {
    const path = name.split(".");
    const last = path.pop();
    let place = body;
    for (const part of path) place = place[part] ??= {};
    place[last] = value;
  }
  return body;
}

// Before gigabytes are sent: null when the fields are right, a text when nobody can tell, "" when they say what is wrong.
async function check(form) {
  let problems;
  try {
    const answer = await fetch(form.dataset.check, {
      method: "POST",
      headers: csrfHeaders(),
      body: new URLSearchParams(values(form)),
    });
    const body = await answer.json();
    if (!answer.ok) return reason(answer.status, body);
    problems = body.problems;
  } catch {
    return `${UNREACHABLE} Nothing was sent.`;
  }
  const elsewhere = showProblems(form, problems);
  return problems.length ? elsewhere : null;
}

// Beside their fields; returns, as one text, those that belong to none.
function showProblems(form, problems) {
  const places = new Set();
  for (const slot of form.querySelectorAll("[data-error]")) {
    const place = slot.dataset.error;
    const problem = problems.find((each) => each.place === place);
    places.add(place);
    slot.textContent = problem?.detail ?? "";
    form.elements[place].setAttribute("aria-invalid", String(Boolean(problem)));
  }
  const first = form.querySelector("[aria-invalid=true]");
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
  return problems
    .filter(({ place }) => !places.has(place))
    .map(({ detail }) => detail)
    .join(" ");
}
