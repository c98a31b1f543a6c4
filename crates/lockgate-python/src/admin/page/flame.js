// A profile of some seconds, and its flame graph.

const flame = { profile: null, root: null, focus: null, weight: 'wall', hover: null, isBusy: false, boxes: [], at: [] };
const FLAME_ROW = 19;
const FLAME_MOST_ROWS = 60;

/** The tree of a profile: its nodes come with their parents before them, and the first one is everything. */
function flameTree(profile, weight) {
  const all = (profile.nodes || []).map((node) => ({ ...node, value: weight === 'cpu' ? node.cpu : node.seconds, children: [], depth: 0, parent: null }));
  all.slice(1).forEach((node, n) => {
    const parent = all[Math.min(profile.nodes[n + 1].parent, n)];
    node.parent = parent;
    node.depth = parent.depth + 1;
    parent.children.push(node);
  });
  for (const node of all) {
    node.self = Math.max(0, node.value - sum(node.children.map((child) => child.value)));
    // What was waited for is a leaf of its stack: it is the frame's time, too.
    node.name = node.kind === 'all' ? 'all requests' : node.name || 'threads without a request';
  }
  return all[0] || { name: 'all requests', kind: 'all', value: 0, self: 0, children: [], depth: 0, parent: null };
}

const WAITS = { gil: '--gil', GIL: '--gil', lock: '--lock', network: '--network', disk: '--disk', sleep: '--sleep', child: '--child', waiting: '--unknown' };

/** Which part of the width each node has below `focus`: its ancestors are above it, at full width. */
function flameBoxes(focus, width) {
  const boxes = [];
  const path = [];
  for (let node = focus; node; node = node.parent) path.unshift(node);
  path.forEach((node) => boxes.push({ node, left: 0, width, row: node.depth }));
  const place = (parent, left, wide) => {
    let x = left;
    for (const child of [...parent.children].sort((a, b) => b.value - a.value)) {
      const part = (child.value / parent.value) * wide;
      if (part >= 0.6 && child.depth < FLAME_MOST_ROWS) {
        boxes.push({ node: child, left: x, width: part, row: child.depth });
        place(child, x, part);
      }
      x += part;
    }
  };
  place(focus, 0, width);
  return boxes;
}

function flameColour(node) {
  if (node.kind in WAITS) return chart.colours[WAITS[node.kind]] || chart.colours['--unknown'];
  if (!node.file) return chart.colours['--raised'];
  // One hue for the application and one for packages; the function's name decides the shade.
  let hash = 0;
  for (const letter of node.name) hash = (hash * 31 + letter.codePointAt(0)) % 997;
  const shade = hash % 14, isMine = node.kind === 'own';
  if (chart.isDark) return isMine ? `hsl(205 48% ${31 + shade * 0.7}%)` : `hsl(215 12% ${25 + shade * 0.6}%)`;
  return isMine ? `hsl(205 72% ${76 + shade * 0.6}%)` : `hsl(215 18% ${84 + shade * 0.5}%)`;
}

/** Black or white, whichever can be read on the colour of a wait in the light theme. */
function inkOn(kind) {
  return ['network', 'child', 'disk'].includes(kind) ? '#ffffff' : '#16191d';
}

/** A name, cut with an ellipsis so that it fits into so many pixels. */
function fitting(pen, name, width) {
  if (pen.measureText(name).width <= width) return name;
  const letters = [...name];
  let low = 0, high = letters.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (pen.measureText(`${letters.slice(0, middle).join('')}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${letters.slice(0, low).join('')}…` : '';
}

function drawFlame() {
  const canvas = byId('flame-canvas');
  if (!canvas || !flame.root) return;
  const width = canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
  flame.boxes = flameBoxes(flame.focus, width);
  const height = (Math.max(...flame.boxes.map((box) => box.row)) + 1) * FLAME_ROW;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext('2d'), family = getComputedStyle(document.body).fontFamily;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = `11.5px ${family}`;
  pen.textBaseline = 'middle';
  for (const box of flame.boxes) {
    const { node } = box, top = box.row * FLAME_ROW;
    const isFound = view.search && matches(view.search, node.name, node.file);
    pen.fillStyle = isFound ? chart.colours['--gil'] : flameColour(node);
    pen.fillRect(box.left, top, Math.max(box.width - 0.6, 0.6), FLAME_ROW - 1);
    if (node === flame.hover) {
      pen.strokeStyle = chart.colours['--ink'];
      pen.lineWidth = 2;
      pen.strokeRect(box.left + 1, top + 1, Math.max(box.width - 3, 1), FLAME_ROW - 3);
    }
    if (box.width < 26) continue;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, top, box.width - 3, FLAME_ROW);
    pen.clip();
    pen.fillStyle = isFound || node.kind in WAITS ? (chart.isDark ? '#10151b' : isFound ? '#16191d' : inkOn(node.kind)) : chart.colours['--ink'];
    pen.fillText(fitting(pen, node.name, box.width - 8), box.left + 4, top + FLAME_ROW / 2);
    pen.restore();
  }
}

function flameWords(node) {
  const share = percent(node.value / flame.root.value), own = node.self ? `, ${percent(node.self / flame.root.value)} itself` : '';
  return `${node.name}${node.file ? `, ${withLine(node.file, node.line)}` : ''}: ${share} (${duration(node.value)})${own}`;
}

function hoverFlame(node) {
  flame.hover = node;
  const text = flameWords(node || flame.focus);
  setText(byId('flame-trail'), text);
  byId('flame').setAttribute('aria-valuetext', text);
  drawFlame();
}

function focusFlame(node) {
  flame.focus = node;
  byId('flame-reset').disabled = node === flame.root;
  hoverFlame(node);
}

function buildFlame() {
  const weight = byId('profile-weight').value;
  flame.root = flameTree(flame.profile, weight);
  flame.focus = flame.root;
  const box = byId('profile'), { profile } = flame;
  if (!flame.root.value) {
    box.replaceChildren(el('p', { class: 'empty' }, weight === 'cpu' ? 'No thread has used CPU time in this profile.' : 'No thread ran a request.'));
    return;
  }
  const graph = el('div', { id: 'flame', class: 'flame', role: 'slider', tabindex: 0, 'aria-label': 'Flame graph: arrow keys move, Enter zooms in, Escape out', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 100 }, el('canvas', { id: 'flame-canvas', 'aria-hidden': 'true' }));
  const nodeAt = (event) => {
    const area = graph.getBoundingClientRect(), x = event.clientX - area.left, row = Math.floor((event.clientY - area.top) / FLAME_ROW);
    const found = flame.boxes.find((one) => one.row === row && x >= one.left && x < one.left + one.width);
    return found ? found.node : null;
  };
  graph.addEventListener('pointermove', (event) => { const node = nodeAt(event); if (node !== flame.hover) hoverFlame(node); });
  graph.addEventListener('pointerleave', () => hoverFlame(null));
  graph.addEventListener('click', (event) => { const node = nodeAt(event); if (node) focusFlame(node); });
  graph.addEventListener('keydown', flameKey);
  box.replaceChildren(
    el('div', { class: 'tools' }, el('button', { id: 'flame-reset', type: 'button', disabled: true, onclick: () => focusFlame(flame.root) }, 'Whole profile'),
      el('button', { type: 'button', onclick: saveProfile }, 'Save for speedscope'), el('span', { class: 'note' }, 'lockgate ctl profile writes SVG and text, too')),
    el('p', { id: 'flame-trail', class: 'trail' }), graph,
    el('h3', {}, 'Hottest lines'), hottest(profile, weight));
  focusFlame(flame.root);
}

/** The lines in which most time was spent, with that of their callees. */
function hottest(profile, weight) {
  const ending = weight === 'cpu' ? '_cpu' : '', all = weight === 'cpu' ? profile.cpu : profile.seconds;
  const shown = [...(profile.lines || [])].sort((a, b) => b[`self${ending}`] - a[`self${ending}`]).slice(0, 12);
  return staticTable([['Self', 'n'], ['Total', 'n'], ['Line']], shown.map((line) => [percent(line[`self${ending}`] / all), percent(line[`total${ending}`] / all), `${line.function} ${withLine(line.short || shortPath(line.file), line.line)}`]));
}

function flameKey(event) {
  const at = flame.hover || flame.focus;
  const siblings = at.parent ? flame.boxes.filter((box) => box.row === at.depth).map((box) => box.node) : [at];
  const place = siblings.indexOf(at);
  const below = flame.boxes.find((box) => box.node.parent === at);
  const moves = { ArrowUp: at.parent, ArrowDown: below && below.node, ArrowLeft: siblings[place - 1], ArrowRight: siblings[place + 1] };
  if (event.key in moves) { if (moves[event.key]) hoverFlame(moves[event.key]); } else if (event.key === 'Enter' || event.key === ' ') focusFlame(at);
  else if (event.key === 'Escape') focusFlame(flame.focus.parent || flame.root);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

async function startProfile() {
  const seconds = Number(byId('profile-seconds').value), button = byId('profile-start'), note = byId('profile-note');
  if (flame.isBusy) return;
  flame.isBusy = true;
  button.disabled = true;
  const begun = performance.now();
  const tick = setInterval(() => setText(note, `${Math.max(0, Math.ceil(seconds - (performance.now() - begun) / 1000))} s left`), 250);
  try {
    const response = await fetch(`profile?seconds=${seconds}&rate=100&format=json`, { headers: { 'Lockgate-Action': '1' } });
    if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
    flame.profile = await response.json();
    const { rounds, missed, failed } = flame.profile;
    const incomplete = missed || failed ? `; ${count(rounds)} rounds, ${count(missed || 0)} missed, ${count(failed || 0)} samples without a stack` : '';
    setText(note, `${seconds} s, taken at ${clock(Date.now() / 1000)}${incomplete}`);
    buildFlame();
    announce('The profile is complete');
  } catch (error) {
    setText(note, `No profile: ${error.message}`);
  } finally {
    clearInterval(tick);
    flame.isBusy = false;
    button.disabled = false;
  }
}

/** The profile in the file format of speedscope: one profile of time, one of CPU time. */
function speedscope(profile) {
  const nodes = profile.nodes || [];
  const stacks = nodes.map(() => []);
  nodes.forEach((node, n) => { stacks[n] = n ? [...stacks[Math.min(node.parent, n - 1)], n] : []; });
  const one = (name, key) => {
    const left = nodes.map((node) => node[key]);
    nodes.forEach((node, n) => { if (n) left[Math.min(node.parent, n - 1)] -= node[key]; });
    const used = nodes.map((_, n) => n).filter((n) => n && left[n] > 1e-6);
    const weights = used.map((n) => left[n]);
    return { type: 'sampled', name, unit: 'seconds', startValue: 0, endValue: sum(weights), samples: used.map((n) => stacks[n]), weights };
  };
  return {
    $schema: 'https://www.speedscope.app/file-format-schema.json', name: profile.heading || 'Lockgate', exporter: 'Lockgate',
    shared: { frames: nodes.map(({ name, file, line }) => (file ? { name, file, line } : { name: name || 'threads without a request' })) }, profiles: [one('time', 'seconds'), one('CPU time', 'cpu')],
  };
}

function saveProfile() {
  const content = new Blob([JSON.stringify(speedscope(flame.profile))], { type: 'application/json' });
  const link = el('a', { download: 'profile.speedscope.json' });
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
