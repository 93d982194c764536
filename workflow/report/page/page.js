"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const wide = matchMedia("(min-width: 64rem)");
const { fontFamily: family } = getComputedStyle(document.body);
const template = { layout: {
  font: { family, size: 12, color: "#1c2422" },
  title: { font: { size: 13 }, x: 0, xref: "paper", xanchor: "left", y: 0.97, yanchor: "top" },
  margin: { l: 52, r: 10, t: 34, b: 44 },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  showlegend: false, hovermode: "closest",
  hoverlabel: { bgcolor: "#ffffff", align: "left", font: { family, size: 12, color: "#1c2422" } },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a9691", activecolor: "#03795f" },
  xaxis: { gridcolor: "#e8edea", linecolor: "#8a9691", showline: true, zeroline: false, title: { standoff: 8, font: { size: 12 } }, ticks: "" },
  yaxis: { gridcolor: "#e8edea", linecolor: "#8a9691", showline: true, zeroline: false, title: { standoff: 6, font: { size: 12 } }, ticks: "" },
} };
// Drawing a frame to zoom into is for mice: on a touch screen it would stop the page from scrolling.
const dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false;
const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// plotly reads a few tags in labels; data must not write them.
const inert = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/* Figures: drawn when they come near the screen, again when a toggle changes. */
for (const section of document.querySelectorAll("[data-experiment]")) {
  const name = section.dataset.experiment, panels = data.figures[name], points = data.points[name];
  const hidden = new Set(), drawn = new Set();
  const seen = (trace) => !trace.meta.keys.some((key) => hidden.has(key));

  function draw(slot) {
    const view = section.querySelector(".views :checked").value;
    const panel = panels[slot.dataset.panel], shown = panel.views[view];
    const lines = shown.references.map((line) => (
      { ...line, visible: seen(line), hovertemplate: "%{fullData.name}: %{y:.3~f}<extra></extra>" }));
    const curves = panel.curves.map((curve, number) => ({
      ...curve, ...shown.heights[number], visible: seen(curve),
      text: curve.customdata?.map((row) => points[row].lines.map(inert).join("<br>")),
      hovertemplate: curve.customdata
        ? "<b>%{fullData.name}</b><br>%{text}<extra></extra>" : "%{fullData.name}: %{y:.1f}<extra></extra>",
    }));
    Plotly.react(slot, [...lines, ...curves], { ...panel.layout, ...shown.layout, dragmode, template }, config);
    if (drawn.has(slot)) return;
    drawn.add(slot);
    slot.on("plotly_click", ({ points: [hit] }) => { if (hit.customdata !== undefined) openPoint(points[hit.customdata]); });
  }

  const slots = [...section.querySelectorAll(".chart")];
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { watch.unobserve(target); draw(target); }
    }
  }, { rootMargin: "600px" });
  slots.forEach((slot) => watch.observe(slot));
  addEventListener("beforeprint", () => slots.forEach(draw));
  section.addEventListener("change", ({ target }) => {
    if (target.type === "checkbox") target.checked ? hidden.delete(target.value) : hidden.add(target.value);
    if (target.closest(".controls")) drawn.forEach(draw);
  });
  section.addEventListener("click", ({ target }) => {
    if (target.dataset.point) openPoint(points[target.dataset.point]);
  });
}

/* Cells and where they came from, written when asked for. */
const { cells, commits, devices, versions, options } = data.provenance;

function command(number) {
  return ["snakemake --cores 1 --force", `${cells[number][0]}/metrics.json`, options].filter(Boolean).join(" ");
}

function cell(number) {
  const [, commit, device, version, threads, seconds, memory] = cells[number];
  const code = element("code", command(number)), copy = element("button", "copy");
  copy.type = "button";
  copy.className = "quiet";
  copy.addEventListener("click", async () => {
    getSelection().selectAllChildren(code); // still there to copy by hand where the clipboard is closed to pages
    try { await navigator.clipboard.writeText(code.textContent); copy.textContent = "copied"; } catch { copy.textContent = "selected"; }
  });
  const line = element("div", "", code, copy);
  line.className = "command";
  const facts = [`commit ${commits[commit]?.replace(/^(.{10})[0-9a-f]*/, "$1") ?? "unknown"}`, devices[device],
    threads ? `threads ${threads}` : "", `${seconds} s`, `${memory} MB`].filter(Boolean).join(" · ");
  const packages = Object.entries(versions[version]).map(([name, value]) => `${name} ${value}`).join(", ");
  return element("li", "", line, element("p", facts),
    element("details", "", element("summary", "versions"), element("p", packages)));
}

function openPoint({ lines: [title, ...rest], cells: numbers }) {
  document.getElementById("point-title").textContent = title;
  document.getElementById("point-lines").replaceChildren(...rest.map((line) => element("li", line)));
  document.getElementById("point-cells").replaceChildren(...numbers.map(cell));
  document.getElementById("point").showModal();
}

const FOUND = 20;
const matching = (words, text) => words.every((word) => text.includes(word));
const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);

function find() {
  const words = wordsOf(document.getElementById("find"));
  const found = [...cells.keys()].filter((number) => matching(words, cells[number][0].toLowerCase()));
  document.getElementById("found").textContent =
    found.length > FOUND ? `${found.length} cells, the first ${FOUND} shown` : `${found.length} cells`;
  document.getElementById("cells").replaceChildren(...(words.length ? found.slice(0, FOUND).map(cell) : []));
  if (!words.length) document.getElementById("found").textContent = `${found.length} cells`;
}
document.getElementById("find").addEventListener("input", find);
find();

/* Tables: sort by a column, filter by words. */
for (const part of document.querySelectorAll("[data-table]")) {
  const body = part.querySelector("tbody");
  if (!body) continue;
  const rows = [...body.rows], input = part.querySelector("input"), count = part.querySelector("output");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  input.addEventListener("input", () => {
    const words = wordsOf(input);
    rows.forEach((row, number) => { row.hidden = !matching(words, texts[number]); });
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  });
  for (const button of part.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement, column = head.cellIndex;
      const order = head.ariaSort === "ascending" ? -1 : 1;
      part.querySelectorAll("th[aria-sort]").forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = order > 0 ? "ascending" : "descending";
      const number = head.classList.contains("number");
      const key = (row) => number ? row.cells[column].dataset.key : row.cells[column].textContent;
      body.append(...[...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // undefined values last, either way
        return order * (number ? x - y : x.localeCompare(y, "en", { numeric: true }));
      }));
    });
  }
}

/* Contents: open beside the page, folded above it on a phone; the section on screen is marked. */
const contents = document.querySelector(".contents");
const unfold = () => { contents.open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
contents.addEventListener("click", ({ target }) => { if (target.closest("a") && !wide.matches) contents.open = false; });
const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
const current = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -75% 0px" });
document.querySelectorAll("section[id]").forEach((section) => current.observe(section));
