// Small and without a build step. Pages work without it where they can.
"use strict";

// The server shows times in this zone from the next page on (emailplatform.zones).
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  document.cookie = `zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
}

// Deeds that cannot be undone ask first: <form data-confirm="What will happen.">, or its button.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
  }
});

// <button data-copy="#id"> puts that element's text on the clipboard.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  navigator.clipboard.writeText(source.textContent.trim()).then(() => {
    button.textContent = "Copied";
  });
});

// <label class="ui-drop"> around a file input: drop a file, see its name, know early what is too big.
const megabytes = (bytes) => Math.ceil(bytes / 1048576).toLocaleString("en") + " MB";
const showFile = (drop) => {
  const file = drop.querySelector("input").files[0];
  const line = drop.querySelector("[data-chosen]");
  const most = Number(drop.dataset.most);
  const tooBig = file && most && file.size > most;
  line.textContent = !file ? "" : tooBig
    ? `${file.name} has ${megabytes(file.size)}; at most ${megabytes(most)} can be read at once. Split it into smaller files.`
    : `${file.name}, ${megabytes(file.size)}`;
  line.classList.toggle("ui-error", Boolean(tooBig));
};
document.addEventListener("DOMContentLoaded", () => {
  for (const input of document.querySelectorAll(".ui-drop input")) {
    input.hasChangeListener = true; // unfold would look for a text field beside it and fail
  }
});
document.addEventListener("change", (event) => {
  const drop = event.target.closest(".ui-drop");
  if (drop) showFile(drop);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    const drop = event.target.closest && event.target.closest(".ui-drop");
    if (!drop) return;
    event.preventDefault();
    drop.classList.toggle("ui-over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) {
      drop.querySelector("input").files = event.dataTransfer.files;
      showFile(drop);
    }
  });
}
