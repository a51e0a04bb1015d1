"""How a page looks: on a screen of any width, light and dark, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --surface: #ffffff; --raised: #f5f7f8; --ink: #16212b; --muted: #55636f; --grid: #d5dce1;
  --blue: #0072b2; --orange: #c4500a; --green: #007f5c; --gold: #a36a00; --purple: #a3498c;
  --warn: #fff4d6; --warn-edge: #a36a00;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --surface: #11181e; --raised: #1a242c; --ink: #e6edf2; --muted: #a3b1bc; --grid: #34424d;
    --blue: #56b4e9; --orange: #f08a4b; --green: #2fc79b; --gold: #f0b73f; --purple: #dd9cc9;
    --warn: #33290f; --warn-edge: #f0b73f;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--surface); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: break-word;
}
.page { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.2rem); margin: 0; }
h2 { font-size: 1.35rem; margin: 0 0 .6rem; }
p { max-width: 46rem; margin: 0 0 .9rem; }
a { color: var(--blue); }
:focus-visible { outline: 3px solid var(--orange); outline-offset: 2px; border-radius: 2px; }
.skip {
  position: absolute; left: 1rem; top: -4rem; padding: .5rem 1rem; z-index: 1;
  background: var(--surface); border: 2px solid var(--blue);
}
.skip:focus { top: 1rem; }
.kicker { color: var(--muted); margin: 0 0 .25rem; }
.warned {
  background: var(--warn); border-left: .35rem solid var(--warn-edge);
  padding: .75rem 1rem; margin: 1rem 0 0; max-width: 46rem;
}
.warned strong { display: block; }
nav ul { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; padding: 0;
  margin: 1.2rem 0 0; }
nav a { display: inline-block; padding: .3rem 0; }
section { border-top: 1px solid var(--grid); margin-top: 2rem; padding-top: 1.4rem; }
.headline { font-size: 1.05rem; }
.headline strong { display: block; font-size: clamp(2.2rem, 1.6rem + 3vw, 3.4rem);
  line-height: 1.1; font-weight: 700; }
.blocks { display: grid; gap: 1.5rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.blocks > p, .blocks > .wide, .blocks > .table, .blocks > .folded { grid-column: 1 / -1;
  margin-bottom: 0; }
.blocks > .small { grid-column: auto; }
.blocks > .folded { margin-top: -1.2rem; }
@media (min-width: 60rem) {
  .answer .blocks { grid-template-columns: 1fr 1fr; gap: 1rem 2rem; }
  .answer .blocks > p { grid-column: 1; }
  .answer .blocks > figure { grid-column: 2; grid-row: 1 / span 8; }
}
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 40rem; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
figcaption { color: var(--muted); font-size: .92rem; margin-top: .5rem; max-width: 40rem; }
figcaption strong { color: var(--ink); font-weight: 600; display: block; }
details { margin-top: .5rem; }
summary { cursor: pointer; color: var(--blue); font-size: .92rem; padding: .25rem 0;
  width: fit-content; }
.table { min-width: 0; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
.title { font-weight: 600; font-size: .92rem; margin: 0 0 .3rem; }
.apart { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { text-align: right; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--grid);
  white-space: nowrap; }
th:first-child, .text { text-align: left; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 20rem; }
.small td.long { min-width: 9rem; }
thead th { color: var(--muted); font-weight: 600; }
tbody th { font-weight: 500; min-width: 7rem; max-width: 16rem; white-space: normal; }
.small td.text { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
footer { border-top: 1px solid var(--grid); margin-top: 2.5rem; padding-top: 1rem;
  color: var(--muted); font-size: .92rem; }
@media print {
  @page { margin: 15mm; }
  html { font-size: 9.5pt; }
  .page { max-width: none; padding: 0; }
  nav, .skip, details, .folded { display: none; }
  .blocks { grid-template-columns: 1fr 1fr; }
  figure, table, .warned { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding-right: .5rem; white-space: normal; }
  figure svg { max-height: 20cm; }
}
"""
