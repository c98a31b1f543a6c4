// The time line: lanes over one axis of time, drawn on a canvas; a cursor, and a range that is selected.

const LANES = [
  { id: 'requests', name: 'Requests', height: 78 },
  { id: 'latency', name: 'Duration', height: 116 },
  { id: 'queue', name: 'Queue p95', height: 34 },
  { id: 'threads', name: 'Threads', height: 38 },
  { id: 'cpu', name: 'CPU', height: 32 },
];
const MARK_HEIGHT = 18;
const AXIS_HEIGHT = 16;
/** Room for the names of lanes and for their scales, if the page is wide. */
const gutters = (width) => (width > 680 ? [88, 56] : [2, 50]);
/** Colours of counts in the heat map, from few to many: their lightness changes in one direction only. */
const HEAT = {
  light: ['#e4edf6', '#b9d3ea', '#7fb0dc', '#4585bf', '#205b99', '#0c2f5c'],
  dark: ['#1b2838', '#243f5f', '#2f5f90', '#4a8bc4', '#86b9e6', '#d9ebfa'],
};

const chart = { data: null, cursor: null, selection: null, drag: null, onSelect: () => {}, onMove: () => {}, marks: [], isDark: false, colours: {} };

/** The colours of the style sheet, as the canvas needs them. */
function readColours() {
  const probe = el('span');
  document.body.append(probe);
  for (const name of ['--ink', '--dim', '--line', '--panel', '--raised', '--select', '--accent', '--class-ok', '--class-redirect', '--class-client', '--class-server', '--class-lost', '--running', '--gil', '--lock', '--network', '--bad', '--warn', '--unknown']) {
    probe.style.color = `var(${name})`;
    chart.colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const [r, g, b] = (chart.colours['--panel'].match(/[\d.]+/g) || [255, 255, 255]).map(Number);
  chart.isDark = r + g + b < 384;
}

/** The largest round number that is not below `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value * 0.999);
}

function chartArea() {
  const width = byId('chart').clientWidth;
  const [before, behind] = gutters(width), wide = width - before - behind;
  return { width, left: before, right: width - behind, x: (time) => before + ((time - chart.data.from) / (chart.data.to - chart.data.from)) * wide };
}

function drawChart() {
  const box = byId('chart'), canvas = byId('canvas'), { data, colours } = chart;
  const width = box.clientWidth, height = box.clientHeight, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = 'alphabetic';
  if (!data) {
    pen.fillStyle = colours['--dim'];
    pen.fillText('No points yet', 8, 40);
    return;
  }
  const scale = (height - MARK_HEIGHT - AXIS_HEIGHT - LANES.length * 6) / sum(LANES.map((lane) => lane.height));
  const area = chartArea();
  let top = MARK_HEIGHT;
  drawSelection(pen, area, height);
  for (const lane of LANES) {
    const tall = lane.height * scale;
    pen.strokeStyle = colours['--line'];
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(area.left, Math.round(top + tall) + 0.5);
    pen.lineTo(area.right, Math.round(top + tall) + 0.5);
    pen.stroke();
    PAINTERS[lane.id](pen, area, Math.round(top) + 1, Math.round(tall) - 1, lane);
    top += tall + 6;
  }
  drawMarks(pen, area, top);
  drawAxis(pen, area, top, height);
  drawCursor(pen, area, top);
}

/** A lane's name at its left and the top of its scale at its right, on the ground of the panel. */
function label(pen, area, top, name, scale) {
  const { colours } = chart;
  const paint = (text, x, align) => {
    pen.textAlign = align;
    pen.lineWidth = 3;
    pen.lineJoin = 'round';
    pen.strokeStyle = colours['--panel'];
    pen.strokeText(text, x, top + 10);
    pen.fillStyle = colours['--ink'];
    pen.fillText(text, x, top + 10);
  };
  paint(name, area.left > 40 ? 0 : area.left + 2, 'left');
  if (scale) paint(scale, area.right + 6, 'left');
}

function columns(area, draw) {
  const { rows, step } = chart.data;
  for (const row of rows) {
    const left = area.x(row.time), right = area.x(row.time + step);
    const gap = right - left > 4 ? 1 : 0;
    draw(row, left, Math.max(right - left - gap, 0.5));
  }
}

const PAINTERS = {
  requests(pen, area, top, tall, lane) {
    const { rows, step } = chart.data, { colours } = chart;
    const most = roundUp(Math.max(...rows.map((row) => row.total / step), 1));
    const tones = ['--class-ok', '--class-redirect', '--class-client', '--class-server'];
    columns(area, (row, x, w) => {
      let y = top + tall;
      // The worst at the bottom, where small parts can be compared.
      for (const n of [3, 2, 1, 0]) {
        const part = (row.classes[n] / step / most) * (tall - 2);
        if (!row.classes[n]) continue;
        const high = n === 3 ? Math.max(part, 1) : part;
        pen.fillStyle = colours[tones[n]];
        pen.fillRect(x, y - high, w, high);
        y -= high;
      }
    });
    label(pen, area, top, lane.name, `${count(most)}/s`);
  },
  latency(pen, area, top, tall, lane) {
    const { rows, bounds } = chart.data, { colours } = chart, ramp = HEAT[chart.isDark ? 'dark' : 'light'];
    const used = merged(rows.map((row) => row.durations));
    const total = sum(used);
    // Buckets with less than one request in ten thousand at the ends are left out, but for those at the slow end.
    let low = used.findIndex((value) => value > total / 10000), high = used.length - 1;
    while (high > 0 && !used[high]) high -= 1;
    if (low < 0) { label(pen, area, top, lane.name, ''); return; }
    high = Math.min(used.length - 1, Math.max(high, low + 5));
    low = Math.max(0, Math.min(low, high - 5));
    const tallRow = tall / (high - low + 1);
    const most = Math.log(1 + Math.max(...rows.map((row) => Math.max(0, ...row.durations))));
    columns(area, (row, x, w) => {
      for (let n = low; n <= high; n += 1) {
        const value = row.durations[n];
        if (!value) continue;
        const tone = most ? Math.min(ramp.length - 1, Math.floor((Math.log(1 + value) / most) * ramp.length)) : 0;
        pen.fillStyle = ramp[tone];
        const y = Math.round(top + (high - n) * tallRow), next = Math.round(top + (high - n + 1) * tallRow);
        pen.fillRect(x, y, w, next - y);
      }
    });
    const edge = (n) => bounds[n] == null ? bounds[bounds.length - 2] * 2 : bounds[n];
    const place = (seconds) => {
      let n = bounds.findIndex((bound) => bound == null || seconds <= bound);
      const floor = n ? edge(n - 1) : edge(0) / 2.5;
      n += Math.min(1, Math.log(seconds / floor) / Math.log(edge(n) / floor)) - 1;
      return top + tall - (n + 1 - low) * tallRow;
    };
    pen.lineJoin = 'round';
    for (const [name, tone, thick] of [['p50', '--panel', 4], ['p95', '--panel', 4], ['p50', '--ink', 1.75], ['p95', '--class-server', 2]]) {
      pen.strokeStyle = colours[tone];
      pen.lineWidth = thick;
      pen.beginPath();
      let isDown = false;
      columns(area, (row, x, w) => {
        if (row[name] == null) { isDown = false; return; }
        const y = Math.max(top, Math.min(top + tall, place(row[name])));
        if (isDown) pen.lineTo(x + w / 2, y); else pen.moveTo(x + w / 2, y);
        isDown = true;
      });
      pen.stroke();
    }
    label(pen, area, top, lane.name, '');
    pen.textAlign = 'left';
    pen.fillStyle = colours['--ink'];
    let last = Infinity;
    for (let n = high; n >= low; n -= 1) {
      const y = top + (high - n) * tallRow;
      if (bounds[n] == null || Math.abs(last - y) < 22 || y > top + tall - 2) continue;
      last = y;
      pen.fillText(duration(bounds[n]), area.right + 6, y + 4);
    }
  },
  queue(pen, area, top, tall, lane) {
    const { rows } = chart.data;
    const most = roundUp(Math.max(...rows.map((row) => row.wait || 0), 0.01));
    columns(area, (row, x, w) => {
      const high = ((row.wait || 0) / most) * (tall - 1);
      pen.fillStyle = chart.colours['--gil'];
      if (row.wait > 0.0011) pen.fillRect(x, top + tall - high, w, high);
    });
    label(pen, area, top, lane.name, duration(most));
  },
  threads(pen, area, top, tall, lane) {
    const { rows } = chart.data;
    const most = Math.max(...rows.map((row) => Math.max(row.threads || 0, row.running || 0)), 1);
    columns(area, (row, x, w) => {
      if (row.running == null) return;
      const isFull = row.threads && row.running / row.threads > 0.9;
      const high = (row.running / most) * (tall - 1);
      pen.fillStyle = chart.colours[isFull ? '--class-server' : '--running'];
      pen.fillRect(x, top + tall - high, w, high);
    });
    label(pen, area, top, 'Threads busy', count(most));
  },
  cpu(pen, area, top, tall, lane) {
    const { rows } = chart.data;
    const most = roundUp(Math.max(...rows.map((row) => row.cpu || 0), 1));
    columns(area, (row, x, w) => {
      const high = ((row.cpu || 0) / most) * (tall - 1);
      pen.fillStyle = chart.colours['--class-ok'];
      pen.fillRect(x, top + tall - high, w, high);
    });
    label(pen, area, top, 'CPU cores', count(most));
  },
};

const MARK_TONES = { error: '--bad', warning: '--warn' };

function drawMarks(pen, area, bottom) {
  const { data, colours } = chart;
  chart.marks = chart.marks.filter((event) => event.time >= data.from && event.time <= data.to);
  for (const event of chart.marks) {
    const x = Math.round(area.x(event.time)) + 0.5, tone = colours[MARK_TONES[event.level] || '--accent'];
    pen.strokeStyle = tone;
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(x, 14);
    pen.lineTo(x, bottom);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = tone;
    pen.beginPath();
    if (event.level === 'error') pen.rect(x - 4.5, 3, 9, 9);
    else if (event.level === 'warning') { pen.moveTo(x, 2); pen.lineTo(x + 5.5, 12); pen.lineTo(x - 5.5, 12); } else pen.arc(x, 8, 4.5, 0, 7);
    pen.fill();
  }
}

function drawAxis(pen, area, top, height) {
  const { data, colours } = chart, span = data.to - data.from;
  const wanted = span / Math.max(2, area.width / 110);
  const tick = [5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200].find((step) => step >= wanted) || 10800;
  const shift = clocks.isUtc ? 0 : new Date(data.to * 1000).getTimezoneOffset() * 60;
  pen.fillStyle = colours['--dim'];
  pen.strokeStyle = colours['--line'];
  for (let time = Math.ceil((data.from - shift) / tick) * tick + shift; time <= data.to; time += tick) {
    const x = area.x(time), text = clock(time).slice(0, tick < 60 ? 8 : 5);
    const half = pen.measureText(text).width / 2;
    pen.textAlign = 'center';
    pen.fillText(text, Math.min(Math.max(x, area.left + half), area.right - half), height - 3);
  }
}

function drawSelection(pen, area, height) {
  const range = chart.drag ? { from: Math.min(chart.drag.from, chart.drag.to), to: Math.max(chart.drag.from, chart.drag.to) } : chart.selection;
  if (!range) return;
  const left = Math.max(area.x(range.from), area.left), right = Math.min(area.x(range.to), area.right);
  if (right <= left) return;
  pen.fillStyle = chart.colours['--select'];
  pen.fillRect(left, 0, right - left, height);
  pen.fillStyle = chart.colours['--accent'];
  pen.fillRect(left - 1, 0, 2, height - AXIS_HEIGHT);
  pen.fillRect(right - 1, 0, 2, height - AXIS_HEIGHT);
}

function drawCursor(pen, area, bottom) {
  if (chart.cursor == null) return;
  const row = chart.data.rows[cursorIndex()];
  const x = Math.round(area.x(row.time + chart.data.step / 2)) + 0.5;
  pen.strokeStyle = chart.colours['--ink'];
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, 2);
  pen.lineTo(x, bottom);
  pen.stroke();
}

/** The row under the cursor, which is a time: rows move, the cursor stays where it is. */
function cursorIndex() {
  const { rows, from, step } = chart.data;
  if (chart.cursor == null) return rows.length - 1;
  return Math.min(rows.length - 1, Math.max(0, Math.floor((chart.cursor - from) / step)));
}

/** The values at a row, as label and text. */
function readings(row, step) {
  const list = [
    ['', `${clock(row.time)}–${clock(row.time + step)}`],
    ['requests', `${count(row.total / step)}/s`],
    ['5xx', count(row.classes[3])],
    ['p50', duration(row.p50)], ['p95', duration(row.p95)],
    ['queue', row.wait != null && row.wait <= 0.001 ? '<\u00a01\u00a0ms' : duration(row.wait)],
    ['threads', row.threads ? `${count(row.running)}/${count(row.threads)}` : '–'],
    ['waiting', count(row.waiting)],
    ['CPU', row.cpu == null ? '–' : `${round(row.cpu, 1)}`],
  ];
  if (row.lost) list.splice(3, 0, ['lost', count(row.lost)]);
  return list;
}

function showReadout() {
  const box = byId('readout'), slider = byId('chart');
  if (!chart.data) { setText(box, ''); return; }
  const index = cursorIndex(), row = chart.data.rows[index];
  const list = readings(row, chart.data.step);
  const events = chart.marks.filter((event) => event.time >= row.time && event.time < row.time + chart.data.step);
  sync(box, list, ([name]) => name, ([name]) => el('span', {}, name ? `${name} ` : null, el('b')), (node, [, text]) => setText(node.lastChild, text));
  slider.setAttribute('aria-valuemax', chart.data.rows.length - 1);
  slider.setAttribute('aria-valuenow', index);
  const spoken = list.map(([name, text]) => `${name} ${text}`.trim()).join(', ');
  slider.setAttribute('aria-valuetext', spoken + events.map((event) => `, event: ${event.text.split('\n')[0]}`).join(''));
  const range = chart.selection;
  setText(byId('selection'), range ? `${clock(range.from)}–${clock(range.to)}, ${duration(range.to - range.from)} selected` : '');
  byId('clear').hidden = !range;
}

function showChart(data, events, selection) {
  chart.data = data;
  chart.marks = (events || []).filter((event) => event.kind !== 'log' || event.level === 'error');
  chart.selection = selection;
  if (data) chart.marks = chart.marks.filter((event) => event.time >= data.from && event.time <= data.to);
  drawChart();
  showReadout();
}

function moveCursor(time) {
  const { from, to, step } = chart.data;
  chart.cursor = time == null ? null : Math.min(to - step / 2, Math.max(from + step / 2, time));
  drawChart();
  showReadout();
}

function select(range) {
  chart.drag = null;
  chart.onSelect(range);
}

function startChart(onSelect) {
  chart.onSelect = onSelect;
  const box = byId('chart');
  const timeAt = (event) => {
    const area = chartArea(), at = event.clientX - box.getBoundingClientRect().left;
    const share = Math.min(1, Math.max(0, (at - area.left) / (area.right - area.left)));
    return chart.data.from + share * (chart.data.to - chart.data.from);
  };
  box.addEventListener('pointerdown', (event) => {
    if (!chart.data || event.button) return;
    box.setPointerCapture(event.pointerId);
    chart.drag = { from: timeAt(event), to: timeAt(event) };
  });
  box.addEventListener('pointermove', (event) => {
    if (!chart.data) return;
    if (chart.drag) chart.drag.to = timeAt(event);
    moveCursor(timeAt(event));
  });
  box.addEventListener('pointerleave', () => { if (chart.data && !chart.drag) moveCursor(null); });
  box.addEventListener('pointercancel', () => { chart.drag = null; drawChart(); });
  box.addEventListener('pointerup', () => {
    const { drag, data } = chart;
    chart.drag = null;
    if (!drag || !data) return;
    const from = Math.min(drag.from, drag.to), to = Math.max(drag.from, drag.to);
    if (to - from >= data.step) select(wholeSteps(from, to)); else drawChart();
  });
  box.addEventListener('keydown', (event) => chartKey(event));
  byId('clear').addEventListener('click', () => { select(null); box.focus(); });
  new ResizeObserver(() => drawChart()).observe(box);
}

function wholeSteps(from, to) {
  const { step } = chart.data;
  return { from: Math.floor(from / step) * step, to: Math.ceil(to / step) * step };
}

function chartKey(event) {
  if (!chart.data || event.ctrlKey || event.metaKey || event.altKey) return;
  const { data } = chart, { step, rows } = data, at = rows[cursorIndex()].time;
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
  let next = null;
  if (steps) next = at + steps * step;
  else if (event.key === 'Home') next = data.from;
  else if (event.key === 'End') next = data.to - step;
  else if (event.key === '[') next = (chart.marks.filter((mark) => mark.time < at - 0.001).pop() || {}).time;
  else if (event.key === ']') next = (chart.marks.find((mark) => mark.time >= at + step) || {}).time;
  else if (event.key === 'Escape') { select(null); moveCursor(null); event.preventDefault(); return; } else return;
  event.preventDefault();
  if (next == null) return;
  next = Math.min(data.to - step, Math.max(data.from, next));
  if (event.shiftKey && steps) {
    // The end of the selection at which the cursor was moves with it; without one, a selection begins here.
    const range = chart.selection, isLeft = range && Math.abs(range.from - at) < step / 2, isRight = range && Math.abs(range.to - step - at) < step / 2;
    const fixed = isLeft && !isRight ? range.to - step : isRight ? range.from : at;
    select({ from: Math.min(fixed, next), to: Math.max(fixed, next) + step });
  }
  moveCursor(next + step / 2);
}
