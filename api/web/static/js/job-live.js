// A job's page while the job runs. Events come by server-sent events; each numbered one means that the server's own
// picture changed, so that part of the page is fetched again. Progress between them is put in directly.
//
// No event ends the following: a failed job may have been resumed while this page heard nothing. What ends it is the
// status in the server's picture; the page is then loaded again, as one of a job that is over.
//
// After a lost connection the browser comes back by itself with Last-Event-ID. Where it gives up, because the server
// answered with an error, the stream is opened anew after the last event that arrived. A page that nobody sees lets the
// stream go: over HTTP/1.1 a browser opens six connections to a server, and six such tabs would block the whole site.
import { duration } from "./amounts.js";
import { refreshTimes } from "./times.js";

const GAP_MS = 700; // between two refreshes, however fast events come
const RETRY_MS = 3_000;
const SPREAD_MS = 300; // many pages of one job shall not ask at the very same moment
const QUEUE_MS = 15_000; // what moves a waiting job up are other jobs' events, which do not come here
const UNSEEN_MS = 10_000; // how long a page that is not seen keeps its stream
const LOST_MS = 1_500; // a stream that is back so soon was not worth a word

const place = document.getElementById("job-live");
const OVER = ["succeeded", "failed", "cancelled"];
if (place && !OVER.includes(place.dataset.status)) follow();
scrollLog();

function follow() {
  const job = place.dataset.job;
  let seen = Number(place.querySelector("[data-seq]").dataset.seq);
  let status = place.dataset.status;
  let source = null;
  let retry = 0;
  let losing = 0;
  let leaving = 0;
  let refreshing = null;
  let again = false;

  if (isSeen()) connect();
  setInterval(tick, 1000);
  setInterval(() => status === "queued" && isSeen() && refresh(), QUEUE_MS);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (!isSeen()) {
      leaving = setTimeout(disconnect, UNSEEN_MS);
      return;
    }
    if (source === null || source.readyState === EventSource.CLOSED) connect();
    refresh();
  });

  function connect() {
    disconnect();
    const stream = new EventSource(`/v1/jobs/${job}/events?after=${seen}`);
    source = stream;
    stream.onopen = () => {
      clearTimeout(losing);
      tell("");
      refresh();
    };
    stream.onerror = () => {
      clearTimeout(losing);
      losing = setTimeout(() => tell("connection lost, trying again …"), LOST_MS);
      if (stream.readyState !== EventSource.CLOSED) return; // it comes back by itself
      retry = setTimeout(connect, RETRY_MS);
      refresh(); // the job may be over
    };
    stream.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
    for (const type of place.dataset.types.split(" ")) {
      stream.addEventListener(type, (event) => {
        seen = Math.max(seen, Number(event.lastEventId));
        refresh();
      });
    }
  }

  function disconnect() {
    clearTimeout(retry);
    clearTimeout(losing);
    source?.close();
    source = null;
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
      // Logged out, or the job was deleted: the page itself says so.
      if (answer.status === 401 || answer.status === 404) return window.location.reload();
      if (!answer.ok) return undefined;
      text = await answer.text();
    } catch {
      return undefined; // the stream's own message stands
    }
    put(text);
    const now = place.querySelector("[data-now]").dataset.now;
    // What can be done with the job, and what it found, stand outside of this part.
    if (now !== status) {
      status = now;
      window.location.reload();
    }
    return undefined;
  }

  function tell(text) {
    write("[data-connection]", text);
  }
}

function isSeen() {
  return document.visibilityState === "visible";
}

// Only what differs is changed, so that the focus, a selection and the place in the log stay.
function put(text) {
  const log = place.querySelector("[data-log]");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  window.Idiomorph.morph(place, text, {
    morphStyle: "innerHTML",
    callbacks: { beforeNodeMorphed: (old) => !old.dataset || !("connection" in old.dataset) },
  });
  if (atEnd) scrollLog();
  refreshTimes();
}

function progress(snapshot) {
  const step = place.querySelector("li.now");
  const here =
    step && step.dataset.stage === snapshot.stage && step.dataset.iteration === String(snapshot.iteration ?? 0);
  if (here) {
    const done = (Math.max(snapshot.epoch ?? 1, 1) - 1 + (snapshot.step ?? 0) / (snapshot.steps || 1)) / (snapshot.epochs || 1);
    step.querySelector("[data-fraction]").value = Math.min(done, 1);
  }
  write("[data-epoch]", snapshot.epoch ? `${snapshot.epoch} of ${snapshot.epochs}` : "–");
  write("[data-step]", snapshot.steps ? `${whole(snapshot.step)} of ${whole(snapshot.steps)}` : "–");
  write("[data-loss]", snapshot.loss == null ? "–" : snapshot.loss.toFixed(4));
  write("[data-rate]", snapshot.images_per_second ? `${whole(snapshot.images_per_second)} images/s` : "–");
}

function tick() {
  for (const element of place.querySelectorAll("[data-since]")) {
    element.textContent = duration(Math.max(0, (Date.now() - new Date(element.dataset.since)) / 1000));
  }
}

function write(selector, text) {
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
