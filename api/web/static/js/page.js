// On every page: times that stay fresh, messages for what went wrong, confirmation of what cannot be undone, copying.
import "./more.js";
import { reason, UNREACHABLE } from "./problems.js";
import { toast } from "./toast.js";
import { refreshTimes } from "./times.js";

setInterval(refreshTimes, 15_000);

document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  if (answer.status === 401) return; // the login page is on its way
  if (answer.status === 404 && event.target.matches("[data-polls]")) {
    leave(event.target);
    return;
  }
  let problem = null;
  try {
    problem = JSON.parse(answer.responseText);
  } catch {
    // Not a problem document: the status has to do.
  }
  toast(reason(answer.status, problem), "bad");
});
document.addEventListener("htmx:sendError", () => toast(UNREACHABLE, "bad"));

// What was asked about every few seconds has been deleted, perhaps by somebody else.
function leave(element) {
  if (element.matches("tr")) element.remove();
  else window.location.reload(); // the page says that there is no such thing
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    toast("Copied.");
  } catch {
    getSelection().selectAllChildren(source);
  }
});
