// What the browser of images shows, as it stands in the address and as the API is asked for it.
const FILTERS = ["split", "label", "group", "flipped", "correct_before", "correct_after"];
const PLAIN = { view: "original", sort: "index", order: "asc", min_before: "", max_before: "", min: "", max: "", start: "" };
const CONFIDENCES = {
  min_before: "min_confidence_before",
  max_before: "max_confidence_before",
  min: "min_confidence",
  max: "max_confidence",
};
// How "begin at" is written for each order, and what the API has for one of it.
export const UNITS = {
  index: ["number", 1],
  masked_fraction: ["%", 0.01],
  confidence_drop: ["points", 0.01],
  heatmap_distance: ["0 … 1", 1],
};

export function fromAddress(search = window.location.search) {
  const given = new URLSearchParams(search);
  const state = {};
  for (const name of FILTERS) state[name] = given.get(name) ?? "";
  for (const [name, plain] of Object.entries(PLAIN)) state[name] = given.get(name) ?? plain;
  state.image = /^\d+$/.test(given.get("image") ?? "") ? Number(given.get("image")) : null;
  return state;
}

export function toAddress(state, { replace = false } = {}) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (state[name]) query.set(name, state[name]);
  for (const [name, plain] of Object.entries(PLAIN)) if (state[name] && state[name] !== plain) query.set(name, state[name]);
  if (state.image !== null) query.set("image", state.image);
  const address = query.size ? `?${query}` : window.location.pathname;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}

// `picked`: numbers of images to stay with, or null for all.
export function apiQuery(state, picked = null) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (state[name]) query.set(name, state[name]);
  for (const [name, asked] of Object.entries(CONFIDENCES)) if (state[name] !== "") query.set(asked, Number(state[name]) / 100);
  query.set("sort", state.sort);
  query.set("order", state.order);
  if (state.start !== "") query.set("start", Number(state.start) * (UNITS[state.sort]?.[1] ?? 1));
  if (picked !== null) query.set("indices", picked.join(","));
  return query;
}
