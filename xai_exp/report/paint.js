"use strict";
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
const FOR = [165, 15, 34], AGAINST = [11, 74, 143], NOTHING = [255, 255, 255];
const colour = (v, paper = NOTHING) => mix(paper, v < 0 ? AGAINST : FOR, Math.min(1, Math.abs(v)));
const drawn = ([height, width], paint, label) => {
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", label);
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) picture.data.set([...paint(i), 255], 4 * i);
  context.putImageData(picture, 0, 0);
  return canvas;
};
const made = (tag, text = "", ...inside) => {
  const one = document.createElement(tag);
  one.textContent = text;
  one.append(...inside);
  return one;
};
