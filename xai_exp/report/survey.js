const data = JSON.parse(document.getElementById("survey").textContent);
const $ = id => document.getElementById(id), pairs = data.kind === "pairs";
const image = name => {
  const levels = bytes(data.pictures[name]), n = data.colours;
  return drawn(data.size, i => n === 1 ? [levels[i], levels[i], levels[i]] : levels.subarray(3 * i, 3 * i + 3), "picture");
};
const heatmap = name => {
  const values = new Int8Array(bytes(data.maps[name]).buffer);
  return drawn(data.size, i => colour(values[i] / 127), "heatmap");
};
// The same rater always gets the same form and order.
const hash = text => { let h = 2166136261; for (const c of text) h = Math.imul(h ^ c.codePointAt(0), 16777619) >>> 0; return h; };
const dice = seed => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const shuffled = (list, roll) => {
  const found = [...list];
  for (let i = found.length - 1; i > 0; i--) { const j = Math.floor(roll() * (i + 1)); [found[i], found[j]] = [found[j], found[i]]; }
  return found;
};
let rater = "", form = 0, order = [], at = 0, given = {}, since = 0;
const kept = () => `xai_exp survey ${data.survey} ${rater}`;
const keep = () => { try { localStorage.setItem(kept(), JSON.stringify(given)); } catch { /* a browser may forbid it */ } };
const recalled = () => { try { return JSON.parse(localStorage.getItem(kept())) || {}; } catch { return {}; } };
const answers = () => order.filter(one => given[one.id]).map(one => ({ item: one.id, ...given[one.id] }));
const file = () => JSON.stringify({ survey: data.survey, rater, form, answers: answers() }, null, 1) + "\n";
const sheet = () => ["survey,rater,form,item,answer,seconds",
  ...answers().map(one => [data.survey, rater, form, one.item, `"${one.answer.replaceAll('"', '""')}"`, one.seconds].join(","))].join("\n") + "\n";
const save = (text, name, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
};
const part = name => { for (const one of ["start", "asking", "end"]) $(one).hidden = one !== name; };
const answer = choice => {
  const one = order[at];
  given[one.id] = { answer: choice, seconds: Math.round((performance.now() - since) / 100) / 10 };
  keep();
  at++;
  show();
};
const show = () => {
  if (at >= order.length) { part("end"); $("text").value = file(); return; }
  part("asking");
  const one = order[at], [first] = one.pictures;
  $("where").textContent = `${at + 1} of ${order.length}`;
  $("done").max = order.length; $("done").value = at;
  $("back").disabled = at === 0;
  $("question").textContent = pairs ? `The network says: ${first.says}. ${data.question}` : data.question;
  const seen = one.pictures.map(shown => {
    const figure = made("figure", "", image(shown.picture));
    if (!pairs) figure.append(...shown.maps.map(heatmap), made("figcaption", `says ${shown.says}`));
    return figure;
  });
  seen[0].className = pairs ? "shown" : "";
  $("seen").className = pairs ? "" : "several";
  $("seen").replaceChildren(...seen);
  $("choices").className = pairs ? "choices" : "choices words";
  $("choices").replaceChildren(...one.choices.map((choice, place) => {
    const button = pairs ? made("button", "", heatmap(choice), made("small", place ? "right (2)" : "left (1)"))
      : made("button", `${place + 1}. ${data.names[choice]}`);
    button.dataset.choice = choice;
    button.setAttribute("aria-pressed", String(given[one.id]?.answer === choice));
    button.onclick = () => answer(choice);
    return button;
  }));
  since = performance.now();
};
$("what").textContent = pairs
  ? "Below it stand two heatmaps that try to show what in the picture makes the network say so. Choose the one that does it better."
  : "Each network adds up what it sees by a rule of its own; guess the rule. Under some pictures stands a heatmap of what made the network say so.";
$("keys").textContent = pairs ? "Keys: 1 or ← for the left one, 2 or → for the right one." : "Keys: the number of a rule.";
$("rater").value = `r${Math.floor(Math.random() * 1e6)}`;
$("begin").onclick = () => {
  rater = $("rater").value.trim();
  $("wrong").hidden = /^[\w-]{1,40}$/.test(rater);
  $("wrong").textContent = "Letters, digits, - and _ only, and at least one.";
  if (!$("wrong").hidden) return;
  const number = hash(rater);
  form = number % data.forms.length;
  order = shuffled(data.forms[form], dice(number));
  given = recalled();
  at = order.findIndex(one => !given[one.id]);
  if (at < 0) at = order.length;
  show();
};
$("back").onclick = $("change").onclick = () => { at--; show(); };
$("json").onclick = () => save(file(), `answers-${rater}.json`, "application/json");
$("csv").onclick = () => save(sheet(), `answers-${rater}.csv`, "text/csv");
addEventListener("keydown", event => {
  if ($("asking").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const arrows = pairs ? { ArrowLeft: 1, ArrowRight: 2 } : {};
  const button = $("choices").children[(arrows[event.key] || Number(event.key)) - 1];
  if (button) button.click();
});
