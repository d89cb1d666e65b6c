// The saliency browser: what is asked for stands in the address, the grid shows it, the dialog shows one image.
import { getJson } from "./problems.js";
import { countText, noteText } from "./sample-count.js";
import { SampleDialog } from "./sample-dialog.js";
import { Picks } from "./sample-picks.js";
import { Place } from "./sample-place.js";
import { address, apiQuery, fromAddress, PLAIN, UNITS } from "./sample-state.js";
import { showPictures, tile } from "./sample-tile.js";
import { VirtualGrid } from "./virtual-grid.js";

const PAGE = 200;
const MOST = 500; // as many as the API gives at once

const grid_ = document.getElementById("sample-grid");
if (grid_) start(grid_);

function start(element) {
  const form = document.getElementById("sample-filters");
  const views = document.getElementById("sample-views");
  const count = document.getElementById("sample-count");
  const note = document.getElementById("sample-note");
  const again = document.getElementById("sample-again");
  const bar = document.getElementById("sample-picked");
  const toBar = document.getElementById("to-picked");
  const job = element.dataset.job;
  const classes = JSON.parse(element.dataset.classes);
  const known = [...views.querySelectorAll("input")].map((input) => input.value);
  const base = `/v1/jobs/${job}/samples`;
  let state = fromAddress(known);
  let run = 0; // answers to an earlier question are thrown away
  let total;

  const grid = new VirtualGrid(element, {
    make: (sample, cell) => tile(sample, cell, state.view, classes, picks.has(sample.index)),
    more: fetchMore,
    changed: tell,
    above: [document.querySelector("header.bar"), document.querySelector(".views")],
    below: [bar],
  });
  const place = new Place(grid);
  const picks = new Picks(bar, {
    job,
    base,
    given: state.picked,
    only: state.only,
    fromElsewhere: place.fromElsewhere,
    changed(listChanges) {
      for (const box of element.querySelectorAll("[data-pick]")) box.checked = picks.has(Number(box.dataset.pick));
      dialog.showPick();
      // The last one was forgotten, and the bar goes, with the focus in it.
      if (bar.hidden && bar.contains(document.activeElement)) views.querySelector("input:checked").focus();
      takePicks();
      if (listChanges) leave();
      else place.keep(address(known, state));
    },
  });
  const dialog = new SampleDialog(document.getElementById("sample-dialog"), {
    base,
    classes,
    picks,
    neighbour,
    changed: name,
    closed(index) {
      name(null);
      grid.focus((sample) => sample.index === index);
    },
  });

  async function fetchMore(after, wanted) {
    const query = apiQuery(state);
    query.set("limit", Math.min(MOST, Math.max(PAGE, wanted)));
    if (after !== null) query.set("after", after);
    const page = await getJson(`${base}?${query}`);
    return { items: page.data, next: page.has_more ? page.next : null };
  }

  // The image before or after one, also where the grid has not come yet.
  async function neighbour(index, step) {
    const query = apiQuery(state);
    query.set("limit", 1);
    query.set("after", index);
    query.delete("start");
    if (step < 0) query.set("order", state.order === "desc" ? "asc" : "desc");
    return (await getJson(`${base}?${query}`)).data[0] ?? null;
  }

  // Show the list that `state` asks for, from item `first` on.
  async function ask(first = null) {
    const asked = ++run;
    total = undefined;
    for (const link of document.querySelectorAll("[data-export]")) {
      const query = apiQuery(state);
      query.set("format", link.dataset.export);
      link.href = `${base}/export?${query}`;
    }
    grid.restart(first);
    tell();
    const query = apiQuery(state);
    for (const unused of ["sort", "order", "start"]) query.delete(unused);
    let counted = null;
    try {
      counted = (await getJson(`${base}/total?${query}`)).total;
    } catch {
      // The list itself is asked for at the same time, and says what is wrong.
    }
    if (asked !== run) return;
    total = counted;
    // What comes before "begin at" is counted, and not in the list.
    grid.setTotal(state.start === "" ? total : null);
    tell();
  }

  function tell() {
    write(count, countText(total, grid, state));
    write(note, noteText(total, grid, state));
    again.hidden = grid.state !== "failed";
  }

  function fill() {
    for (const field of form.elements) {
      if (field.name) field.value = state[field.name] ?? "";
    }
    views.querySelector(`input[value="${state.view}"]`).checked = true;
    element.dataset.view = state.view;
    form.querySelector("[data-start-unit]").textContent = UNITS[state.sort]?.[0] ?? "";
  }

  function takePicks() {
    state.picked = picks.sorted();
    state.only = picks.only;
    toBar.hidden = bar.hidden;
  }

  // Another list, under an address of its own.
  function leave() {
    fill();
    place.leave(address(known, state));
    ask();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    const sorted = state.sort;
    for (const field of form.elements) {
      if (field.name) state[field.name] = field.value || PLAIN[field.name] || "";
    }
    if (state.sort !== sorted) state.start = ""; // it means nothing in another order
    leave();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state = { ...fromAddress(known, ""), view: state.view };
    takePicks();
    leave();
  });
  again.addEventListener("click", async () => {
    const before = grid.items.length;
    await grid.retry();
    if (grid.state === "failed") again.focus();
    else grid.bring(before);
  });

  views.addEventListener("change", (event) => look(event.target.value));
  function look(view) {
    state.view = view;
    fill();
    grid.redraw((sample, cell) => showPictures(sample, cell, view));
    place.keep(address(known, state));
  }
  // A single key acts only while the focus is on what it acts on (WCAG 2.1.4): on the views, or on an image.
  for (const part of [views, element]) {
    part.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const box = event.target.closest(".cell")?.querySelector("[data-pick]");
      if (event.key === "x" && box) picks.toggle(Number(box.dataset.pick));
      const view = /^[1-9]$/.test(event.key) ? known[Number(event.key) - 1] : undefined;
      if (view === undefined) return;
      look(view);
      if (part === views) views.querySelector("input:checked").focus();
    });
  }
  toBar.addEventListener("click", (event) => {
    event.preventDefault(); // an address with a fragment would be another entry in the history
    bar.focus();
  });

  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-index]");
    if (button) open(Number(button.dataset.index));
  });
  element.addEventListener("change", (event) => {
    if (event.target.dataset.pick) picks.toggle(Number(event.target.dataset.pick));
  });
  function open(index) {
    name(index);
    dialog.show(index);
  }
  function name(index) {
    state.image = index;
    place.keep(address(known, state));
  }

  window.addEventListener("popstate", () => {
    const here = window.location.search || window.location.pathname;
    if (here === address(known, state)) return; // only a fragment came or went
    const first = place.arrive();
    state = fromAddress(known);
    picks.setOnly(state.only);
    takePicks(); // they outlive the filters, so they outlive Back too
    fill();
    ask(first);
    if (state.image !== null) dialog.show(state.image);
    else dialog.close();
  });

  takePicks();
  fill();
  ask(place.arrive());
  place.keep(address(known, state));
  if (state.image !== null) dialog.show(state.image);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
