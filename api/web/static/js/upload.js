// Upload forms: choose or drop a file, send it resumably (tus 1.0), then create the thing that it is for.
//
// <form data-upload="/v1/datasets" data-page="/datasets/"> with a file input, a name, and whatever else the API wants.
import { csrfHeaders } from "./csrf.js";
import { rate, size } from "./amounts.js";

const RETRY_MS = [0, 500, 1000, 2000, 4000, 8000, 8000, 8000];

for (const form of document.querySelectorAll("form[data-upload]")) prepare(form);

function prepare(form) {
  const input = form.querySelector("input[type=file]");
  const drop = input.closest(".drop");
  const text = drop.querySelector(".drop-text");
  const area = form.querySelector("[data-progress]");
  const pause = area.querySelector("[data-pause]");
  let upload = null;

  const choose = () => {
    const file = input.files[0];
    if (!file) return;
    text.textContent = `${file.name}, ${size(file.size)}`;
    if (!form.elements.name.value) form.elements.name.value = file.name.replace(/(\.tar)?\.\w+$/, "").slice(0, 200);
  };
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
    if (!event.dataTransfer.files.length || upload) return;
    input.files = event.dataTransfer.files;
    choose();
  });
  // A file dropped beside the field must not replace the page.
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    busy(form, true);
    upload = begin(form, area, () => {
      upload = null;
      busy(form, false);
    });
  });
  pause.addEventListener("click", () => {
    if (pause.dataset.paused) upload?.go();
    else upload?.hold();
    pause.dataset.paused = pause.dataset.paused ? "" : "1";
    pause.textContent = pause.dataset.paused ? "Go on" : "Pause";
  });
  area.querySelector("[data-abort]").addEventListener("click", () => upload?.discard());
  window.addEventListener("online", () => !pause.dataset.paused && upload?.go());
  window.addEventListener("beforeunload", (event) => upload && event.preventDefault());
}

function busy(form, yes) {
  for (const element of form.querySelectorAll("input, select, button[type=submit]")) element.disabled = yes;
}

function begin(form, area, over) {
  const file = form.querySelector("input[type=file]").files[0];
  const bar = area.querySelector("progress");
  const text = area.querySelector("[data-progress-text]");
  const error = area.querySelector("[data-progress-error]");
  const meter = rate();
  area.hidden = false;
  error.textContent = "";

  const upload = new window.tus.Upload(file, {
    endpoint: "/v1/uploads",
    headers: csrfHeaders(),
    metadata: { filename: file.name },
    retryDelays: RETRY_MS,
    removeFingerprintOnSuccess: true,
    onProgress(sent, total) {
      bar.value = total ? (100 * sent) / total : 100;
      text.textContent = meter(sent, total);
      error.textContent = "";
    },
    onShouldRetry(failure) {
      const status = failure.originalResponse?.getStatus() ?? 0;
      if (status >= 400 && status < 500 && status !== 409 && status !== 423) return false;
      error.textContent = "The connection was lost; trying again. What has arrived stays.";
      return true;
    },
    onError(failure) {
      error.textContent = explain(failure);
      over();
    },
    async onSuccess() {
      text.textContent = `${size(file.size)} sent.`;
      try {
        await verified(upload.url, text);
        const answer = await create(form, upload.url.split("/").pop());
        over();
        window.location.assign(form.dataset.page + answer.id);
      } catch (failure) {
        error.textContent = failure.message;
        over();
      }
    },
  });
  const start = async () => {
    const [previous] = await upload.findPreviousUploads();
    if (previous) upload.resumeFromPreviousUpload(previous);
    upload.start();
  };
  start();
  return {
    hold: () => upload.abort(),
    go: () => upload.start(),
    async discard() {
      await upload.abort(true).catch(() => {});
      area.hidden = true;
      over();
    },
  };
}

// A service that stores in S3 reads the file once more when all of it is there.
async function verified(url, text) {
  for (let wait = 0; ; wait = Math.min(wait + 500, 3000)) {
    const answer = await fetch(url);
    const upload = await answer.json();
    if (!answer.ok) throw new Error(upload.detail);
    if (upload.status === "complete") return;
    if (upload.status === "failed") throw new Error(`${upload.error.message} Send the file again.`);
    text.textContent = "All of it is here, and is being verified.";
    await new Promise((resume) => setTimeout(resume, wait));
  }
}

async function create(form, uploadId) {
  const body = { upload_id: uploadId };
  for (const element of form.elements) {
    if (!element.name || element.type === "file") continue;
    if (!element.required && element.value === "") continue; // the API's default
    // "options.celeba.target" stands for a field inside a field.
    const path = element.name.split(".");
    const last = path.pop();
    let place = body;
    for (const part of path) place = place[part] ??= {};
    place[last] = element.type === "number" ? Number(element.value) : element.value;
  }
  const answer = await fetch(form.dataset.upload, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...csrfHeaders() },
    body: JSON.stringify(body),
  });
  const document_ = await answer.json();
  if (answer.ok) return document_;
  const fields = (document_.errors ?? []).map((error) => error.detail).join(" ");
  throw new Error(`${document_.detail} ${fields}`);
}

function explain(failure) {
  try {
    return JSON.parse(failure.originalResponse.getBody()).detail;
  } catch {
    return "The upload broke off. Press the button to go on from where it was.";
  }
}
