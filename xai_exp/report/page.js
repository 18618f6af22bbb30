"use strict";
const flat = node => node.nodeName === "BR" ? " " : node.childNodes.length ? [...node.childNodes].map(flat).join("") : node.textContent;
const quote = text => `"${text.trim().replace(/\s+/g, " ").replaceAll('"', '""')}"`;
// A table's rows as lists of words; a number and the interval below it are three columns.
const spreadsheet = table => {
  const rows = [...table.tBodies[0].rows], count = table.tHead.rows[0].cells.length;
  const spread = Array.from({ length: count }, (_, column) => rows.some(row => row.cells[column].querySelector("small")));
  const heads = [...table.tHead.rows[0].cells].map(flat).flatMap((head, column) => spread[column] ? [head, `${head} (low)`, `${head} (high)`] : [head]);
  const cells = (cell, column) => {
    if (!spread[column]) return [flat(cell)];
    const below = cell.querySelector("small"), [low = "", high = ""] = below ? below.textContent.split(" .. ") : [];
    return [cell.firstChild ? cell.firstChild.textContent : "", low, high];
  };
  return [heads, ...rows.map(row => [...row.cells].flatMap(cells))];
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = cell => cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.setAttribute("aria-sort", "none");
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a.cells[column]), value(b.cells[column])];
        const [m, n] = [parseFloat(x), parseFloat(y)];
        const order = isNaN(m) || isNaN(n) ? (isNaN(m) - isNaN(n)) || x.localeCompare(y) : m - n;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    };
    head.onclick = sort;
    head.onkeydown = event => { if (event.key === "Enter") sort(); };
  });
  const button = document.createElement("button");
  button.textContent = "download CSV";
  button.onclick = () => {
    const lines = spreadsheet(table).map(row => row.map(quote).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n")], { type: "text/csv" }));
    link.download = `${table.dataset.name || "table"}.csv`;
    link.click();
  };
  table.parentElement.after(button);
}
// A page of paper shows all that is folded, and a table wider than it in parts below each other.
const PAPER = 690, SMALLER = 0.68;
const part = (table, columns) => {
  const copy = table.cloneNode(true);
  for (const row of copy.rows) [...row.cells].forEach((cell, column) => { if (!columns.includes(column)) cell.remove(); });
  return copy;
};
const parts = table => {
  const wide = [...table.tHead.rows[0].cells].map(cell => cell.offsetWidth * SMALLER);
  const found = [[0]];
  let used = wide[0];
  for (let column = 1; column < wide.length; column++) {
    if (used + wide[column] > PAPER && found.at(-1).length > 1) { found.push([0]); used = wide[0]; }
    found.at(-1).push(column);
    used += wide[column];
  }
  return found;
};
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open], .screen)")];
  for (const one of folded) one.open = true;
  for (const table of document.querySelectorAll("table.sortable")) {
    const found = parts(table);
    if (found.length === 1) continue;
    const box = document.createElement("div");
    box.className = "printed";
    box.append(...found.map(columns => part(table, columns)));
    table.parentElement.classList.add("apart");
    table.parentElement.after(box);
  }
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
  for (const one of document.querySelectorAll(".printed")) one.remove();
  for (const one of document.querySelectorAll(".apart")) one.classList.remove("apart");
});
const source = document.getElementById("data");
if (source) {
  const data = JSON.parse(source.textContent), chosen = {}, maps = document.getElementById("maps");
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const fill = (id, names) => {
    const select = document.getElementById(id), before = select.selectedIndex;
    select.replaceChildren(...names.map(name => new Option(name)));
    select.selectedIndex = before >= 0 && before < names.length ? before : 0;
  };
  const at = id => document.getElementById(id).selectedIndex;
  const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
  const colour = v => v < 0 ? mix([255, 255, 255], [11, 74, 143], Math.min(1, -v)) : mix([255, 255, 255], [165, 15, 34], Math.min(1, v));
  const hidden = new Set();
  let shown = [];
  const draw = () => {
    const setting = data[at("setting")], image = at("image"), one = setting.models[at("model")];
    const models = one ? [one] : setting.models;
    const [height, width] = setting.size, pixels = height * width;
    const cut = block => block.subarray(image * pixels, (image + 1) * pixels);
    const levels = bytes(setting.images), start = image * pixels, channels = setting.colours;
    const coloured = Array.from({ length: pixels }, (_, i) => levels.subarray(channels * (start + i), channels * (start + i + 1)));
    shown = [["image", coloured, v => channels === 1 ? [v[0], v[0], v[0]] : [...v], v => [...v].map(level => (level / 255).toFixed(2)).join("/")]];
    if (setting.masks) shown.push(["exact parts", cut(bytes(setting.masks)), v => [255 - v, 255 - v, 255 - v], v => v > 127 ? "part" : v ? "border" : "background"]);
    for (const [name] of Object.entries(setting.models[0].heatmaps)) for (const model of models) if (!hidden.has(name) && model.heatmaps[name])
      shown.push([(name === "image" ? "image as heatmap" : name) + (one ? "" : `, ${model.name}`), cut(new Int8Array(bytes(model.heatmaps[name]).buffer)), v => colour(v / 127), v => (v / 127).toFixed(2)]);
    maps.replaceChildren(...shown.map(([name, block, paint]) => {
      const canvas = document.createElement("canvas"), figure = document.createElement("figure");
      canvas.width = width; canvas.height = height; canvas.setAttribute("aria-label", name);
      const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
      block.forEach((v, i) => picture.data.set([...paint(v), 255], 4 * i));
      context.putImageData(picture, 0, 0);
      canvas.onpointermove = canvas.onpointerdown = event => {
        const box = canvas.getBoundingClientRect();
        const x = Math.min(width - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * width)));
        const y = Math.min(height - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * height)));
        document.getElementById("under").textContent = `pixel ${x}, ${y}: ` +
          shown.map(([n, b, , words]) => `${n} ${words(b[y * width + x])}`).join(" · ");
      };
      figure.append(canvas, Object.assign(document.createElement("figcaption"), { textContent: name }));
      return figure;
    }));
  };
  const refill = () => {
    const setting = data[at("setting")];
    const names = setting.models.map(model => model.name);
    fill("model", names.length > 1 ? [...names, "all side by side"] : names);
    document.getElementById("methods").replaceChildren(...Object.keys(setting.models[0].heatmaps).map(name => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(name);
      box.onchange = () => { box.checked ? hidden.delete(name) : hidden.add(name); draw(); };
      label.append(box, ` ${name}`);
      return label;
    }));
    fill("image", setting.captions);
    draw();
  };
  fill("setting", data.map(setting => setting.name));
  document.getElementById("setting").onchange = refill;
  document.getElementById("model").onchange = document.getElementById("image").onchange = draw;
  refill();
}
