// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/page_assets.h"

namespace tandem {

// Six colours that are told apart with any colour vision, also printed grey: they differ in
// lightness as well.
const char kPageCss[] = R"css(
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --line: #e1e5ea; --grid: #e9ecf0; --text: #17202c;
  --soft: #5c6878; --accent: #1f5fd0; --good: #10795a; --bad: #c02a3a; --warn: #946200;
  --s0: #1f5fd0; --s1: #e07b00; --s2: #0f8f72; --s3: #b8327f; --s4: #7a54c7; --s5: #5f6b7a;
  --on-bar: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root:not([data-theme="light"]) {
    --ground: #10141a; --card: #181e27; --line: #2a323e; --grid: #252d38; --text: #e7ecf3;
    --soft: #98a5b6; --accent: #7fb0ff; --good: #4fd1a5; --bad: #ff8088; --warn: #f0b64a;
    --s0: #7fb0ff; --s1: #ffb257; --s2: #4fd1a5; --s3: #ff8cc8; --s4: #b99cff; --s5: #aab4c2;
    --on-bar: #10141a;
  }
}
:root[data-theme="dark"] {
  --ground: #10141a; --card: #181e27; --line: #2a323e; --grid: #252d38; --text: #e7ecf3;
  --soft: #98a5b6; --accent: #7fb0ff; --good: #4fd1a5; --bad: #ff8088; --warn: #f0b64a;
  --s0: #7fb0ff; --s1: #ffb257; --s2: #4fd1a5; --s3: #ff8cc8; --s4: #b99cff; --s5: #aab4c2;
  --on-bar: #10141a; color-scheme: dark;
}
:root[data-theme="light"] { color-scheme: light; }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 60px; }
header { display: flex; gap: 16px; align-items: flex-start; justify-content: space-between; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 40px 0 12px; letter-spacing: -0.005em; }
h3 { font-size: 15px; margin: 26px 0 10px; color: var(--soft); font-weight: 600; }
.sub { color: var(--soft); margin: 0; overflow-wrap: anywhere; }
button {
  font: inherit; font-size: 13px; color: var(--soft); background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; padding: 5px 12px; cursor: pointer;
  white-space: nowrap;
}
button:hover { color: var(--text); }
.chips { display: flex; flex-wrap: wrap; gap: 8px; margin: 14px 0 0; padding: 0; list-style: none; }
.chips li {
  border: 1px solid var(--line); background: var(--card); border-radius: 999px;
  padding: 2px 12px; font-size: 13px; color: var(--soft); overflow-wrap: anywhere;
}
.chips .good { color: var(--good); border-color: currentColor; }
.chips .bad { color: var(--bad); border-color: currentColor; }
.chips .warn { color: var(--warn); border-color: currentColor; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 12px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.2; font-weight: 650;
  letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tile b small { font-size: 13px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.tile span { color: var(--soft); font-size: 13px; }
.tile p { margin: 2px 0 0; color: var(--soft); font-size: 12px;
  font-variant-numeric: tabular-nums; }
.grid2 { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }
figure.chart { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  margin: 0; padding: 14px 16px 8px; position: relative; }
figcaption { font-weight: 600; font-size: 14px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; min-height: 22px; color: var(--soft);
  font-size: 12.5px; }
.legend i { display: inline-block; width: 12px; height: 4px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; }
.bars .legend i { height: 10px; width: 10px; border-radius: 3px; }
i.s0 { background: var(--s0); } i.s1 { background: var(--s1); } i.s2 { background: var(--s2); }
i.s3 { background: var(--s3); } i.s4 { background: var(--s4); } i.s5 { background: var(--s5); }
svg { display: block; width: 100%; height: auto; overflow: visible;
  font-family: inherit; font-variant-numeric: tabular-nums; }
svg text { fill: var(--soft); font-size: 11px; }
svg .y { text-anchor: end; dominant-baseline: middle; }
svg .x { text-anchor: middle; }
svg .name { fill: var(--text); font-size: 12.5px; }
svg .in { fill: var(--on-bar); text-anchor: middle; dominant-baseline: central; font-weight: 600; }
.grid line { stroke: var(--grid); stroke-width: 1; }
.lines path { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.lines .s0 { stroke: var(--s0); } .lines .s1 { stroke: var(--s1); }
.lines .s2 { stroke: var(--s2); } .lines .s3 { stroke: var(--s3); }
.lines .s4 { stroke: var(--s4); } .lines .s5 { stroke: var(--s5); }
.lines circle { fill: var(--card); stroke-width: 2; }
rect { stroke: var(--card); stroke-width: 1; }
rect.s0 { fill: var(--s0); } rect.s1 { fill: var(--s1); } rect.s2 { fill: var(--s2); }
rect.s3 { fill: var(--s3); } rect.s4 { fill: var(--s4); } rect.s5 { fill: var(--s5); }
.cursor { stroke: var(--soft); stroke-dasharray: 3 3; visibility: hidden; }
.tip { position: absolute; top: 40px; pointer-events: none; white-space: pre; z-index: 1;
  background: var(--text); color: var(--ground); border-radius: 8px; padding: 6px 10px;
  font-size: 12px; line-height: 1.45; font-variant-numeric: tabular-nums; }
.none { color: var(--soft); padding: 60px 0; text-align: center; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; margin: 0 0 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; font-size: 14px; padding: 12px 16px 6px; }
th, td { padding: 6px 16px; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: 12.5px; border-top: 0; }
tbody th { text-align: left; font-weight: 500; }
th:first-child { text-align: left; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
tbody tr:hover { background: var(--ground); }
details > summary { cursor: pointer; font-size: 19px; font-weight: 600; margin: 16px 0 10px; }
footer { color: var(--soft); font-size: 12.5px; margin-top: 40px; }
@media print {
  button { display: none; }
  figure.chart, .scroll, .tile { break-inside: avoid; }
}
)css";

// The viewBox is 560 units wide (svg_chart.cc).
const char kPageScript[] = R"js(
for (const figure of document.querySelectorAll("figure[data-x]")) {
  const xs = JSON.parse(figure.dataset.x).map(Number);
  const texts = JSON.parse(figure.dataset.text);
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * 560 / box.width;
    let best = 0;
    xs.forEach((x, i) => { if (Math.abs(x - at) < Math.abs(xs[best] - at)) best = i; });
    cursor.setAttribute("x1", xs[best]);
    cursor.setAttribute("x2", xs[best]);
    cursor.style.visibility = "visible";
    tip.textContent = texts[best];
    tip.hidden = false;
    const left = xs[best] * box.width / 560 + 16;
    const turned = left > figure.clientWidth / 2;
    tip.style.left = turned ? "auto" : left + 12 + "px";
    tip.style.right = turned ? figure.clientWidth - left + 12 + "px" : "auto";
  });
  svg.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    tip.hidden = true;
  });
}
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
});
)js";

}  // namespace tandem
