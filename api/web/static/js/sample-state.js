// What the browser of images shows, as it stands in the address and as the API is asked for it.
//
// {split, label, …: filters as they are typed, view, sort, order, start, image: number or null,
//  picked: numbers of the picked images, only: whether nothing but these is shown}
const FILTERS = ["split", "label", "group", "flipped", "correct_before", "correct_after"];
export const PLAIN = { sort: "index", order: "asc", min_before: "", max_before: "", min: "", max: "", start: "" };
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
export const MOST_PICKED = 500; // as many as the API lets be named

// `views`: those that can be shown, the usual one first.
export function fromAddress(views, search = window.location.search) {
  const given = new URLSearchParams(search);
  const state = {};
  for (const name of FILTERS) state[name] = given.get(name) ?? "";
  for (const [name, plain] of Object.entries(PLAIN)) state[name] = given.get(name) ?? plain;
  state.view = views.includes(given.get("view")) ? given.get("view") : views[0];
  state.image = /^\d+$/.test(given.get("image") ?? "") ? Number(given.get("image")) : null;
  state.picked = numbers(given.get("picked") ?? "");
  state.only = given.get("only") === "1" && state.picked.length > 0;
  return state;
}

export function address(views, state) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (state[name]) query.set(name, state[name]);
  for (const [name, plain] of Object.entries(PLAIN)) if (state[name] && state[name] !== plain) query.set(name, state[name]);
  if (state.view !== views[0]) query.set("view", state.view);
  if (state.picked.length) query.set("picked", state.picked.join(","));
  if (state.only) query.set("only", "1");
  if (state.image !== null) query.set("image", state.image);
  // A comma may stand in a query as it is (RFC 3986, section 3.4); of 500 numbers it would be a kilobyte more.
  return query.size ? `?${query.toString().replaceAll("%2C", ",")}` : window.location.pathname;
}

export function apiQuery(state) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (state[name]) query.set(name, state[name]);
  for (const [name, asked] of Object.entries(CONFIDENCES)) if (state[name] !== "") query.set(asked, Number(state[name]) / 100);
  query.set("sort", state.sort);
  query.set("order", state.order);
  if (state.start !== "") query.set("start", Number(state.start) * (UNITS[state.sort]?.[1] ?? 1));
  if (state.only) query.set("indices", state.picked.join(","));
  return query;
}

export function numbers(text) {
  const found = text.split(",").filter((part) => /^\d{1,9}$/.test(part)).map(Number);
  return [...new Set(found)].slice(0, MOST_PICKED).sort((a, b) => a - b);
}
