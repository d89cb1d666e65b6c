// A job's page while the job runs. Events come by server-sent events; each numbered one means that the server's own
// picture changed, so that part of the page is fetched again. Progress between them is put in directly.
//
// After a lost connection the browser comes back by itself with Last-Event-ID. Where it gives up, because the server
// answered with an error, the stream is opened anew after the last event that arrived.
import { duration } from "./amounts.js";
import { refreshTimes } from "./times.js";

const GAP_MS = 700; // between two refreshes, however fast events come
const RETRY_MS = 3_000;
const SPREAD_MS = 300; // many pages of one job shall not ask at the very same moment

const place = document.getElementById("job-live");
const OVER = ["succeeded", "failed", "cancelled"];
if (place && !OVER.includes(place.dataset.status)) follow();
scrollLog();

function follow() {
  const job = place.dataset.job;
  const lastTypes = place.dataset.lastTypes.split(" ");
  let seen = Number(place.querySelector("[data-seq]").dataset.seq);
  let status = place.dataset.status;
  let source = null;
  let refreshing = null;
  let again = false;

  connect();
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());

  function connect() {
    source = new EventSource(`/v1/jobs/${job}/events?after=${seen}`);
    source.onopen = () => {
      tell("");
      refresh();
    };
    source.onerror = () => {
      tell("connection lost, trying again …");
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(connect, RETRY_MS);
        refresh(); // the job may be over
      }
    };
    source.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
    for (const type of place.dataset.types.split(" ")) {
      source.addEventListener(type, (event) => {
        seen = Math.max(seen, Number(event.lastEventId));
        if (lastTypes.includes(type)) source.close();
        refresh();
      });
    }
  }

  async function refresh() {
    if (refreshing) {
      again = true;
      return;
    }
    refreshing = new Promise((go) => setTimeout(go, Math.random() * SPREAD_MS)).then(load);
    await refreshing;
    setTimeout(() => {
      refreshing = null;
      if (again) {
        again = false;
        refresh();
      }
    }, GAP_MS);
  }

  async function load() {
    let text;
    try {
      const answer = await fetch(`/jobs/${job}/live`, { headers: { "HX-Request": "true" } });
      if (answer.status === 401) return window.location.reload();
      if (!answer.ok) return undefined;
      text = await answer.text();
    } catch {
      return undefined; // the stream's own message stands
    }
    const log = place.querySelector("[data-log]");
    const atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const top = log?.scrollTop ?? 0;
    const focused = document.activeElement?.hasAttribute("data-log");
    place.innerHTML = text;
    const fresh = place.querySelector("[data-log]");
    if (atEnd) scrollLog();
    else fresh.scrollTop = top;
    if (focused) fresh.focus({ preventScroll: true });
    const now = place.querySelector("[data-now]").dataset.now;
    // What can be done with the job, and what it found, stand outside of this part.
    if (now !== status) {
      status = now;
      window.location.reload();
    }
    refreshTimes();
    return undefined;
  }

  function tell(text) {
    const slot = place.querySelector("[data-connection]");
    if (slot && slot.textContent !== text) slot.textContent = text;
  }
}

function progress(snapshot) {
  const step = place.querySelector("li.now");
  const here =
    step && step.dataset.stage === snapshot.stage && step.dataset.iteration === String(snapshot.iteration ?? 0);
  if (here) {
    const done = (Math.max(snapshot.epoch ?? 1, 1) - 1 + (snapshot.step ?? 0) / (snapshot.steps || 1)) / (snapshot.epochs || 1);
    step.querySelector("[data-fraction]").value = Math.min(done, 1);
  }
  put("[data-epoch]", snapshot.epoch ? `${snapshot.epoch} of ${snapshot.epochs}` : "–");
  put("[data-step]", snapshot.steps ? `${whole(snapshot.step)} of ${whole(snapshot.steps)}` : "–");
  put("[data-loss]", snapshot.loss == null ? "–" : snapshot.loss.toFixed(4));
  put("[data-rate]", snapshot.images_per_second ? `${whole(snapshot.images_per_second)} images/s` : "–");
}

function tick() {
  for (const element of place.querySelectorAll("[data-since]")) {
    element.textContent = duration(Math.max(0, (Date.now() - new Date(element.dataset.since)) / 1000));
  }
}

function put(selector, text) {
  const element = place.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

function whole(number) {
  return Math.round(number).toLocaleString("en-US");
}

function scrollLog() {
  const log = document.querySelector("[data-log]");
  if (log) log.scrollTop = log.scrollHeight;
}
