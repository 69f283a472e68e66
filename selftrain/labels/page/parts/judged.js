// What is known of the quality of the labels: estimates from held-out labels, and what the review itself has found.
const judged = data.judged;
const MOST = 200;  // classes in the table: layout of thousands of rows takes seconds, at each key
// Those with the most labels, in the order of their numbers.
const judgedClasses = classes.length <= MOST ? classes.map((_, c) => c) : classes.map((_, c) => c)
  .sort((a, b) => judged.classes[b].count - judged.classes[a].count || a - b).slice(0, MOST);
const foundCells = new Map();  // class -> cell, of those in the table
let showFrom = () => {}, showClass = () => {};

function svg(tag, attributes, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function share(row) {
  if (row.value === undefined) return [el('td', { class: 'number' }, '\u2013'), el('td', {}, '')];
  const line = el('span', { class: 'whisker' }), dot = el('span', { class: 'dot' });
  line.style.left = `${100 * row.low}%`;
  line.style.width = `${100 * (row.high - row.low)}%`;
  dot.style.left = `${100 * row.value}%`;
  const from = row.held === undefined ? '' : `, from ${many(row.held)} held-out decisions`;
  const text = `${percent(row.low)} to ${percent(row.high)}${from}`;
  return [el('td', { class: 'number' }, percent(row.value)),
    el('td', { class: 'interval', title: text }, el('span', { class: 'said' }, text),
      el('span', { class: 'track', 'aria-hidden': 'true' }, line, dot))];
}

function table(caption, titles, lines) {
  const heads = titles.map(([text, number]) => el('th', { scope: 'col', class: number ? 'number' : '' }, text));
  return el('table', { class: 'estimates' }, el('caption', {}, caption),
    el('thead', {}, el('tr', {}, ...heads)), el('tbody', {}, ...lines));
}

const many = value => value.toLocaleString('en');

function link(text, title, action) {
  const made = el('button', { type: 'button', class: 'link', title }, el('bdi', {}, text));
  made.addEventListener('click', action);
  return made;
}

// Bars: how many labels have which confidence. Dots: how many of the held-out decisions with it are right.
function strip() {
  const W = 340, left = 42, right = 8, plot = W - left - right, x = value => left + plot * value;
  const { accepted, others } = judged.bars, most = Math.max(1, ...accepted.map((n, b) => n + others[b]));
  const rise = 110, low = 44, gap = 16, H = rise + low + gap + 22, floor = rise + gap + low;
  const y = value => 6 + (rise - 6) * (1 - value), marks = [];
  for (const value of [0, 0.5, 1]) {
    marks.push(svg('text', { x: left - 6, y: y(value) + 4, class: 'end' }, `${100 * value} %`));
    marks.push(svg('line', { x1: left, x2: W - right, y1: y(value), y2: y(value), class: 'rule' }));
  }
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    marks.push(svg('text', { x: x(value), y: H - 6, class: 'middle' }, String(value)));
  }
  marks.push(svg('line', { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: 'even' }));
  for (const bin of judged.bins) {
    const word = `confidence ${fixed(bin.confidence, 2)}: ${percent(bin.value)} of ${bin.count} right`;
    marks.push(svg('g', { class: 'bin' }, svg('title', {}, word),
      svg('line', { x1: x(bin.confidence), x2: x(bin.confidence), y1: y(bin.low), y2: y(bin.high) }),
      svg('circle', { cx: x(bin.confidence), cy: y(bin.value), r: 3.5 })));
  }
  if (!judged.bins.length) marks.push(svg('text', { x: x(0.5), y: y(0.5) - 6, class: 'middle' }, 'no held-out decisions'));
  accepted.forEach((used, b) => {
    const tall = n => low * n / most, wide = plot / accepted.length - 1, at = x(b / accepted.length) + 0.5;
    const word = `confidence ${fixed(b / accepted.length, 2)} to ${fixed((b + 1) / accepted.length, 2)}: ` +
      `${many(used)} trained on, ${many(others[b])} not`;
    marks.push(svg('g', {}, svg('title', {}, word),
      svg('rect', { x: at, width: wide, y: floor - tall(used), height: tall(used), class: 'used' }),
      svg('rect', { x: at, width: wide, y: floor - tall(used + others[b]), height: tall(others[b]), class: 'rest' })));
  });
  marks.push(svg('line', { x1: left, x2: W - right, y1: floor, y2: floor, class: 'rule' }));
  marks.push(svg('text', { x: left - 6, y: floor, class: 'end' }, '0'));
  marks.push(svg('text', { x: left - 6, y: floor - low + 8, class: 'end' },
    most < 10000 ? String(most) : `${Math.round(most / 1000)}k`));
  const what = 'Above: share of held-out decisions that is right, by confidence, with 95 % intervals. ' +
    'Below: number of labels by confidence.';
  return svg('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': what, class: 'strip' }, ...marks);
}

function headline() {
  const e = judged.accepted;
  if (e.value === undefined) {
    return el('p', { class: 'headline' }, judged.why ? `No estimate: ${judged.why}.` : 'No estimate: nothing is accepted.');
  }
  return el('p', { class: 'headline' }, el('strong', {}, percent(e.value)),
    ` of the ${many(e.count)} accepted labels are right by estimate, between ${percent(e.low)} and ${percent(e.high)}`,
    ` (95 %, from ${many(judged.held_out)} held-out labels).`);
}

function showJudged() {
  if (painted) {
    byId('judged').hidden = true;
    return;
  }
  if (given) {
    byId('judged').replaceChildren(el('h2', {}, 'How were they found?'),
      el('p', { class: 'headline' }, el('strong', {}, many(given.suspected)), ` of ${many(data.total)} given labels are suspected.`),
      el('p', { class: 'faint' }, 'Each sample was asked of networks that had not seen its label. A class is believed where its ' +
        'probability is at least the mean of those that were given it (confident learning, Northcutt et al. 2021); a label is ' +
        'suspected where that class is another one. The list begins with the lowest margin.'));
    return;
  }
  const thresholds = judged.thresholds.map(row => el('tr', {},
    el('th', { scope: 'row' }, link(row.at === 0 ? 'all' : `from ${row.at}`, 'Show these samples', () => showFrom(row.at))),
    el('td', { class: 'number' }, many(row.count)), ...share(row)));
  byId('judged').replaceChildren(el('h2', {}, 'How good are the labels?'), headline(), strip(),
    el('p', { class: 'legend' },
      el('span', { class: 'key dot' }), 'right on held-out labels ', el('span', { class: 'key used' }), 'trained on ',
      el('span', { class: 'key rest' }), 'not'),
    table('By confidence', [['Confidence'], ['Labels', true], ['Right', true], ['95 % interval']], thresholds),
    table(`By class, of the accepted${classes.length <= MOST ? '' :
      `: the ${MOST} of ${many(classes.length)} classes with the most labels`}`, [['Class'], ['Labels', true],
      ['Used', true], ['Right', true], ['95 % interval'], ['Your review', true]], judgedClasses.map(c => {
      const row = judged.classes[c], found = el('td', { class: 'number', id: `found-${c}` }, '\u2013');
      foundCells.set(c, found);
      return el('tr', {}, el('th', { scope: 'row' }, link(className(c), 'Show this class', () => showClass(c))),
        el('td', { class: 'number' }, many(row.count)), el('td', { class: 'number' }, many(row.accepted)), ...share(row),
        found);
    })),
    el('p', { class: 'faint' }, 'Estimates suppose that confidence means the same on held-out and unlabeled samples. ',
      '\u201cYour review\u201d counts accepted among accepted and corrected labels',
      data.choose === 'random' || count === data.total ? '.' : '; this page holds the least certain ones, so it is lower.'));
  showFound();
}

// Of each class: labels that the person found right, of those decided on.
function showFound() {
  const right = new Int32Array(classes.length), all = new Int32Array(classes.length);
  for (let i = 0; i < count; i++) {
    if (decision[i] < 0 || rows.label[i] < 0) continue;
    all[rows.label[i]]++;
    if (decision[i] === rows.label[i]) right[rows.label[i]]++;
  }
  for (const [c, cell] of foundCells) {
    const text = all[c] ? `${right[c]} of ${all[c]}` : '\u2013';
    if (cell.textContent !== text) cell.textContent = text;
  }
}
