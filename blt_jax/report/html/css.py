"""The style sheet of reports: light and dark, for desks and phones."""

from blt_jax.report import style


def _colors(which: int) -> str:
  """The palette as variables, 0 for light and 1 for dark."""
  pairs = style.PALETTE.items()
  return " ".join(f"--{name}: {both[which]};" for name, both in pairs)


def _classes() -> str:
  """The colour --c of what belongs to a group or a run."""
  runs = {f"run{i}": name for i, name in enumerate(style.SERIES_COLORS)}
  return "\n".join(
    f".{class_} {{ --c: var(--{name}); }}"
    for class_, name in {**style.GROUP_COLORS, **runs}.items()
  )


_RULES = r"""
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
.missing { border-left: 3px solid var(--orange); background: var(--tint);
  padding: 10px 14px; margin: 16px 0; border-radius: 0 6px 6px 0; }
.missing p { margin: 0; }
.summary { font-size: 1.05rem; margin: 16px 0 8px; }
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
figure { margin: 16px 0; }
.beside { display: grid; gap: 24px 28px; margin: 16px 0; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.beside > * { min-width: 0; margin: 0; }
.beside div > .caption:first-child { margin-top: 0; }
.chart { display: block; width: 100%; height: auto;
  max-width: calc(1.64px * var(--points));
  overflow: visible; stroke-linejoin: round; --card: var(--paper); }
.chart text { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 4px 0 20px; }
.scroll:focus-visible { outline: 2px solid var(--blue);
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
.numbers small { display: block; color: var(--soft); font-size: .8em;
  white-space: nowrap; }
.classes tbody th { border-left: 4px solid var(--c); padding-left: 8px;
  min-width: 7em; position: sticky; left: 0; background: var(--paper); }
.classes td.name { min-width: 8em; }
.results tbody th { min-width: 6.5em; }
.thresholds tbody th { white-space: nowrap; }
.sortable th button { all: unset; cursor: pointer; padding: 6px 0;
  text-decoration: underline dotted; text-underline-offset: 4px; }
.sortable [aria-sort=ascending] button::after { content: "\00a0\2191"; }
.sortable [aria-sort=descending] button::after { content: "\00a0\2193"; }
.sortable th button:focus-visible { outline: 2px solid var(--blue); }
.more { font: inherit; color: var(--ink); background: var(--tint);
  border: 1px solid var(--rule); border-radius: 6px; padding: 8px 16px;
  cursor: pointer; }
.share { white-space: nowrap; }
.panels .bar { display: none; }
.panels .numbers td, .panels .numbers thead th:not(:first-child) {
  padding-left: 8px; }
.bar { display: inline-block; width: 56px; margin-left: 8px;
  text-align: left; }
.bar i { display: block; height: 9px; min-width: 1px; border-radius: 2px;
  background: var(--blue); }
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
summary:focus-visible { outline: 2px solid var(--blue); }
.panels { display: grid; gap: 20px 28px; margin: 16px 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.panels > * { min-width: 0; }
.several { max-width: 1320px; }
.scroll .chart { min-width: calc(1.07px * var(--points)); }
footer { color: var(--soft); font-size: .85rem; margin-top: 56px; }
@media (max-width: 640px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 1.6rem; }
  h2 { margin-top: 40px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  table { font-size: .85rem; min-width: 100%; }
  .numbers td, .numbers thead th:not(:first-child) { padding-left: 8px; }
  .pairs .bar { display: none; }
}
@media print {
  body { font-size: 11px; }
  figure, tr { break-inside: avoid; }
}
"""

_DARK = (
  f":root {{ {_colors(1)} }} .chart:not(.photos) image {{ filter: invert(1); }}"
)
CSS = (
  f":root {{ color-scheme: light dark; {_colors(0)} }}\n"
  f"@media screen and (prefers-color-scheme: dark) {{ {_DARK} }}\n"
  f"{_classes()}{_RULES}"
)
