// Draws the charts of a report, in the colours of the page or of paper.
'use strict';

(() => {
  const report = JSON.parse(document.getElementById('report').textContent);
  const place = document.getElementById('charts');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const paper = matchMedia('print');
  let printing = false;
  let charts = [];

  // Lines differ in colour (also for people who are colour-blind), in width and in dashes.
  const LIGHT = { text: '#1b1f24', line: '#d9dde3', hues: ['#0072b2', '#d55e00', '#007a5a', '#a0458a', '#6b6b00'] };
  const DARK = { text: '#c9d1d9', line: '#333a42', hues: ['#56b4e9', '#e69f00', '#2ecc9b', '#e58ac8', '#d6d04a'] };

  const seconds = report.seconds;
  const at = seconds.map((second) => second.at);
  const each = (read) => seconds.map((second) => read(second) ?? null);
  const number = (digits) => (_, value) => (value == null ? '–' : value.toLocaleString('en', { maximumFractionDigits: digits }));

  // Labels at powers of ten, and as many between them as fit.
  const logTicks = (_, ticks) => {
    const digits = ticks.at(-1) / ticks[0] > 300 ? '1' : '125';
    return ticks.map((tick) => (digits.includes(tick.toExponential()[0]) ? tick : null));
  };
  const tens = (_, ticks) => ticks.map((tick) => (tick.toExponential()[0] === '1' ? tick : null));
  const short = (value) => (value == null ? '' : value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : String(value));

  /** Seconds with data between two without: no line leads there, so each is drawn as a point. */
  const lone = (chart, line, show) => {
    const values = chart.data[line];
    const missing = (place) => values[place] == null;
    return show ? null : [...values.keys()].filter((place) => !missing(place) && missing(place - 1) && missing(place + 1));
  };

  /** The content of each chart: a title, the numbers below, and lines of [name, values, style]. */
  const plans = () => {
    const list = [];
    const over = (title, unit, lines, more = {}) => {
      const some = lines.filter(([, values]) => values.some((value) => value != null));
      if (some.length && at.length > 1) list.push({ title, unit, x: at, lines: some, ...more });
    };
    for (const name of ['location', 'chat', 'chat-ack', 'connect', 'join']) {
      const of = (part) => each((second) => second.times?.[name]?.[part]);
      over(`${name}: milliseconds`, 'ms', [
        ['p50', of('p50'), {}],
        ['p99', of('p99'), { width: 2.5 }],
        ['max', of('max'), { dash: [5, 4] }],
      ], { log: true });
    }
    const kinds = Object.entries(report.percentiles ?? {}).filter(([name]) => name !== 'late');
    if (kinds.length) {
      const tables = kinds.map(([, steps]) => {
        const shown = steps.filter(([part]) => part < 1);
        return [shown.map(([part]) => 1 / (1 - part)), shown.map(([, ms]) => Math.max(ms, 0.001))];
      });
      const [x, ...values] = uPlot.join(tables);
      if (x.length > 1) {
        list.push({
          title: 'Milliseconds by percentile', unit: 'ms', x, log: true, percentile: true,
          lines: kinds.map(([name], place) => [name, values[place], {}]),
        });
      }
    }
    over('Messages a second', '/s', [
      ['delivered', each((second) => second.seen), {}],
      ['sent', each((second) => second.sent), { dash: [5, 4] }],
    ]);
    over('Members in their rooms', '', [['members', each((second) => second.inside), {}]]);
    if (seconds.some((second) => second.errors || second.closes)) {
      over('Refused and closed', '', [
        ['errors', each((second) => second.errors), {}],
        ['closes', each((second) => second.closes), { dash: [5, 4] }],
      ]);
    }
    over('Processor: percent of a core', '%', [
      ['the hub', each((second) => (second.hub && second.hub.cpu !== null ? second.hub.cpu * 100 : null)), { width: 2.5 }],
      ['the load generator', each((second) => second.cpu * 100), { dash: [5, 4] }],
    ]);
    over('Memory of the hub: MB', 'MB', [['resident', each((second) => second.hub && second.hub.memory / 1e6), {}]]);
    return list;
  };

  // On paper two charts are side by side, and scripts do not know the width of paper.
  const widthOf = (figure) => (printing || paper.matches ? 330 : figure.clientWidth);

  const draw = () => {
    charts.forEach((chart) => chart.destroy());
    place.replaceChildren();
    const ink = dark.matches && !printing && !paper.matches ? DARK : LIGHT;
    charts = plans().map((plan) => {
      const figure = document.createElement('figure');
      const title = document.createElement('h3');
      title.textContent = plan.title;
      figure.append(title);
      place.append(figure);
      const width = widthOf(figure);
      const grid = { stroke: ink.line, width: 1 };
      const axis = { stroke: ink.text, grid, ticks: grid };
      const y = plan.log ? { distr: 3 } : { range: (_, least, most) => [0, most > 0 ? most * 1.05 : 1] };
      const parts = (x) => `${+(100 - 100 / x).toFixed(4)} %`;
      const options = {
        width, height: 220, padding: [8, 28, 0, 0],
        scales: { x: plan.percentile ? { time: false, distr: 3 } : { time: false }, y },
        axes: [
          plan.percentile
            ? { ...axis, values: (_, ticks) => tens(_, ticks).map((tick) => (tick ? parts(tick) : '')), filter: (_, ticks) => ticks, grid: { ...grid, filter: tens }, ticks: { ...grid, filter: tens } }
            : { ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
          { ...axis, size: 52, values: (_, ticks) => ticks.map(short), ...(plan.log ? { filter: logTicks, grid: { ...grid, filter: logTicks }, ticks: { ...grid, filter: logTicks } } : {}) },
        ],
        series: [
          plan.percentile ? { label: 'part', value: (_, x) => (x == null ? '–' : parts(x)) } : { label: 'second', value: number(0) },
          ...plan.lines.map(([label, , style], place) => ({
            // Each kind has percentiles of its own, so a line skips those of the others. A
            // second without data is a gap.
            label, stroke: ink.hues[place % ink.hues.length], width: 1.5, spanGaps: Boolean(plan.percentile),
            points: { show: plan.x.length < 3, ...(plan.percentile ? {} : { filter: lone }) },
            value: number(plan.unit === 'ms' ? 2 : 1), ...style,
          })),
        ],
      };
      return new uPlot(options, [plan.x, ...plan.lines.map(([, values]) => values)], figure);
    });
  };

  draw();
  dark.addEventListener('change', draw);
  paper.addEventListener('change', draw);
  addEventListener('beforeprint', () => { printing = true; draw(); });
  addEventListener('afterprint', () => { printing = false; draw(); });
  let waiting;
  addEventListener('resize', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => charts.forEach((chart) => chart.setSize({ width: widthOf(chart.root.parentElement), height: 220 })), 100);
  });
})();
