"""The style sheet of reports: light and dark, a screen's width and a phone's.

Colours of the groups are Okabe and Ito's, as in style.py, a little darker on
white and lighter on black, so that they keep their contrast.
"""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --card: #ffffff; --ink: #1c1e21; --soft: #5c6066;
  --rule: #dedbd4; --tint: #f3f1ec; --accent: #0068a8; --mark: #fff3cf;
  --overall: #1c1e21; --many: #c98500; --medium: #008f68; --few: #0068a8;
  --computing: #56606b; --waiting: #d55e00; --validation: #8fc7ea;
  --run0: #0068a8; --run1: #d55e00; --run2: #008f68; --run3: #b5578e;
  --run4: #c98500; --run5: #3d9bd1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141619; --card: #1b1e22; --ink: #e9e7e2; --soft: #a3a7ad;
    --rule: #363a40; --tint: #23272c; --accent: #7cc0f2; --mark: #3d3618;
    --overall: #f2f0ea; --many: #f0b13c; --medium: #35c79a; --few: #6cb6ef;
    --computing: #8d98a5; --waiting: #ff8a3d; --validation: #35698c;
    --run0: #6cb6ef; --run1: #ff8a3d; --run2: #35c79a; --run3: #e39ac5;
    --run4: #f0b13c; --run5: #b7ddf6;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 960px; margin: 0 auto; padding: 40px 28px 72px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 4px;
  letter-spacing: -0.015em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 56px 0 4px;
  padding-top: 20px; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 8px; }
p { margin: 0 0 12px; max-width: 68ch; }
.under { color: var(--soft); margin-bottom: 20px; }
.several .under { margin-bottom: 6px; }
.explain { color: var(--soft); font-size: .925rem; }
.missing { border-left: 3px solid var(--waiting); background: var(--tint);
  padding: 10px 14px; margin: 16px 0; border-radius: 0 6px 6px 0; }
.missing p { margin: 0; }
.summary { font-size: 1.05rem; padding: 0 0 0 1.1em; margin: 20px 0 28px;
  max-width: 68ch; }
.summary li { margin: 0 0 6px; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px;
  margin: 24px 0 8px; }
.tile { background: var(--card); border: 1px solid var(--rule);
  border-top: 4px solid var(--c); border-radius: 8px; padding: 12px 16px; }
.tile .value { font-size: 2.1rem; line-height: 1.15; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.tile .value small { font-size: 1rem; font-weight: 400; color: var(--soft);
  letter-spacing: 0; }
.tile .label { font-weight: 600; }
.tile .detail { color: var(--soft); font-size: .85rem; line-height: 1.35; }
.overall { --c: var(--overall); } .many { --c: var(--many); }
.medium { --c: var(--medium); } .few { --c: var(--few); }
.run0 { --c: var(--run0); } .run1 { --c: var(--run1); }
.run2 { --c: var(--run2); } .run3 { --c: var(--run3); }
.run4 { --c: var(--run4); } .run5 { --c: var(--run5); }
.time-computing { --c: var(--computing); }
.time-waiting { --c: var(--waiting); }
.time-validation { --c: var(--validation); }
figure { margin: 16px 0; }
svg.chart { display: block; width: 100%; height: auto; overflow: visible; }
.narrow { display: none; max-width: 480px; }
.chart text { font-size: 12.5px; fill: var(--ink); }
.grid text { fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid path { stroke: var(--rule); stroke-width: 1; }
.chart .note { fill: var(--soft); font-size: 12px; }
.chart .name { font-weight: 600; fill: var(--c); }
.halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px;
  stroke-linejoin: round; }
.line { fill: none; stroke: var(--c); stroke-width: 2;
  stroke-linejoin: round; stroke-linecap: round; }
.line.many { stroke-dasharray: 8 5; }
.line.medium { stroke-dasharray: 9 4 1 4; }
.line.few { stroke-width: 3; }
.line.run1 { stroke-dasharray: 8 5; }
.line.run2 { stroke-dasharray: 9 4 1 4; }
.line.run3 { stroke-dasharray: 1 5; }
.line.run4 { stroke-dasharray: 14 5; }
.line.run5 { stroke-dasharray: 4 4; }
.line.solid { stroke-dasharray: none; stroke-width: 2.5; }
.line.dashed { stroke-dasharray: 3 4; stroke-width: 1.6; }
.mark { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
rect, .area { fill: var(--c); }
.half { fill: var(--c); opacity: .25; }
.boundary { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
.best { stroke: var(--ink); stroke-width: 1; opacity: .55; }
.limit { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 5 4; }
.sparkline { width: 88px; height: 22px; vertical-align: middle; }
.sparkline .line { stroke: var(--accent); stroke-width: 1.6; }
.sparkline .base { stroke: var(--rule); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: .875rem;
  color: var(--soft); margin: 8px 0 0; }
.legend i { display: inline-block; width: 12px; height: 12px;
  border-radius: 2px; background: var(--c); margin-right: 6px;
  vertical-align: -1px; }
.scroll { overflow-x: auto; margin: 4px 0 20px; }
.scroll:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
table { border-collapse: collapse; font-size: .925rem; min-width: 50%;
  overflow-wrap: normal; }
.caption { color: var(--soft); font-size: .875rem; margin: 16px 0 0; }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); font-weight: 400; }
thead th { color: var(--soft); font-size: .85rem; vertical-align: bottom;
  border-bottom-color: var(--soft); }
.numbers td, .numbers thead th:not(:first-child) { text-align: right;
  padding: 5px 6px 5px 14px; font-variant-numeric: tabular-nums; }
.numbers tbody th, .numbers td.name, .config td { overflow-wrap: anywhere;
  max-width: 22em; }
.config td { min-width: 8em; }
th > span, th > span > span, td.name > span { display: inline-block; }
th > span > .badge { min-width: 1.6em; }
.numbers td.name, .pairs thead th:nth-child(2) { text-align: left !important; }
.share { white-space: nowrap; }
.panels .bar { display: none; }
.panels .sparkline { width: 64px; }
.panels .numbers td, .panels .numbers thead th:not(:first-child) {
  padding-left: 8px; }
.bar { display: inline-block; width: 56px; margin-left: 8px;
  text-align: left; }
.bar i { display: block; height: 9px; min-width: 1px; border-radius: 2px;
  background: var(--accent); }
.share span { display: inline-block; min-width: 3em; }
.chip { display: inline-block; font-size: .75rem; line-height: 1.3;
  padding: 1px 7px; border: 1.5px solid var(--c); border-radius: 9px;
  white-space: nowrap; }
.badge { display: inline-block; min-width: 1.6em; padding: 0 .4em;
  margin-right: .5em; text-align: center; font-weight: 650;
  border: 2px solid var(--c); border-radius: 6px; line-height: 1.5; }
.different { background: var(--mark); }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; }
details { margin: 12px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
summary:focus-visible { outline: 2px solid var(--accent); }
.panels { display: grid; gap: 20px 28px; margin: 16px 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.panels > * { min-width: 0; }
.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 540px));
}
.several { max-width: 1320px; }
.several > section > figure { max-width: 960px; }
.wall { display: grid; gap: 16px; margin: 16px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); }
.example { margin: 0; padding: 10px; background: var(--card);
  border: 1px solid var(--rule); border-radius: 8px; }
.triple { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.triple img { display: block; width: 100%; height: auto; border-radius: 3px; }
.triple small { display: block; color: var(--soft); font-size: .7rem;
  line-height: 1.3; margin-top: 3px; }
.coarse { image-rendering: pixelated; }
.example figcaption p { margin: 6px 0 0; font-size: .85rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.example figcaption p + p { color: var(--soft); margin-top: 0; }
footer { color: var(--soft); font-size: .85rem; margin-top: 56px; }
@media (max-width: 640px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 1.6rem; }
  h2 { margin-top: 40px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .wide { display: none; }
  .narrow { display: block; }
  table { font-size: .85rem; min-width: 100%; }
  .numbers td, .numbers thead th:not(:first-child) { padding-left: 8px; }
  .pairs .bar { display: none; }
  .sparkline { width: 64px; }
}
@media print {
  body { font-size: 11px; }
  .example, figure, tr { break-inside: avoid; }
}
"""
