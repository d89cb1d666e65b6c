// What the browser of images shows, as it stands in the address and as the API is asked for it.
const FILTERS = ["split", "label", "group", "flipped", "correct_before", "correct_after"];
const PLAIN = { view: "original", sort: "index", order: "asc", min: "", max: "" };

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

export function apiQuery(state) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (state[name]) query.set(name, state[name]);
  if (state.min !== "") query.set("min_confidence", Number(state.min) / 100);
  if (state.max !== "") query.set("max_confidence", Number(state.max) / 100);
  query.set("sort", state.sort);
  query.set("order", state.order);
  return query;
}
