// Jobs picked to be compared, whatever the list shows. Kept for this tenant as long as the browser's tab is open.
import { toast } from "./toast.js";

const MOST = 2;
const HINTS = ["Pick two jobs to compare them.", "Pick one more to compare it with.", ""];
const BOXES = "input[name=job][form=compare]";
const form = document.querySelector("[data-picks]");

if (form) {
  const key = `picked-jobs:${form.dataset.picks}`;
  let picked = stored(key); // the job's id → its name and seed

  const check = () => {
    for (const box of document.querySelectorAll(BOXES)) box.checked = picked.has(box.value);
  };

  const show = () => {
    check();
    const list = form.querySelector("[data-picks-list]");
    list.hidden = !picked.size;
    list.replaceChildren(...[...picked].map(([id, told]) => chip(id, told)));
    form.querySelector("[data-picks-hint]").textContent = HINTS[picked.size];
  };

  const change = (id, told) => {
    if (told === null) picked.delete(id);
    else if (picked.size < MOST) picked.set(id, told);
    else toast(`Only ${MOST} jobs can be compared: take one away first.`, "bad");
    store(key, picked);
    show();
  };

  document.addEventListener("change", ({ target }) => {
    if (target.matches(BOXES)) change(target.value, target.checked ? target.dataset.told : null);
  });
  form.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-drop]");
    if (!button) return;
    change(button.dataset.drop, null);
    (form.querySelector("[data-drop]") ?? form.querySelector("[type=submit]")).focus();
  });
  // Those that the filters leave out have no box that would be sent.
  form.addEventListener("formdata", ({ formData }) => {
    formData.delete("job");
    for (const id of picked.keys()) formData.append("job", id);
  });
  document.addEventListener("htmx:afterSwap", check);
  // Browsers restore boxes as they were, which is not always how they are meant to be.
  window.addEventListener("pageshow", () => {
    picked = stored(key);
    show();
  });
}

function chip(id, told) {
  const item = document.createElement("li");
  const text = document.createElement("span");
  text.textContent = told;
  text.title = told;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain icon";
  button.dataset.drop = id;
  button.textContent = "✕";
  button.setAttribute("aria-label", `Take ${told} away`);
  item.append(text, button);
  return item;
}

function stored(key) {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(key)));
  } catch {
    return new Map(); // Storage may be switched off; then they are kept until the page is left.
  }
}

function store(key, picked) {
  try {
    sessionStorage.setItem(key, JSON.stringify([...picked]));
  } catch {
    // As above.
  }
}
