// One pair at a time: load both pictures, show them at once, take a choice, send it, show what the answer says comes next.
"use strict";

const RATER = "attune-poll-rater";
const SETTLE_MS = 250; // a key that is pressed sooner was meant for the pair before
const CHOSEN_MS = 140; // how long the choice is seen
const find = (id) => document.getElementById(id);
const sides = ["left", "right"];

let turn = null; // what the server said last
let shown = null; // the comparison on the page
let ready = 0; // when its pictures appeared; 0 while none are
let past = []; // comparisons of this visit, to go back to
let ahead = []; // those gone back from, and the pair that waits behind them
let pastGoal = false;
let retry = null;

function rater() {
  let id = localStorage.getItem(RATER);
  if (!/^[0-9a-f]{32}$/.test(id ?? "")) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem(RATER, id);
  }
  return id;
}

async function call(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({ detail: response.statusText }));
  if (!response.ok) throw new Error(body.detail);
  return body;
}

function only(...visible) {
  for (const id of ["intro", "pair", "rest", "thanks", "fault"]) find(id).hidden = !visible.includes(id);
  find("progress").hidden = visible.includes("intro");
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    retry = action;
    find("fault-text").textContent = `That did not work: ${error.message}`;
    only("fault");
    find("retry").focus();
  }
}

function refresh() {
  return attempt(async () => {
    turn = await call(`/api/turn?rater=${rater()}`);
    ahead = [];
    await advance();
  });
}

async function advance() {
  find("bar").max = Math.max(turn.goal, 1);
  find("bar").value = Math.min(turn.answered, turn.goal);
  find("count").textContent = turn.answered < turn.goal ? `${turn.answered} of ${turn.goal}` : `${turn.answered} compared`;
  const next = ahead.length ? ahead.pop() : turn.comparison;
  if (next === null) return thank("That was the last one: you have compared every pair. Thank you!", false);
  if (turn.answered >= turn.goal && !pastGoal) {
    ahead.push(next);
    return thank(`Thank you: ${turn.answered} pairs compared, which is all we ask. You are welcome to go on.`, true);
  }
  await show(next);
}

function thank(text, more) {
  shown = null;
  find("thanks-text").textContent = text;
  find("more").hidden = !more;
  only("thanks");
  if (more) find("more").focus();
}

async function show(comparison) {
  shown = comparison;
  ready = 0;
  find("pair").classList.add("waiting");
  only("pair", "rest");
  light(false);
  find("back").disabled = past.length === 0;
  find("object").hidden = comparison.mask === null;
  await Promise.all(sides.map((side) => {
    const [picture, mask] = find(side).querySelectorAll("img");
    find(side).classList.remove("chosen");
    if (comparison.mask !== null) mask.src = `/picture/${comparison.mask}`;
    picture.src = `/picture/${comparison[side]}`;
    return picture.decode();
  }));
  find("pair").classList.remove("waiting");
  ready = performance.now();
}

function light(on) {
  for (const side of sides) find(side).querySelector(".mask").hidden = !(on && shown !== null && shown.mask !== null);
}

function choose(choice) {
  const milliseconds = Math.round(performance.now() - ready);
  if (shown === null || ready === 0 || milliseconds < SETTLE_MS) return;
  ready = 0;
  const vote = { rater: rater(), left: shown.left, right: shown.right, choice, milliseconds: Math.min(milliseconds, 86400000) };
  if (choice !== "neither") find(choice).classList.add("chosen");
  document.activeElement.blur(); // or Space would press this button again
  attempt(async () => {
    const sent = call("/api/votes", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(vote) });
    [turn] = await Promise.all([sent, new Promise((done) => setTimeout(done, CHOSEN_MS))]);
    past.push(shown);
    await advance();
  });
}

function back() {
  if (past.length === 0 || ready === 0) return;
  ahead.push(shown);
  attempt(() => show(past.pop()));
}

function goOn() {
  pastGoal = true;
  attempt(advance);
}

const actions = {
  ArrowLeft: () => choose("left"), 1: () => choose("left"),
  ArrowRight: () => choose("right"), 2: () => choose("right"),
  " ": () => choose("neither"), 0: () => choose("neither"),
  Backspace: back, o: () => light(true), O: () => light(true),
};

document.addEventListener("keydown", (event) => {
  const pressing = event.target instanceof HTMLButtonElement && [" ", "Enter"].includes(event.key); // a button that was tabbed to
  if (pressing || find("pair").hidden || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  if (!event.repeat) actions[event.key]();
});
document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") light(false); });
for (const side of sides) find(side).addEventListener("click", () => choose(side));
for (const start of ["pointerdown", "pointerup", "pointerleave", "pointercancel"]) {
  find("object").addEventListener(start, () => light(start === "pointerdown"));
}
find("neither").addEventListener("click", () => choose("neither"));
find("back").addEventListener("click", back);
find("more").addEventListener("click", goOn);
find("retry").addEventListener("click", () => attempt(retry));
find("start").addEventListener("click", refresh);
find("start").focus();
