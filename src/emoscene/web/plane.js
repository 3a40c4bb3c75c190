// The picker of emotions. `element` is its root, `props` what affect_plane.py gave it: value, names, places, power.
const { names, places, power } = props;
const MIDDLE = 170, REACH = 140, STEP = 0.05;
const svg = element.querySelector("svg"), hand = svg.querySelector(".hand"), said = element.querySelector(".said");
const all = (selector) => Array.from(element.querySelectorAll(selector));
const clip = (number) => Math.max(-1, Math.min(1, number));
let at = [0, 0];

const read = (text) => {
  const weights = Object.fromEntries(names.map((name) => [name, 0])), bare = [];
  for (const part of (text || "").split(",").map((one) => one.trim()).filter(Boolean)) {
    const [name, weight] = part.split(":").map((one) => one.trim());
    if (!(name in weights)) continue;
    if (weight === undefined) bare.push(name);
    else weights[name] = Number(weight) || 0;
  }
  for (const name of bare) weights[name] = 1 / bare.length;
  return weights;
};

const write = (weights) => {
  const some = names.filter((name) => weights[name]);
  return some.length === 1 && weights[some[0]] === 1 ? some[0] : some.map((name) => name + ":" + weights[name]).join(",");
};

// Shepard's interpolation, as taxonomy.weights_at has it; the ninth point is the neutral origin.
const affect = (valence, arousal) => {
  const points = [...names.map((name) => places[name]), [0, 0]];
  const far = points.map(([v, a]) => Math.max(Math.hypot(valence - v, arousal - a), 1e-9));
  const near = Math.min(...far), shares = far.map((distance) => (near / distance) ** power);
  const sum = shares.reduce((one, other) => one + other);
  return Object.fromEntries(names.map((name, i) => [name, Math.round((1000 * shares[i]) / sum) / 1000]));
};

const centre = (weights) => {
  const whole = Math.max(1, names.reduce((sum, name) => sum + Math.abs(weights[name]), 0));
  return [0, 1].map((axis) => clip(names.reduce((sum, name) => sum + weights[name] * places[name][axis], 0) / whole));
};

const draw = (weights) => {
  const x = MIDDLE + REACH * at[0], y = MIDDLE - REACH * at[1];
  hand.setAttribute("transform", "translate(" + x + " " + y + ")");
  for (const line of all(".spoke")) {
    const [v, a] = places[line.dataset.name], weight = weights[line.dataset.name];
    const ends = { x1: x, y1: y, x2: MIDDLE + REACH * v, y2: MIDDLE - REACH * a };
    for (const [key, value] of Object.entries(ends)) line.setAttribute(key, value);
    line.style.strokeWidth = 7 * Math.min(1, Math.abs(weight));
    line.style.strokeDasharray = weight < 0 ? "2 6" : "none";
  }
  for (const dot of all(".dot")) dot.classList.toggle("on", Math.abs(weights[dot.dataset.name]) >= 0.05);
  for (const range of all("input")) range.value = weights[range.dataset.name];
  for (const output of all("output")) output.textContent = String(Math.round(100 * weights[output.dataset.name]) / 100);
  for (const button of all("[aria-pressed]")) button.setAttribute("aria-pressed", weights[button.dataset.name] === 1);
  const main = names.filter((name) => Math.abs(weights[name]) >= 0.05);
  main.sort((one, other) => Math.abs(weights[other]) - Math.abs(weights[one]));
  const words = main.map((name) => (weights[name] === 1 ? name : name + " " + Math.round(100 * weights[name]) / 100));
  said.textContent = words.join(", ") || "no emotion: the base alone";
  hand.setAttribute("aria-valuetext", "valence " + at[0].toFixed(2) + ", arousal " + at[1].toFixed(2) + ": " + said.textContent);
  hand.setAttribute("aria-valuenow", at[0].toFixed(2));
};

const set = (weights, place) => {
  at = place || centre(weights);
  props.value = write(weights);
  draw(weights);
};
const go = (valence, arousal) => {
  const place = [clip(valence), clip(arousal)].map((one) => Math.round(100 * one) / 100);
  set(affect(...place), place);
};
const only = (name) => set({ ...read(""), [name]: 1 });
const point = (event) => {
  const box = svg.getBoundingClientRect(), unit = 340 / box.width;
  go(((event.clientX - box.left) * unit - MIDDLE) / REACH, (MIDDLE - (event.clientY - box.top) * unit) / REACH);
};

svg.addEventListener("pointerdown", (event) => {
  const dot = event.target.closest(".dot");
  if (dot) only(dot.dataset.name);
  else point(event);
  svg.setPointerCapture(event.pointerId);
  hand.focus({ preventScroll: true });
  event.preventDefault();
});
svg.addEventListener("pointermove", (event) => {
  if (svg.hasPointerCapture(event.pointerId) && event.buttons) point(event);
});
hand.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  const move = event.key === "Home" ? [-at[0], -at[1]] : moves[event.key];
  if (!move) return;
  go(at[0] + move[0], at[1] + move[1]);
  event.preventDefault();
});
element.addEventListener("input", (event) => {
  if (event.target.type === "range") set({ ...read(props.value), [event.target.dataset.name]: Number(event.target.value) });
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) button.dataset.name ? only(button.dataset.name) : set(read(""));
});
watch("value", () => {
  const weights = read(props.value);
  at = centre(weights);
  draw(weights);
});
at = centre(read(props.value));
draw(read(props.value));
