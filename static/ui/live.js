// The live page: asks for the newest events every two seconds, but not while nobody looks.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const rows = document.querySelector("#live-rows");
  const pause = document.querySelector("#live-pause");
  const state = document.querySelector("#live-state");
  const filter = document.querySelector("#live-filter");
  let tag = rows.dataset.tag;
  let paused = false;
  let failures = 0;
  let timer = 0;

  const newest = () => Math.max(0, ...[...rows.querySelectorAll("[data-id]")].map((row) => Number(row.dataset.id)));
  const wait = () => {
    clearTimeout(timer);
    // Whoever cannot be reached is asked less and less often.
    timer = setTimeout(ask, Math.min(2000 * 2 ** failures, 30000));
  };
  const say = (words) => {
    if (state.textContent !== words) state.textContent = words;
  };

  const ask = async () => {
    if (paused || document.visibilityState !== "visible") return;
    const wish = new URLSearchParams(new FormData(filter));
    wish.set("since", newest());
    const asked = filter.elements.type.value + "/" + filter.elements.campaign.value;
    try {
      const answer = await fetch(`${rows.dataset.url}?${wish}`, {
        headers: { "If-None-Match": tag },
        cache: "no-store",
        redirect: "error",
      });
      if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
      const html = answer.ok ? await answer.text() : null;
      if (asked !== filter.elements.type.value + "/" + filter.elements.campaign.value) return ask();
      if (html !== null && !paused) {
        rows.innerHTML = html;
        tag = answer.headers.get("ETag") || "";
      }
      failures = 0;
      if (!paused) say("");
    } catch {
      failures = Math.min(failures + 1, 4);
      say("Not reached. It is tried again.");
    }
    wait();
  };

  const toggle = () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    say(paused ? "Paused: what comes meanwhile is shown when you go on." : "");
    if (!paused) ask();
  };
  pause.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("input, select, textarea, button, a, [contenteditable]")) return;
    event.preventDefault();
    toggle();
  });
  filter.addEventListener("change", () => {
    tag = "";
    const wish = new URLSearchParams(new FormData(filter));
    history.replaceState(null, "", `?${wish}`);
    ask();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") ask();
  });
  wait();
});
