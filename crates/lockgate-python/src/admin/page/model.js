// What the answers of the server mean: quantiles, rates, activities and frames. No document here.

const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);
/** Losses that are the server's or the application's fault. */
const FAILURES = ['aborted', 'queue_full', 'queue_timeout', 'request_timeout'];
const LOSS_WORDS = {
  client_gone: 'client gone', client_too_slow: 'client too slow', aborted: 'aborted by the application', queue_full: 'queue full',
  queue_timeout: 'waited too long for a thread', request_timeout: 'ran too long',
};

/** How many threads a worker may have: fewer are started until they are needed. */
const threadsOf = (worker) => worker.threads_limit || worker.threads;

/** The value below which a share `q` of a histogram lies; null without any. Interpolates in the logarithm. */
function quantile(counts, bounds, q) {
  const total = sum(counts);
  if (!total) return null;
  let left = q * total;
  for (let n = 0; n < counts.length; n += 1) {
    if (counts[n] && left <= counts[n]) {
      const high = bounds[n] == null ? (bounds[n - 1] || 1) * 2 : bounds[n];
      const low = n && bounds[n - 1] ? bounds[n - 1] : high / 2.5;
      return low * (high / low) ** (left / counts[n]);
    }
    left -= counts[n];
  }
  return bounds[bounds.length - 2];
}

/** The element-wise sum of histograms. */
function merged(histograms) {
  const total = [];
  for (const counts of histograms) counts.forEach((value, n) => { total[n] = (total[n] || 0) + value; });
  return total;
}

function median(values, q = 0.5) {
  const known = values.filter((value) => value != null).sort((a, b) => a - b);
  return known.length ? known[Math.min(known.length - 1, Math.floor(known.length * q))] : null;
}

const CLASSES = ['2xx', '3xx', '4xx', '5xx'];

/** /history with one value a point for what the page shows; null if there are no points. */
function series(history) {
  const points = history && history.points;
  if (!points || !points.time || !points.time.length) return null;
  const { time } = points, { step, bounds } = history;
  const at = (name, n) => (points[name] ? points[name][n] : null);
  const rows = time.map((start, n) => {
    const classes = CLASSES.map((name) => at(name, n) || 0);
    const lostBy = FAILURES.map((name) => (points.lost && points.lost[name] ? points.lost[name][n] : 0));
    const lost = sum(lostBy);
    const waits = points.waits ? points.waits[n] : [], durations = points.durations ? points.durations[n] : [];
    // What the server has answered itself with 503 and 504 is in 5xx already.
    return {
      time: start, classes, lost, lostBy, durations, waits, total: sum(classes), failed: Math.max(classes[3], lost),
      p50: quantile(durations, bounds, 0.5), p95: quantile(durations, bounds, 0.95), p99: quantile(durations, bounds, 0.99),
      wait: quantile(waits, bounds, 0.95), running: at('running', n), threads: at('threads', n), waiting: at('waiting', n),
      cpu: at('cpu', n), memory: at('memory', n), connections: at('connections', n), workers: at('workers', n),
      limited: at('limited', n) || 0, hits: at('cache_hits', n) || 0, misses: at('cache_misses', n) || 0,
    };
  });
  return { rows, step, bounds, from: time[0], to: time[time.length - 1] + step, slow: history.slow || [], errors: history.errors || [] };
}

/**
 * p95 of the wait for a thread. Histograms have the requests that got one: those that timed out in the queue have waited
 * as long as queue_timeout, which is longer than any of them.
 */
function waitOf(waits, bounds, taken, timedOut) {
  const part = taken ? (0.95 * (taken + timedOut)) / taken : 1;
  return { wait: quantile(waits, bounds, Math.min(part, 1)), isWaitOverTimeout: timedOut > 0 && part >= 1 };
}

/** The rows of a range of time as one. */
function summary(data, from, to) {
  if (!data) return null;
  const rows = data.rows.filter((row) => row.time + data.step > from && row.time < to);
  if (!rows.length) return null;
  const durations = merged(rows.map((row) => row.durations)), waits = merged(rows.map((row) => row.waits));
  const seconds = rows.length * data.step, total = sum(rows.map((row) => row.total));
  const last = rows[rows.length - 1];
  const timedOut = sum(rows.map((row) => row.lostBy[FAILURES.indexOf('queue_timeout')])), taken = sum(waits);
  const mean = (name) => { const known = rows.filter((row) => row[name] != null); return known.length ? sum(known.map((row) => row[name])) / known.length : null; };
  return {
    seconds, total, from: rows[0].time, to: last.time + data.step, rate: total / seconds,
    failed: sum(rows.map((row) => row.failed)), lost: sum(rows.map((row) => row.lost)), lostBy: FAILURES.map((_, n) => sum(rows.map((row) => row.lostBy[n]))), limited: sum(rows.map((row) => row.limited)),
    classes: CLASSES.map((_, n) => sum(rows.map((row) => row.classes[n]))),
    p50: quantile(durations, data.bounds, 0.5), p95: quantile(durations, data.bounds, 0.95), p99: quantile(durations, data.bounds, 0.99),
    ...waitOf(waits, data.bounds, taken, timedOut), timedOut, answered: sum(durations), running: mean('running'), threads: last.threads,
    waiting: mean('waiting'), cpu: mean('cpu'), memory: last.memory, connections: last.connections,
  };
}

/** What is usual: the third of each value from below, so that an incident that lasts does not become usual. */
function usual(data) {
  if (!data) return null;
  const rows = data.rows.filter((row) => row.total > 0);
  if (rows.length < 6) return null;
  const value = (name) => median(rows.map((row) => row[name]), 0.3);
  return { p95: value('p95'), p50: value('p50'), wait: value('wait'), rate: median(rows.map((row) => row.total / data.step)), share: median(rows.map((row) => row.failed / row.total), 0.3), cpu: value('cpu'), running: value('running') };
}

/**
 * Since when the rows up to the last one are as `isBad` says, with gaps of at most two steps; null if they are not. Time
 * in which nothing was recorded is a gap, too.
 */
function since(data, isBad) {
  let start = null, reach = data.to;
  for (let n = data.rows.length - 1; n >= 0 && reach - data.rows[n].time < 3.5 * data.step; n -= 1) {
    if (isBad(data.rows[n])) reach = start = data.rows[n].time;
  }
  return start;
}

// Activities.

const ACTIVITIES = {
  running: ['Python code and C extensions on a CPU', '--running'],
  GIL: ['waits for the GIL', '--gil'],
  lock: ['waits for a lock', '--lock'],
  network: ['waits for the network', '--network'],
  disk: ['waits for a disk', '--disk'],
  sleep: ['sleeps', '--sleep'],
  'child process': ['waits for a child process', '--child'],
  waiting: ['waits, the system does not say for what', '--unknown'],
};

/** The kind of an activity, its peer, what a sentence says of it, and its colour. */
function activity(text) {
  if (!text) return { kind: 'unknown', peer: '', words: 'not sampled', short: 'not sampled', tone: '--unknown' };
  const whole = String(text);
  const [kind, peer] = whole.startsWith('network ') ? ['network', whole.slice(8)] : [whole, ''];
  const [words, tone] = ACTIVITIES[kind] || [whole, '--unknown'];
  if (!peer) return { kind, peer, words, tone, short: kind === 'running' ? 'runs' : words };
  const port = /:(\d+)$/.exec(peer);
  const service = port && SERVICES[port[1]];
  const name = service ? `${peer} (${service})` : peer;
  return { kind, peer, tone, service, name, words: `waits for ${name}`, short: `waits for ${name}` };
}

// Frames.

/** Whether a file belongs to the application: neither to Python nor to an installed package. */
function isOwn(file) {
  return !/(^|\/)(site-packages|dist-packages)\/|(^|\/)lib(64)?\/python3\.[\dt]+\/|^<frozen|^<string>/.test(file);
}

/** The frame that an operator knows: the most recent one of the application, or the most recent one. */
function ownFrame(frames) {
  return (frames || []).find((frame) => isOwn(frame.file)) || (frames || [])[0] || null;
}

/** The last two parts of a path, which are enough to know it. */
function shortPath(file) {
  return String(file).split('/').slice(-2).join('/');
}

/** A file and its line; a frame of a C function has none. */
function withLine(file, line) {
  return line ? `${file}:${line}` : file;
}

function placeOf(frame) {
  return frame ? withLine(shortPath(frame.file), frame.line) : '';
}

/** Threads by their own frame and their activity, the largest group first. */
function groups(threads) {
  const found = new Map();
  for (const thread of threads) {
    const frame = ownFrame(thread.frames);
    const key = JSON.stringify([frame && frame.file, frame && frame.line, frame && frame.function, thread.activity]);
    const group = found.get(key) || { key, frame, activity: thread.activity, threads: [], labels: new Map() };
    group.threads.push(thread);
    group.labels.set(thread.label, (group.labels.get(thread.label) || 0) + 1);
    found.set(key, group);
  }
  for (const group of found.values()) {
    group.threads.sort((a, b) => b.age - a.age);
    group.label = [...group.labels].sort((a, b) => b[1] - a[1])[0][0];
  }
  return [...found.values()].sort((a, b) => b.threads.length - a.threads.length || b.threads[0].age - a.threads[0].age);
}

/** Counts by activity: of threads now, or of the samples of slow requests. */
function shares(threads, slow) {
  const found = new Map();
  const add = (text, weight) => found.set(text, (found.get(text) || 0) + weight);
  for (const thread of threads || []) if (thread.activity) add(thread.activity, 1);
  for (const request of slow || []) for (const sample of request.samples || []) if (sample.activity) add(sample.activity, sample.count);
  const total = sum([...found.values()]);
  return [...found].map(([text, weight]) => ({ text, weight, share: weight / total })).sort((a, b) => b.weight - a.weight);
}

/** Whether one of the texts contains the search, in any case. */
function matches(search, ...texts) {
  return !search || texts.some((text) => text != null && String(text).toLowerCase().includes(search));
}
