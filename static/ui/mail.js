// Previews of mails, charts of reports, numbers that must be typed. Needs no build step.
"use strict";

// <section data-preview data-url data-form>: posts the form as it is typed, shows the mail in a frame.
const startPreview = (box) => {
  const form = document.getElementById(box.dataset.form);
  const find = (name) => box.querySelector(name);
  const frame = find("iframe");
  let timer = 0;
  let latest = 0;

  const show = (mail) => {
    find("[data-subject]").textContent = mail.subject;
    find("[data-note]").textContent = mail.person ? `${mail.note}Shown for ${mail.person}.` : mail.hint || "";
    find("[data-text]").textContent = mail.text;
    if (mail.html || !mail.problems.length) frame.srcdoc = mail.html;
    if (mail.text && !mail.html && !mail.problems.length) look("text"); // All there is of it.
    const list = find("[data-problems]");
    list.replaceChildren(...mail.problems.map((sentence) => {
      const note = document.createElement("p");
      note.className = `ui-note ${mail.html ? "ui-warn" : "ui-bad"}`;
      note.textContent = sentence;
      return note;
    }));
    frame.classList.toggle("ui-stale", !mail.html);
    // A mail of text alone has nothing to show in a frame.
    if (!mail.html && mail.text && frame.hidden === false) find('[data-view="text"]').click();
  };

  const load = async () => {
    const mine = ++latest;
    const body = new FormData(form);
    try {
      const answer = await fetch(box.dataset.url, { method: "POST", body, credentials: "same-origin" });
      if (!answer.ok) throw new Error(`The preview could not be made (${answer.status}). Load the page again.`);
      const mail = await answer.json();
      if (mine === latest) show(mail);
    } catch (error) {
      if (mine === latest) show({ subject: "", html: "", text: "", problems: [error.message] });
    }
  };

  // A desktop is wider than the space beside a form: the mail is laid out at 640 px and scaled.
  const fit = () => {
    const stage = find("[data-stage]");
    const scale = stage.dataset.stage === "desktop" ? Math.min(1, stage.clientWidth / 640) : 1;
    frame.style.width = scale < 1 ? "640px" : "";
    frame.style.height = scale < 1 ? `${620 / scale}px` : "";
    frame.style.transform = scale < 1 ? `scale(${scale})` : "";
    stage.classList.toggle("ui-scaled", scale < 1);
  };
  new ResizeObserver(fit).observe(find("[data-stage]"));

  const look = (view) => {
    for (const each of box.querySelectorAll("[data-view]")) each.setAttribute("aria-pressed", each.dataset.view === view);
    find("[data-stage]").dataset.stage = view;
    frame.hidden = view === "text";
    find("[data-text]").hidden = view !== "text";
    fit();
  };

  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(load, 400);
  };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  for (const field of form.elements) {
    if (!form.contains(field)) field.addEventListener("input", soon);
  }
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
  });
  for (const button of box.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => look(button.dataset.view));
  }
  load();
};

// <canvas data-chart="id of a json_script">: {labels, lines: [{label, values, colour, dashed}]}
const startChart = (canvas) => {
  const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const grid = { color: colour("--ui-line") };
  const ticks = { color: colour("--ui-quiet"), precision: 0, maxRotation: 0, autoSkipPadding: 16 };
  return new Chart(canvas, {
    type: data.type || "line",
    data: {
      labels: data.labels,
      datasets: data.lines.map((line) => ({
        label: line.label, data: line.values, borderColor: colour(line.colour), backgroundColor: colour(line.colour),
        borderDash: line.dashed ? [4, 4] : [], borderWidth: 2, pointRadius: data.labels.length > 3 ? 0 : 3,
        pointHoverRadius: 4, tension: 0.25, maxBarThickness: 56,
      })),
    },
    options: {
      animation: false, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
      plugins: { legend: { align: "start", labels: { boxWidth: 10, boxHeight: 10, color: colour("--ui-text") } } },
      scales: { x: { grid: { display: false }, ticks }, y: { beginAtZero: true, grid, ticks, border: { display: false } } },
    },
  });
};

// <form data-with="id of a form">: is posted with what is written in that form too.
const startWith = (form) => {
  form.addEventListener("formdata", ({ formData }) => {
    const names = new Set(formData.keys());
    for (const [name, value] of new FormData(document.getElementById(form.dataset.with))) {
      if (!names.has(name)) formData.append(name, value);
    }
  });
};

// <form data-typed="3199">: the button works once that number is written.
const startTyped = (form) => {
  const field = form.querySelector("[data-number]");
  const button = form.querySelector("button");
  const check = () => {
    button.disabled = field.value.replace(/[\s.,']/g, "") !== form.dataset.typed;
  };
  field.addEventListener("input", check);
  check();
};

const charts = new Map();
const drawCharts = () => {
  for (const [canvas, chart] of charts) {
    if (!canvas.isConnected) {
      chart.destroy();
      charts.delete(canvas);
    }
  }
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    charts.get(canvas)?.destroy();
    charts.set(canvas, startChart(canvas));
  }
};

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-preview]").forEach(startPreview);
  document.querySelectorAll("form[data-with]").forEach(startWith);
  document.querySelectorAll("form[data-typed]").forEach(startTyped);
  drawCharts();
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.querySelector && event.target.querySelector("canvas[data-chart]")) drawCharts();
  });
  new MutationObserver(() => setTimeout(drawCharts, 50))
    .observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
});
