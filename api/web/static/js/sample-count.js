// How many images fit, and what there is to say where none is shown.

// `total`: as the API counts, null where it cannot (by confidence), undefined while it is asked.
export function countText(total, grid, state) {
  if (grid.state === "failed" && !grid.items.length) return "";
  const begun = state.start !== "";
  if (typeof total === "number") return images(total) + (begun ? ", shown from there on" : "");
  if (grid.state === "end") return images(grid.items.length) + (begun ? " from there on" : "");
  if (total === undefined || !grid.items.length) return "…";
  return `At least ${images(grid.items.length)}` + (begun ? " from there on" : "");
}

export function noteText(total, grid, state) {
  if (grid.state === "failed") {
    return `${grid.items.length ? "The next images" : "The images"} could not be fetched. ${grid.failure}`;
  }
  if (grid.state !== "end" || grid.items.length) return "";
  if (state.start !== "" && total !== 0) return "Nothing comes after that value. Clear “Begin at”.";
  return "No image fits these filters. Clear one of them.";
}

function images(count) {
  return `${count.toLocaleString("en")} image${count === 1 ? "" : "s"}`;
}
