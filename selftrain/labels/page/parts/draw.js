// How a sample is drawn on a canvas, whatever it is.
const form = data.pictures;
const sheets = new Map();
let numbers = null, redrawAll = () => {};

function blobBytes(i) {
  const block = byId(`blob-${i}`);  // blocks stand behind this script: not all are there at once
  if (!block) return null;
  return Uint8Array.from(atob(block.textContent), c => c.charCodeAt(0));
}

function sheetOf(i) {
  const per = form.across ** 2, which = Math.floor(i / per);
  if (!sheets.has(which)) {
    const block = byId(`blob-${which}`);
    if (!block) return null;
    const image = new Image();
    image.onload = () => redrawAll();
    image.src = `data:image/${form.type};base64,${block.textContent}`;
    sheets.set(which, image);
  }
  return sheets.get(which);
}

function numbersOf() {
  if (numbers) return numbers;
  const bytes = blobBytes(0);
  if (!bytes) return null;
  if (form.kind === 'table') numbers = { x: new Float32Array(bytes.buffer) };
  if (form.kind === 'points') numbers = { x: bytes };
  if (form.kind === 'series') {
    const size = count * form.channels;
    numbers = { low: new Float32Array(bytes.buffer, 0, size), high: new Float32Array(bytes.buffer, 4 * size, size),
      x: bytes.subarray(8 * size) };
  }
  return numbers;
}

// Columns of a table row: name and value.
function cellsOf(i) {
  const found = numbersOf(), width = form.columns.length;
  return found ? form.columns.map((name, c) => [name, found.x[i * width + c]]) : [];
}

const short = value => Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Draw sample `i`; the canvas is as large as the style says.
function draw(canvas, i) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  ({ image: drawImage, series: drawSeries, points: drawPoints, table: drawTable }[form.kind] || (() => {}))(
    pen, i, width, height);
}

function drawImage(pen, i, width, height) {
  const sheet = sheetOf(i);
  if (!sheet || !sheet.complete || !sheet.naturalWidth) return;
  const place = i % form.across ** 2, { width: w, height: h } = form;
  const scale = Math.min(width / w, height / h), dw = w * scale, dh = h * scale;
  pen.imageSmoothingEnabled = scale < 1 || Math.max(w, h) > 48;
  pen.imageSmoothingQuality = 'high';
  const whole = length => Math.ceil(length / form.block) * form.block;
  const x = place % form.across * whole(w), y = Math.floor(place / form.across) * whole(h);
  pen.drawImage(sheet, x, y, w, h, (width - dw) / 2, (height - dh) / 2, dw, dh);
}

function drawSeries(pen, i, width, height) {
  const found = numbersOf();
  if (!found) return;
  const { channels, places } = form, lane = (height - 4) / channels;
  pen.lineWidth = height > 100 ? 1.4 : 1;
  pen.lineJoin = 'round';
  for (let c = 0; c < channels; c++) {
    const start = (i * channels + c) * places, top = 2 + c * lane + lane * 0.08, tall = lane * 0.84;
    pen.strokeStyle = color(`line-${c % 4}`);
    pen.beginPath();
    for (let p = 0; p < places; p++) {
      pen.lineTo(2 + (width - 4) * p / Math.max(1, places - 1), top + tall * (1 - found.x[start + p] / 255));
    }
    pen.stroke();
  }
}

function drawPoints(pen, i, width, height) {
  const found = numbersOf();
  if (!found) return;
  const { points, axes } = form, start = i * points * axes, size = Math.min(width, height);
  const dots = [];
  for (let p = 0; p < points; p++) {
    const [x, y, z] = [0, 1, 2].map(a => a < axes ? found.x[start + p * axes + a] / 127.5 - 1 : 0);
    dots.push(axes === 2 ? [x, -y, 0] : [0.71 * (x - y), 0.41 * (x + y) - 0.82 * z, (x + y + z) / 3]);
  }
  pen.fillStyle = color('line-0');
  const radius = Math.max(1, size / 90), reach = axes === 2 ? 0.46 : 0.34;
  for (const [x, y, depth] of dots.sort((a, b) => a[2] - b[2])) {
    pen.globalAlpha = axes === 2 ? 0.8 : 0.6 + 0.4 * depth;
    pen.beginPath();
    pen.arc(width / 2 + x * size * reach, height / 2 + y * size * reach, radius, 0, 2 * Math.PI);
    pen.fill();
  }
}

// A bar for each column: where its value lies in the range of most values.
function drawTable(pen, i, width, height) {
  const cells = cellsOf(i), step = (width - 4) / Math.max(1, cells.length);
  pen.fillStyle = color('track');
  pen.fillRect(2, height / 2 - 0.5, width - 4, 1);
  cells.forEach(([, value], c) => {
    const span = form.high[c] - form.low[c], share = span > 0 ? (value - form.low[c]) / span : 0.5;
    const rise = (Math.min(1, Math.max(0, share)) - 0.5) * (height - 8);
    pen.fillStyle = color(rise < 0 ? 'line-1' : 'line-0');
    pen.fillRect(2 + c * step, height / 2 - Math.max(rise, 0), Math.max(1, step - (step > 4 ? 1.5 : 0)),
      Math.max(1, Math.abs(rise)));
  });
}
