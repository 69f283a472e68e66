// The list: only what can be seen is in the document. The focus stays on the list, `at` is the place of the current row.
const grid = byId('grid'), head = byId('head'), space = byId('space');
const HEIGHT = { table: 60, tiles: 196 }, TILE = 156, AHEAD = 3;
const WORDS = { open: '', accepted: 'accepted', corrected: 'corrected', rejected: 'rejected' };
const asked = rows.agreement.some(text => text !== '');
const COLUMNS_SHOWN = [
  { key: null, title: form.kind === 'table' ? 'Values' : form.kind === 'none' ? '' : 'Sample', width: 'var(--picture)' },
  { key: 'id', title: 'Name', width: 'minmax(90px, 2fr)' },
  ...painted ? [] : [{ key: 'label', title: given ? 'Given' : 'Label', width: 'minmax(80px, 1.4fr)' }],
  { key: 'confidence', title: given ? 'Probability' : 'Confidence', width: '104px' },
  { key: 'margin', title: 'Margin', width: '72px', number: true, aside: Boolean(given) },
  ...given ? [{ key: 'suggested', title: 'Out of fold', width: 'minmax(90px, 1.4fr)' }] : [
  { key: 'flips', title: 'Flips', width: '58px', number: true },
  { key: 'first', title: 'First used', width: '78px', number: true, aside: true },
  { key: 'seen', title: 'Seen', width: '58px', number: true, aside: true }],
  ...asked ? [{ key: 'agreement', title: 'Agree', width: '70px', number: true, aside: true }] : [],
  { key: 'decision', title: 'Decision', width: 'minmax(116px, 1.2fr)' },
];
const nodes = new Map();  // place -> element
let at = 0, anchor = -1, tiles = false, across = 1;  // anchor: where a range begins, -1 without one

const fixed = (value, digits = 3) => value.toFixed(digits);
const percent = value => `${(100 * value).toFixed(1)} %`;
const current = () => at < order.length ? order[at] : -1;
const inRange = position => anchor < 0 ? position === at : (position - anchor) * (position - at) <= 0;
const lineHeight = () => tiles ? HEIGHT.tiles : HEIGHT.table;

function textOf(i, key) {
  if (key === 'id') return named(rows.id[i]);
  if (key === 'label') return className(rows.label[i]);
  if (key === 'suggested') return `${className(given.suggested[i])} ${given.value[i]}`;
  if (key === 'first') return rows.first[i] < 0 ? '\u2013' : `step ${rows.first[i]}`;
  if (key === 'agreement') return rows.agreement[i] === '' ? '\u2013' : fixed(values.agreement[i], 2);
  if (key === 'confidence' || key === 'margin') return rows.seen[i] ? fixed(values[key][i]) : '\u2013';
  return String(values[key][i]);
}

function badge(i) {
  const state = stateOf(i);
  if (state === 'open') return el('span', { class: 'badge open' }, '\u2013');
  const sign = { accepted: '\u2713', corrected: '\u2192', rejected: '\u2715' }[state];
  const text = state !== 'corrected' ? WORDS[state] : painted ? `void < ${className(decision[i])}` : className(decision[i]);
  return el('span', { class: `badge ${state}`, title: state }, el('span', { 'aria-hidden': 'true' }, `${sign} `),
    state === 'corrected' && !painted ? el('span', { class: 'said' }, 'corrected to ') : null, el('bdi', {}, text));
}

function meter(value) {
  const fill = el('span', { class: 'fill' });
  fill.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
  return el('span', { class: 'meter', 'aria-hidden': 'true' }, fill);
}

function rowOf(i) {
  const picture = el('canvas', { role: 'img', 'aria-label': `sample ${named(rows.id[i])}` });
  const cells = COLUMNS_SHOWN.map(({ key, number, aside }) => {
    const kind = [key || 'picture', number ? 'number' : '', aside ? 'aside' : ''].join(' ').trim();
    const made = el('div', { role: 'gridcell', class: kind });
    if (key === null) made.append(picture);
    else if (key === 'decision') made.append(badge(i));
    else if (key === 'id' || key === 'label') made.append(el('bdi', { title: textOf(i, key) }, textOf(i, key)));
    else made.append(textOf(i, key));
    if (key === 'confidence') made.append(meter(values.confidence[i]));
    return made;
  });
  return el('div', { class: 'row' }, ...cells);
}

function tileOf(i) {
  const picture = el('canvas', { role: 'img', 'aria-label': `sample ${named(rows.id[i])}` });
  return el('div', { class: 'tile' }, el('div', { role: 'gridcell', class: 'inner' }, picture,
    el('bdi', { class: 'name', title: textOf(i, 'id') }, textOf(i, 'id')),
    el('div', { class: 'line' }, el('bdi', { class: 'label' }, painted ? '' : textOf(i, 'label')),
      el('span', {}, textOf(i, 'confidence'))),
    el('div', { class: 'line' }, badge(i),
      rows.flips[i] ? el('span', { class: 'faint' }, `${rows.flips[i]} flip${rows.flips[i] === 1 ? '' : 's'}`) : null)));
}

function place(position) {
  const i = order[position], made = tiles ? tileOf(i) : rowOf(i);
  made.id = `item-${i}`;
  made.setAttribute('role', 'row');
  made.setAttribute('aria-rowindex', position + 2);
  made.setAttribute('aria-selected', inRange(position));
  made.classList.add(stateOf(i));
  if (rows.accepted[i]) made.classList.add('used');
  made.style.top = `${Math.floor(position / across) * lineHeight()}px`;
  if (tiles) made.style.left = `${position % across * 100 / across}%`;
  made.dataset.place = position;
  return made;
}

// Bring the document in line with what is to be seen; `anew`: make every row again.
function render(anew = false) {
  const height = lineHeight(), lines = Math.ceil(order.length / across);
  const first = Math.max(0, Math.floor(grid.scrollTop / height) - AHEAD) * across;
  const last = Math.min(lines, Math.ceil((grid.scrollTop + grid.clientHeight) / height) + AHEAD) * across;
  space.style.height = `${lines * height}px`;
  for (const [position, node] of nodes) {
    if (anew || position < first || position >= last || position >= order.length) {
      node.remove();
      nodes.delete(position);
    }
  }
  const fresh = [];
  for (let position = first; position < Math.min(last, order.length); position++) {
    if (nodes.has(position)) continue;
    const made = place(position);
    nodes.set(position, made);
    fresh.push(made);
  }
  space.append(...fresh);
  fresh.forEach(node => draw(node.querySelector('canvas'), order[node.dataset.place]));
  const i = current();
  if (i >= 0) grid.setAttribute('aria-activedescendant', `item-${i}`);
  else grid.removeAttribute('aria-activedescendant');
}

redrawAll = () => {
  for (const [position, node] of nodes) draw(node.querySelector('canvas'), order[position]);
  drawSample();
};

// Rows of these samples, made again.
function refresh(samples) {
  const changed = new Set(samples);
  for (const [position, node] of nodes) {
    if (!changed.has(order[position])) continue;
    const made = place(position);
    node.replaceWith(made);
    nodes.set(position, made);
    draw(made.querySelector('canvas'), order[position]);
  }
}

// Samples that a decision is about: the current one, or the range up to it.
function chosenSamples() {
  return anchor < 0 ? order.slice(at, at + 1) : order.slice(Math.min(anchor, at), Math.max(anchor, at) + 1);
}

// `extend`: from where one stands on, all up to there are chosen.
function moveTo(position, extend = false) {
  if (!order.length) return;
  anchor = !extend ? -1 : anchor < 0 ? at : anchor;
  at = Math.min(order.length - 1, Math.max(0, position));
  const height = lineHeight(), top = Math.floor(at / across) * height, covered = head.offsetHeight;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + height + covered > grid.scrollTop + grid.clientHeight) {
    grid.scrollTop = top + height + covered - grid.clientHeight;
  }
  render();
  for (const [place, node] of nodes) node.setAttribute('aria-selected', inRange(place));
  if (anchor >= 0) announce(`${many(Math.abs(at - anchor) + 1)} chosen for the next decision`);
  showSample();
}

function fit() {
  grid.classList.toggle('tiled', tiles);
  across = tiles ? Math.max(1, Math.floor(space.clientWidth / TILE)) : 1;
  grid.style.setProperty('--across', across);
  render(true);
}

// Show the rows of `order` from the start, or from sample `kept` on where it is among them.
function show(kept = -1) {
  grid.setAttribute('aria-rowcount', order.length + 1);
  byId('nothing').hidden = order.length > 0;
  byId('shown').textContent = `${order.length.toLocaleString('en')} of ${count.toLocaleString('en')} shown`;
  at = Math.max(0, order.indexOf(kept));
  grid.scrollTop = 0;
  render(true);
  moveTo(at);
  showSample();
}

function makeHead(sortBy) {
  grid.style.setProperty('--columns', COLUMNS_SHOWN.map(column => column.width).join(' '));
  grid.style.setProperty('--columns-narrow', COLUMNS_SHOWN.filter(c => !c.aside).map(column => column.width).join(' '));
  for (const { key, title, number, aside } of COLUMNS_SHOWN) {
    const kind = [key || 'picture', number ? 'number' : '', aside ? 'aside' : ''].join(' ').trim();
    const cellMade = el('div', { role: 'columnheader', class: kind });
    if (key === null) cellMade.append(title);
    else {
      const button = el('button', { type: 'button', tabindex: '-1', 'data-sort': key }, title);
      button.addEventListener('click', () => sortBy(key));
      cellMade.append(button);
    }
    head.append(cellMade);
  }
}

function markSort(sort, down) {
  for (const cellMade of head.children) {
    const own = cellMade.firstChild && cellMade.firstChild.dataset && cellMade.firstChild.dataset.sort === sort;
    if (own) cellMade.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    else cellMade.removeAttribute('aria-sort');
  }
}
