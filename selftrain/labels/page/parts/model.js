// What the page knows and what was decided: OPEN, REJECTED, or the number of a class.
const OPEN = -2, REJECTED = -1;
const data = JSON.parse(document.getElementById('data').textContent);
const classes = data.classes, rows = data.rows, count = rows.id.length;
const given = data.given;  // labels that were given are reviewed: the class that others are for, and how sure
// Masks or joints over the pictures: a row has no label, and is decided on as a whole. A decision of 0 accepts it, one
// of 1 to 99 does so but for what is less sure than so many percent.
const painted = data.painted || null;
const values = {
  row: rows.row, label: rows.label, accepted: rows.accepted, first: rows.first, flips: rows.flips, seen: rows.seen,
  confidence: Float64Array.from(rows.confidence, Number), margin: Float64Array.from(rows.margin, Number),
  agreement: Float64Array.from(rows.agreement, text => text === '' ? -1 : Number(text)),
};
if (given) values.suggested = given.suggested;
if (rows.doubt) values.doubt = Float64Array.from(rows.doubt, Number);
if (rows.similar) values.similar = rows.similar;  // a page without samples has none
const decision = new Int32Array(count).fill(OPEN);
const placeOfRow = new Map(rows.row.map((row, i) => [row, i]));
const done = [], undone = [];
const elsewhere = {};  // decisions about rows of the run that are not on this page
let canStore = true;

const byId = id => document.getElementById(id);

// An element with attributes and children; texts become text, never markup.
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

// Text with its invisible and direction-changing characters written out, so that a name cannot pass for another.
function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}/gu;
  return text.replace(hidden, c => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u203a`);
}

function named(text) {
  return text === '' ? '(no name)' : visible(text);
}

function className(number) {
  if (painted) return `${number} %`;
  return number >= 0 && number < classes.length ? named(classes[number]) : 'never labeled';
}

function stateOf(i) {
  if (decision[i] === OPEN) return 'open';
  if (decision[i] === REJECTED) return 'rejected';
  return decision[i] === (painted ? 0 : rows.label[i]) ? 'accepted' : 'corrected';
}

// What is written into the column `correction` for a class: its name, or its number where the name would not be found.
function correctionText(number) {
  if (painted) return String(number / 100);
  const name = classes[number];
  return name !== '' && classes.indexOf(name) === number ? name : String(number);
}

// Decide on several rows at once: pairs of row and decision. One step for undo.
function decide(pairs) {
  const changes = pairs.filter(([i, now]) => decision[i] !== now).map(([i, now]) => [i, decision[i], now]);
  if (!changes.length) return 0;
  changes.forEach(([i, , now]) => { decision[i] = now; });
  done.push(changes);
  undone.length = 0;
  store();
  return changes.length;
}

// Take the last step back (or forth again); returns its rows.
function step(from, to, which) {
  const changes = from.pop();
  if (!changes) return [];
  changes.forEach(change => { decision[change[0]] = change[which]; });
  to.push(changes);
  store();
  return changes.map(change => change[0]);
}

const undo = () => step(done, undone, 1);
const redo = () => step(undone, done, 2);

function totals() {
  const found = { open: 0, accepted: 0, corrected: 0, rejected: 0 };
  for (let i = 0; i < count; i++) found[stateOf(i)]++;
  return found;
}

function store() {
  const kept = { ...elsewhere };
  for (let i = 0; i < count; i++) if (decision[i] !== OPEN) kept[rows.row[i]] = decision[i];
  try {
    localStorage.setItem(data.key, JSON.stringify({ version: 1, decisions: kept }));
    canStore = true;
  } catch {
    canStore = false;  // a private window, or a full or forbidden storage: the page says so
  }
}

// Decisions that an earlier visit left; what does not fit this run is passed over.
function restore() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(data.key) || '{}').decisions || {};
    localStorage.setItem(data.key + ':probe', '1');
    localStorage.removeItem(data.key + ':probe');
  } catch {
    canStore = false;
  }
  decision.fill(OPEN);
  for (const [row, said] of Object.entries(kept)) {
    if (!Number.isInteger(said) || said < REJECTED || said >= (painted ? 100 : classes.length)) continue;
    const i = placeOfRow.get(Number(row));
    if (i === undefined) elsewhere[row] = said;
    else decision[i] = said;
  }
}
