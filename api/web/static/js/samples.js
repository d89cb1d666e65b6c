// The saliency browser: what is asked for stands in the address, the grid shows it, the dialog shows one image.
import { apiQuery, fromAddress, toAddress, UNITS } from "./sample-state.js";
import { SampleDialog } from "./sample-dialog.js";
import { Picks } from "./sample-picks.js";
import { tile } from "./sample-tile.js";
import { VirtualGrid } from "./virtual-grid.js";
import { toast } from "./toast.js";

const PAGE = 200;

const place = document.getElementById("sample-grid");
if (place) start();

function start() {
  const form = document.getElementById("sample-filters");
  const views = document.getElementById("sample-views");
  const count = document.getElementById("sample-count");
  const note = document.getElementById("sample-note");
  const job = place.dataset.job;
  const classes = JSON.parse(place.dataset.classes);
  const base = `/v1/jobs/${job}/samples`;
  let state = fromAddress();
  let run = 0; // answers to an earlier question are thrown away
  let next = null;

  const picks = new Picks(document.getElementById("sample-picked"), {
    job,
    base,
    changed(listChanges) {
      for (const box of place.querySelectorAll("[data-pick]")) box.checked = picks.has(Number(box.dataset.pick));
      dialog.showPick();
      if (listChanges) ask();
    },
  });
  const grid = new VirtualGrid(place, {
    make: (sample, element) => tile(sample, element, state.view, classes, picks.has(sample.index)),
    more: fetchMore,
  });
  const dialog = new SampleDialog(document.getElementById("sample-dialog"), {
    base,
    classes,
    picks,
    neighbour,
    changed(index) {
      state.image = index;
      toAddress(state, { replace: true });
    },
    closed(index) {
      state.image = null;
      toAddress(state, { replace: true });
      grid.focus((sample) => sample.index === index);
    },
  });

  async function fetchMore() {
    const asked = run;
    const query = apiQuery(state, picks.wanted);
    query.set("limit", PAGE);
    if (next !== null) query.set("after", next);
    const page = await get(`${base}?${query}`);
    if (asked !== run || page === null) return null;
    next = page.next;
    return { items: page.data, more: page.has_more };
  }

  // The image before or after one, also where the grid has not come yet.
  async function neighbour(index, step) {
    const query = apiQuery(state, picks.wanted);
    query.set("limit", 1);
    query.set("after", index);
    query.delete("start");
    if (step < 0) query.set("order", state.order === "desc" ? "asc" : "desc");
    return (await get(`${base}?${query}`))?.data[0] ?? null;
  }

  async function ask() {
    const asked = ++run;
    next = null;
    note.hidden = true;
    for (const link of document.querySelectorAll("[data-export]")) {
      const query = apiQuery(state, picks.wanted);
      query.set("format", link.dataset.export);
      link.href = `${base}/export?${query}`;
    }
    count.textContent = "…";
    await grid.restart();
    const counted = await get(`${base}/total?${countQuery()}`);
    if (asked !== run || counted === null) return;
    const shown = counted.total === null ? (grid.done ? grid.items.length : null) : counted.total;
    count.textContent = shown === null ? "Counted as you scroll" : `${shown.toLocaleString("en")} image${shown === 1 ? "" : "s"}`;
    if (state.start !== "" && shown !== null) count.textContent += ", shown from there on";
    if (grid.done && !grid.items.length) {
      note.textContent = state.start !== "" && shown ? "Nothing comes after that value. Clear “Begin at”." : "No image fits these filters. Clear one of them.";
      note.hidden = false;
    }
  }

  function countQuery() {
    const query = apiQuery(state, picks.wanted);
    for (const name of ["sort", "order", "start"]) query.delete(name);
    return query;
  }

  function fill() {
    for (const element of form.elements) {
      if (element.name) element.value = state[element.name] ?? "";
    }
    const chosen = views.querySelector(`input[value="${state.view}"]`);
    if (chosen) chosen.checked = true;
    place.dataset.view = state.view;
    form.querySelector("[data-start-unit]").textContent = UNITS[state.sort]?.[0] ?? "";
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    const sorted = state.sort;
    for (const element of form.elements) {
      if (element.name) state[element.name] = element.value;
    }
    if (state.sort !== sorted) state.start = ""; // it means nothing in another order
    fill();
    toAddress(state);
    ask();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state = { ...fromAddress(""), view: state.view };
    fill();
    toAddress(state);
    ask();
  });
  views.addEventListener("change", (event) => look(event.target.value));
  function look(view) {
    state.view = view;
    fill();
    toAddress(state, { replace: true });
    grid.redraw();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.isOpen) return;
    if (event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea")) return;
    const cell = event.target.closest(".cell");
    if (event.key === "x" && cell) picks.toggle(Number(cell.querySelector("[data-pick]").dataset.pick));
    const inputs = [...views.querySelectorAll("input")];
    const input = inputs[Number(event.key) - 1];
    if (input) look(input.value);
  });
  place.addEventListener("click", (event) => {
    const button = event.target.closest("[data-index]");
    if (button) open(Number(button.dataset.index));
  });
  place.addEventListener("change", (event) => {
    if (event.target.dataset.pick) picks.toggle(Number(event.target.dataset.pick));
  });
  function open(index) {
    state.image = index;
    toAddress(state, { replace: true });
    dialog.show(index);
  }
  window.addEventListener("popstate", () => {
    state = fromAddress();
    fill();
    ask();
    if (state.image !== null) dialog.show(state.image);
    else dialog.close();
  });

  fill();
  if (place.dataset.pictures === "mask" && state.view !== "mask") look("mask");
  ask();
  if (state.image !== null) dialog.show(state.image);
}

async function get(address) {
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      window.location.reload(); // the login leads back here
      return null;
    }
    const body = await answer.json();
    if (answer.ok) return body;
    const fields = (body.errors ?? []).map((error) => error.detail).join(" ");
    toast(`${body.detail} ${fields}`, "bad");
  } catch {
    toast("The server cannot be reached.", "bad");
  }
  return null;
}
