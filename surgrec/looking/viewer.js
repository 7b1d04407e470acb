// The part of a page of `surgrec look` that answers to clicks: frames, feature map, and how alike all tokens are to the one that was clicked.
// The arithmetic of `similarity` is that of surgrec/looking/similarity.py, and a test compares the two.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("look-data").textContent);
  const root = document.getElementById("viewer");
  const [count, rows, columns, width] = data.shape;
  const cells = rows * columns;

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const codes = new Int8Array(bytes(data.codes).buffer);
  const scales = floats(data.scales);
  const offset = floats(data.offset);
  const colours = bytes(data.colours);

  // Scores of all tokens, their squared lengths, and their products with the mean token.
  const scores = new Float32Array(codes.length);
  const squares = new Float32Array(count * cells);
  const inner = new Float32Array(count * cells);
  for (let token = 0; token < count * cells; token++) {
    let square = 0, product = 0;
    for (let k = 0; k < width; k++) {
      const score = codes[token * width + k] * scales[token];
      scores[token * width + k] = score;
      square += score * score;
      product += score * offset[k];
    }
    squares[token] = square;
    inner[token] = product;
  }

  // Cosine similarity of all tokens with one of them; `isCentred`: of what remains without the mean token.
  function similarity(moment, row, column, isCentred) {
    const here = moment * cells + row * columns + column;
    const share = isCentred ? 0 : 1, square = isCentred ? 0 : data.square;
    const length = (token) => squares[token] + share * 2 * inner[token] + square;
    const result = new Float32Array(count * cells), own = length(here);
    for (let token = 0; token < count * cells; token++) {
      let dot = share * (inner[token] + inner[here]) + square;
      for (let k = 0; k < width; k++) dot += scores[token * width + k] * scores[here * width + k];
      result[token] = Math.min(1, Math.max(-1, dot / Math.sqrt(Math.max(length(token) * own, 1e-20))));
    }
    return result;
  }

  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const frame = part("frame"), under = part("under"), slider = part("slider"), play = part("play");
  const centred = part("centred"), best = part("best"), mark = part("mark"), ring = part("ring");
  const beside = document.getElementById("beside"), besideTime = document.getElementById("beside-time");
  const cursors = document.querySelectorAll(".cursor"), points = document.querySelectorAll("circle[data-moment]");
  let now = Math.floor(count / 2), query = { moment: now, row: rows >> 1, column: columns >> 1 }, likeness, low, timer = null;

  const RAMP = [[38, 20, 72], [62, 73, 137], [38, 130, 142], [80, 190, 120], [253, 231, 37]];
  function ramp(part) {
    const place = Math.min(0.9999, Math.max(0, part)) * (RAMP.length - 1), first = Math.floor(place), rest = place - first;
    return RAMP[first].map((value, channel) => value + rest * (RAMP[first + 1][channel] - value));
  }

  function paint(canvas, colourOf) {
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let cell = 0; cell < cells; cell++) {
      const [red, green, blue] = colourOf(cell);
      image.data.set([red, green, blue, 255], 4 * cell);
    }
    context.putImageData(image, 0, 0);
  }

  function place(box, row, column) {
    box.style.left = `${100 * column / columns}%`;
    box.style.top = `${100 * row / rows}%`;
  }

  function show(moment) {
    now = Math.min(count - 1, Math.max(0, moment));
    slider.value = now;
    frame.src = under.src = beside.src = `data:image/jpeg;base64,${data.frames[now]}`;
    part("time").textContent = `${data.times[now]}, moment ${now + 1} of ${count}`;
    slider.setAttribute("aria-valuetext", data.times[now] + (data.labels[now] ? `, ${data.labels[now]}` : ""));
    part("label").textContent = data.labels[now];
    besideTime.textContent = data.times[now] + (data.labels[now] ? `, ${data.labels[now]}` : "");
    paint(part("map"), (cell) => colours.subarray(3 * (now * cells + cell), 3 * (now * cells + cell) + 3));
    paint(part("likeness"), (cell) => ramp((likeness[now * cells + cell] - low) / Math.max(1e-6, 1 - low)));
    let top = 0;
    for (let cell = 1; cell < cells; cell++) if (likeness[now * cells + cell] > likeness[now * cells + top]) top = cell;
    place(ring, Math.floor(top / columns), top % columns);
    part("top").textContent = likeness[now * cells + top].toFixed(2);
    mark.hidden = now !== query.moment;
    for (const cursor of cursors) cursor.style.left = `${100 * data.places[now]}%`;
    for (const point of points) point.classList.toggle("now", Number(point.dataset.moment) === now);
  }

  // The best likeness at each moment, as a curve over time.
  function drawBest() {
    const line = [];
    for (let moment = 0; moment < count; moment++) {
      let top = -1;
      for (let cell = 0; cell < cells; cell++) top = Math.max(top, likeness[moment * cells + cell]);
      line.push(`${(1000 * data.places[moment]).toFixed(1)},${(48 - 44 * (top - low) / Math.max(1e-6, 1 - low)).toFixed(1)}`);
    }
    best.setAttribute("points", line.join(" "));
  }

  function ask(moment, row, column) {
    query = { moment, row, column };
    likeness = similarity(moment, row, column, centred.checked);
    low = Float32Array.from(likeness).sort()[Math.floor(0.02 * likeness.length)];
    part("low").textContent = low.toFixed(2);
    part("asked").textContent = `row ${row + 1}, column ${column + 1} at ${data.times[moment]}`;
    place(mark, row, column);
    drawBest();
    show(now);
  }

  for (const panel of root.querySelectorAll(".pane")) {
    panel.addEventListener("click", (event) => {
      const box = panel.getBoundingClientRect();
      const at = (place, size, parts) => Math.min(parts - 1, Math.max(0, Math.floor(parts * place / size)));
      ask(now, at(event.clientY - box.top, box.height, rows), at(event.clientX - box.left, box.width, columns));
    });
  }
  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  part("chosen").addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    const inside = (value, parts) => Math.min(parts - 1, Math.max(0, value));
    ask(now, inside(query.row + move[0], rows), inside(query.column + move[1], columns));
  });
  for (const element of document.querySelectorAll("[data-moment]")) {
    element.addEventListener("click", () => show(Number(element.dataset.moment)));
  }
  slider.addEventListener("input", () => show(Number(slider.value)));
  centred.addEventListener("change", () => ask(query.moment, query.row, query.column));
  play.addEventListener("click", () => {
    if (timer !== null) clearInterval(timer);
    timer = timer === null ? setInterval(() => show((now + 1) % count), 1000 / data.fps) : null;
    play.textContent = timer === null ? "Play" : "Stop";
  });

  root.similarity = similarity;
  ask(query.moment, query.row, query.column);
  root.hidden = beside.parentElement.hidden = false;
})();
