// Feeds the threshold picker of a job's page from the job's own result.json, which the browser keeps.
import { startPicker } from "./thresholds.js";

const root = document.querySelector("[data-thresholds]");
const job = document.getElementById("job-live")?.dataset.job;
if (root && job) {
  const answer = await fetch(`/v1/jobs/${job}/artifacts/result.json`);
  if (answer.ok) startPicker(root, (await answer.json()).selective);
}
