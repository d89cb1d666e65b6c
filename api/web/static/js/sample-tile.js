// One image in the grid, and the addresses of its pictures.
const SIDE = 192; // pixels fetched for a tile

export const VIEWS = {
  original: [["original", "before"]],
  before: [["heatmap", "before"]],
  mask: [["mask", "before"]],
  masked: [["masked", "before"]],
  after: [["heatmap", "after"]],
};
VIEWS.all = Object.values(VIEWS).flat();

export function picture(sample, view, model = "before", side = null) {
  const query = new URLSearchParams({ view });
  if (view === "heatmap" || view === "map") query.set("model", model);
  if (side !== null && Math.max(sample.width, sample.height) > side) query.set("max_side", side);
  return `${sample.image_url}?${query}`;
}

export function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}

export function className(classes, label) {
  return classes[label] ?? `class ${label}`;
}

export function inWords(sample, classes) {
  const said = (label, sure) => `${className(classes, label)} at ${percent(sure)}`;
  return (
    `Image ${sample.index}, ${className(classes, sample.label)}: before ${said(sample.predicted_before, sample.confidence_before)}, ` +
    `after ${said(sample.predicted_after, sample.confidence_after)}`
  );
}

export function tile(sample, element, view, classes, picked) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile";
  button.dataset.index = sample.index;
  const told = document.createElement("span"); // what the short line below abbreviates
  told.className = "sr";
  told.textContent = inWords(sample, classes) + (sample.flipped ? `, ${sample.flipped}` : "");
  const pictures = document.createElement("span");
  pictures.className = "pictures";
  const line = document.createElement("span");
  line.className = "said";
  line.setAttribute("aria-hidden", "true");
  line.append(
    changed(sample),
    ` ${className(classes, sample.predicted_after)} ${Math.round(100 * sample.confidence_after)} %`,
  );
  button.append(told, pictures, line);
  const pick = document.createElement("input");
  pick.type = "checkbox";
  pick.className = "pick-box";
  pick.checked = picked;
  pick.dataset.pick = sample.index;
  pick.setAttribute("aria-label", `Pick image ${sample.index}`);
  element.replaceChildren(button, pick);
  showPictures(sample, element, view);
}

// Right or wrong before and after; in one word where they differ. Below the picture: a shortcut is often in a corner of it.
function changed(sample) {
  const mark = (right) => (right ? "✓" : "✗");
  if (!sample.flipped) return `${mark(sample.correct_before)} → ${mark(sample.correct_after)}`;
  const badge = document.createElement("span");
  badge.className = `flip ${sample.flipped}`;
  badge.textContent = sample.flipped;
  return badge;
}

// Only the pictures change with the view: the button that they are in may have the focus.
export function showPictures(sample, element, view) {
  const images = VIEWS[view].map(([kind, model]) => {
    const image = document.createElement("img");
    image.alt = "";
    image.loading = "lazy";
    image.decoding = "async";
    image.className = Math.max(sample.width, sample.height) < 100 ? "pixels" : "";
    image.src = picture(sample, kind, model, SIDE);
    return image;
  });
  element.querySelector(".pictures").replaceChildren(...images);
}
