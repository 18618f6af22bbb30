const data = JSON.parse(document.getElementById("view").textContent), $ = id => document.getElementById(id);
const POINT = "Point at a pixel to read what each heatmap says there, and at a part to find its row below. Red speaks for the class that is explained, blue against it, white is zero; each map has a scale of its own that ends at its 99.5 % quantile.";
const short = v => v === null || v === undefined ? "missing" : Math.abs(v) >= 1e4 || (v && Math.abs(v) < 1e-3) ? v.toExponential(1) : String(+v.toPrecision(3));
const hidden = new Set();
let image = 0, cache = new Map();
const setting = () => data[$("setting").selectedIndex], network = () => setting().networks[$("network").selectedIndex];
const chosen = () => network().explained.filter(one => !hidden.has(one.name));
const raw = text => { if (!cache.has(text)) cache.set(text, bytes(text)); return cache.get(text); };
const pixels = () => setting().size[0] * setting().size[1];
const cut = (text, channels = 1) => raw(text).subarray(channels * pixels() * image, channels * pixels() * (image + 1));
const levels = () => cut(setting().images, setting().colours);
const rgb = (block, i) => setting().colours === 1 ? [block[i], block[i], block[i]] : [...block.subarray(3 * i, 3 * i + 3)];
const signs = one => { const block = cut(one.maps); return new Int8Array(block.buffer, block.byteOffset, block.length); };
const name = place => setting().files[place] ? `${place} ${setting().files[place]}` : String(place);
const fill = (id, names) => $(id).replaceChildren(...names.map(one => new Option(one)));
const table = (heads, rows) => {
  const head = made("thead", "", made("tr", "", ...heads.map(one => made("th", one))));
  const lines = rows.map(row => { const line = made("tr", "", ...row.cells.map(one => made("td", one))); if (row.part) line.dataset.part = row.part; return line; });
  const box = made("div", "", made("table", "", head, made("tbody", "", ...lines)));
  box.className = "wide";
  return box;
};
const shares = row => { const sum = row.reduce((s, v) => s + Math.abs(v ?? 0), 0); return row.map(v => v === null ? null : sum ? v / sum : 0); };
const per = v => v === null || v === undefined ? "missing" : `${(100 * v).toFixed(0)} %`;
const parts = () => {
  const block = setting().parts && cut(setting().parts), worth = network().worth && network().worth[image];
  if (!block || !worth) { $("parts").replaceChildren(); return; }
  const there = [...new Set(block)].filter(part => part && part <= worth.length).sort((a, b) => a - b);
  const methods = chosen().filter(one => one.shown), mine = shares(worth), said = methods.map(one => shares(one.shown[image]));
  const rows = there.map(part => ({ part, cells: [`part ${part}`, per(mine[part - 1]), ...said.map(one => per(one[part - 1]))] }));
  rows.push({ cells: ["outside of all parts", "0 %", ...said.map(one => per(one.at(-1)))] });
  $("parts").replaceChildren(made("h2", "What each part is worth, and what is shown"),
    made("p", "Exact Shapley value of every part to the network, and the relevance that each heatmap has on it: signed shares of the sum of magnitudes."),
    table(["part", "exact truth", ...methods.map(one => one.name)], rows));
};
const SVG = "http://www.w3.org/2000/svg";
const drawing = (tag, given, text = "") => { const one = document.createElementNS(SVG, tag); for (const [key, value] of Object.entries(given)) one.setAttribute(key, value); one.textContent = text; return one; };
const curve = metric => {
  const lines = network().explained.map((one, place) => [one, place]).filter(([one]) => !hidden.has(one.name) && one.curves[metric]);
  const values = lines.flatMap(([one]) => one.curves[metric][1]).filter(v => v !== null), [x] = lines[0][0].curves[metric];
  const low = Math.min(...values), high = Math.max(...values), W = 400, H = 180, L = 44;
  const across = v => L + (v - x[0]) / ((x.at(-1) - x[0]) || 1) * (W - L - 8), up = v => H - 22 - (v - low) / ((high - low) || 1) * (H - 34);
  const svg = drawing("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": metric });
  for (const v of [low, high]) svg.append(drawing("text", { x: L - 4, y: up(v) + 4, "text-anchor": "end" }, short(v)));
  for (const v of [x[0], x.at(-1)]) svg.append(drawing("text", { x: across(v), y: H - 6, "text-anchor": v === x[0] ? "start" : "end" }, short(v)));
  for (const [one, place] of lines) svg.append(drawing("polyline", { style: `stroke: var(--s${place % 10})`, "stroke-dasharray": place < 10 ? "" : "6 3",
    points: one.curves[metric][1].map((v, i) => v === null ? "" : `${across(x[i])},${up(v)}`).join(" ") }));
  const mark = drawing("line", { y1: 8, y2: H - 22, stroke: "currentColor", visibility: "hidden" });
  svg.append(mark);
  const words = lines.map(([one, place]) => { const value = made("span"), bar = made("i"); bar.style.background = `var(--s${place % 10})`; return [made("span", "", bar, `${one.name} `, value), value, one]; });
  const where = made("p", "Point at the curve to read it.");
  where.className = "soft";
  svg.onpointermove = svg.onpointerdown = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * W;
    const place = x.reduce((best, v, i) => Math.abs(across(v) - at) < Math.abs(across(x[best]) - at) ? i : best, 0);
    mark.setAttribute("x1", across(x[place])); mark.setAttribute("x2", across(x[place])); mark.setAttribute("visibility", "visible");
    where.textContent = `at ${short(x[place])}:`;
    for (const [, value, one] of words) value.textContent = short(one.curves[metric][1][place]);
  };
  const key = made("div", "", ...words.map(([one]) => one));
  key.className = "key";
  return made("figure", "", made("figcaption", metric), svg, where, key);
};
const curves = () => {
  const metrics = [...new Set(chosen().flatMap(one => Object.keys(one.curves)))];
  $("curves").replaceChildren(...metrics.length ? [made("h2", "Perturbation curves"), made("p", "The most relevant first; means over all images of this network."), ...metrics.map(curve)] : []);
};
const scores = () => {
  const metrics = [...new Set(chosen().flatMap(one => Object.keys(one.scores)))];
  const rows = chosen().map(one => ({ cells: [one.name, ...metrics.map(metric => short(one.scores[metric]?.[image]))] }));
  $("scores").replaceChildren(...metrics.length ? [made("h2", "Scores of this image"), table(["explainer", ...metrics], rows)] : []);
};
const under = (x, y) => {
  const place = y * setting().size[1] + x, part = setting().parts ? cut(setting().parts)[place] : 0;
  const said = chosen().map(one => `${one.name} ${short(signs(one)[place] / 127 * one.ends[image])}`);
  $("under").textContent = `pixel ${x}, ${y}${part ? `, part ${part}` : ""}: ${said.join(" · ")}`;
  for (const row of document.querySelectorAll("#parts tbody tr")) row.className = Number(row.dataset.part) === part ? "under" : "";
};
const show = () => {
  const block = levels(), size = setting().size, [height, width] = size, over = $("overlay").checked;
  const paper = i => { const c = rgb(block, i), grey = (c[0] + c[1] + c[2]) / 3; return Array(3).fill(120 + grey * 135 / 255); };
  const maps = chosen().map(one => { const values = signs(one); return [drawn(size, i => colour(values[i] / 127, over ? paper(i) : undefined), one.name), one.name]; });
  $("maps").replaceChildren(...[[drawn(size, i => rgb(block, i), "picture"), "picture"], ...maps].map(([canvas, words]) => {
    canvas.onpointermove = canvas.onpointerdown = event => {
      const box = canvas.getBoundingClientRect(), at = (v, start, long, count) => Math.min(count - 1, Math.max(0, Math.floor((v - start) / long * count)));
      under(at(event.clientX, box.left, box.width, width), at(event.clientY, box.top, box.height, height));
    };
    return made("figure", "", canvas, made("figcaption", words));
  }));
  const good = network().accuracy;
  $("image").value = name(image);
  $("told").textContent = `Image ${name(image)}: ${network().told[image]}.${good === null ? "" : ` Test accuracy ${per(good)}.`}`;
  $("under").textContent = POINT;
  $("before").disabled = image === 0; $("after").disabled = image === setting().count - 1;
  parts(); curves(); scores();
};
const methods = () => $("methods").replaceChildren(...network().explained.map(one => {
  const box = made("input");
  box.type = "checkbox"; box.checked = !hidden.has(one.name);
  box.onchange = () => { box.checked ? hidden.delete(one.name) : hidden.add(one.name); show(); };
  return made("label", "", box, ` ${one.name}`);
}));
const anew = () => { methods(); show(); };
const refill = () => {
  cache = new Map();
  fill("network", setting().networks.map(one => one.name));
  $("images").replaceChildren(...Array.from({ length: setting().count }, (_, place) => { const one = made("option"); one.value = name(place); return one; }));
  image = Math.min(image, setting().count - 1);
  anew();
};
// By number, by the whole line, or by any part of a file's name that only one has.
const find = text => {
  const wanted = text.trim(), every = [...Array(setting().count).keys()];
  if (/^\d+$/.test(wanted) && Number(wanted) < setting().count) return Number(wanted);
  const found = every.filter(place => name(place) === wanted), like = every.filter(place => wanted && name(place).includes(wanted));
  return found.length ? found[0] : like.length === 1 ? like[0] : -1;
};
$("image").onchange = () => {
  const place = find($("image").value);
  $("wrong").hidden = place >= 0;
  $("wrong").textContent = `No single image is called ${$("image").value}: a number from 0 to ${setting().count - 1}${setting().files.length ? ", or a part of a file's name" : ""}.`;
  if (place >= 0) { image = place; show(); }
};
$("before").onclick = () => { image--; show(); };
$("after").onclick = () => { image++; show(); };
$("overlay").onchange = show;
$("network").onchange = anew;
$("setting").onchange = refill;
fill("setting", data.map(one => one.name));
refill();
