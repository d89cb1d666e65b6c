// Sizes and times as `api/web/formats.py` writes them.
export function size(bytes) {
  let amount = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (amount < 1024) return unit === "B" ? `${amount} B` : `${amount.toFixed(1)} ${unit}`;
    amount /= 1024;
  }
  return `${amount.toFixed(1)} TiB`;
}

export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// "12.0 MiB of 40.0 MiB · 8.1 MiB/s · 3 s left", from how far it was a few seconds ago.
export function rate(windowMs = 4000) {
  const seen = [];
  return (sent, total) => {
    const now = performance.now();
    seen.push([now, sent]);
    while (seen.length > 2 && now - seen[0][0] > windowMs) seen.shift();
    const parts = [`${size(sent)} of ${size(total)}`];
    const [then, before] = seen[0];
    const perSecond = (1000 * (sent - before)) / (now - then || 1);
    if (seen.length > 1 && perSecond > 0 && sent < total) {
      parts.push(`${size(Math.round(perSecond))}/s`, `${duration((total - sent) / perSecond)} left`);
    }
    return parts.join(" · ");
  };
}
