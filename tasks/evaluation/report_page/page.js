"use strict";
// The before-after sliders. Without this script every case is a row of four captioned pictures, as it is on paper.

for (const viewer of document.querySelectorAll(".viewer")) {
  const stage = viewer.querySelector(".stage");
  const slider = viewer.querySelector("input[type=range]");
  const pictures = new Map([...stage.querySelectorAll("figure")].map((figure) => [figure.dataset.picture, figure]));

  function choose(left, right) {
    for (const [name, figure] of pictures) {
      figure.classList.toggle("left", name === left);
      figure.classList.toggle("right", name === right);
      figure.setAttribute("aria-hidden", String(name !== left && name !== right));
    }
    slider.setAttribute("aria-label", `Divider between ${left} (left) and ${right} (right)`);
    slider.dataset.left = left;
    tell();
  }

  function tell() {
    stage.style.setProperty("--at", slider.value);
    slider.setAttribute("aria-valuetext", `${slider.value} percent ${slider.dataset.left}`);
  }

  function follow(event) {
    const box = stage.getBoundingClientRect();
    slider.value = String(Math.round((100 * (event.clientX - box.left)) / box.width));
    tell();
  }

  slider.addEventListener("input", tell);
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // no picture is dragged away
    slider.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const radio of viewer.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => choose(...radio.value.split(" ")));
  }
  choose("composite", "harmonized");
}
document.documentElement.classList.add("scripted");
