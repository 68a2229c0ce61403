// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/page_assets.h"

namespace tandem {

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
