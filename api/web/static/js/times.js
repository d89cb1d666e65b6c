// Relative times, as `api/web/formats.py` writes them.
const STEPS = [
  [60, "s"],
  [60, "min"],
  [24, "h"],
  [Infinity, "d"],
];

export function ago(moment, now = Date.now()) {
  const seconds = (now - moment.getTime()) / 1000;
  if (Math.abs(seconds) < 10) return seconds >= 0 ? "just now" : "in a moment";
  let amount = Math.abs(seconds);
  let unit = "s";
  for (const [factor, name] of STEPS) {
    unit = name;
    if (amount < factor) break;
    amount /= factor;
  }
  const text = `${Math.floor(amount)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

export function refreshTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const text = ago(new Date(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}
