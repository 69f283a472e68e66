// Which rows are shown, and in which order.
const collator = new Intl.Collator(undefined, { numeric: true });
const STATES = ['open', 'accepted', 'corrected', 'rejected'];
const SORTS = [
  ...values.doubt ? [{ key: 'doubt', name: 'least sure part' }] : [],
  { key: 'margin', name: 'margin' }, { key: 'confidence', name: 'confidence' }, { key: 'flips', name: 'flips', down: true },
  { key: 'id', name: 'name' }, { key: 'label', name: 'label' }, { key: 'first', name: 'first used' },
  { key: 'seen', name: 'times seen' }, { key: 'agreement', name: 'agreement' }, { key: 'decision', name: 'decision' },
  { key: 'row', name: 'order of the ledger' }, { key: 'suggested', name: 'out of fold' },
  ...values.similar ? [{ key: 'similar', name: 'similarity' }] : [],
].filter(sort => sort.key !== 'label' || !painted).filter(sort => given ? !['flips', 'first', 'seen'].includes(sort.key) : sort.key !== 'suggested');
const ranks = {};
let order = Int32Array.from(rows.row, (row, i) => i);

// A number for each row to sort by; names are ranked once.
function keyOf(name) {
  if (name === 'decision') return Int32Array.from(decision, (said, i) => STATES.indexOf(stateOf(i)));
  if (name === 'first') return Float64Array.from(rows.first, step => step < 0 ? Infinity : step);
  if (name !== 'id') return values[name];
  if (!ranks.id) {
    ranks.id = new Int32Array(count);
    Array.from(rows.id, (id, i) => i).sort((a, b) => collator.compare(rows.id[a], rows.id[b]) || a - b)
      .forEach((i, place) => { ranks.id[i] = place; });
  }
  return ranks.id;
}

function passing(filter) {
  const found = [], text = filter.find.toLocaleLowerCase();
  const lower = text && (ranks.lower = ranks.lower || rows.id.map(id => id.toLocaleLowerCase()));
  for (let i = 0; i < count; i++) {
    if (text && !lower[i].includes(text)) continue;
    if (filter.label !== '' && rows.label[i] !== Number(filter.label)) continue;
    if (values.confidence[i] < filter.from || values.confidence[i] > filter.to) continue;
    if (filter.used !== '' && rows.accepted[i] !== Number(filter.used)) continue;
    if (filter.decided !== '' && stateOf(i) !== filter.decided) continue;
    found.push(i);
  }
  return found;
}

// Filter and sort all rows; rows that are equal stay in the order of the ledger.
function arrange(filter, sort, down) {
  const begun = performance.now(), key = keyOf(sort), sign = down ? -1 : 1;
  order = Int32Array.from(passing(filter).sort((a, b) => {
    const difference = key[a] === key[b] ? 0 : key[a] < key[b] ? -1 : 1;
    return sign * difference || rows.row[a] - rows.row[b];
  }));
  performance.measure('arrange', { start: begun, end: performance.now() });
}
