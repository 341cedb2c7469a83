// Looks again at a page that is live, and a few keys. Everything works without it.
"use strict";

const main = document.querySelector("main");
const busy = (part) => part.contains(document.activeElement) || String(getSelection()).length > 0;

async function look() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const now = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (now && !busy(part) && now.innerHTML !== part.innerHTML) part.innerHTML = now.innerHTML;
  }
  main.dataset.live = fresh.querySelector("main").dataset.live || "10";
}

async function follow() {
  if (!document.hidden) {
    try {
      await look();
      document.body.classList.remove("lost");
    } catch {
      document.body.classList.add("lost");
    }
  }
  setTimeout(follow, 1000 * Number(main.dataset.live));
}

if (main && main.dataset.live) setTimeout(follow, 1000 * Number(main.dataset.live));

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const find = document.getElementById("find");
    if (find) {
      event.preventDefault();
      find.focus();
    }
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

// A choice from a list needs no button.
for (const list of document.querySelectorAll(".filters select")) {
  list.addEventListener("change", () => list.form.requestSubmit());
}
