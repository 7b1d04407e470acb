"""How a page on a benchmark differs from other pages: wide tables that scroll in their own box, plots in rows, shaded counts."""

STYLE = """
body { max-width: 100rem; } p, .panel, ul.points { max-width: 68rem; }
.scroll.wide { overflow: auto; max-height: 92vh; width: fit-content; max-width: 100%;
  box-sizing: border-box; border: 1px solid var(--line); margin: 0.8rem 0; }
.scroll:focus-visible { outline: 3px solid var(--bar); }
.wide table { border-collapse: separate; border-spacing: 0; margin: 0; font-size: 0.9rem; }
.caption { color: var(--faint); margin: 0.8rem 0 0.3rem; } .scroll.wide { margin-top: 0; }
.wide td { min-width: 6.2rem; } .wide thead th { min-width: 6.2rem; max-width: 11rem; vertical-align: bottom; }
.wide thead th { position: sticky; top: 0; z-index: 2; background: var(--panel); }
.wide tbody th, .wide tfoot th, .wide thead th:first-child { position: sticky; left: 0; background: var(--panel); max-width: 14rem;
  min-width: 9rem; border-right: 1px solid var(--line); } .wide thead th:first-child { z-index: 3; }
.wide tfoot th, .wide tfoot td { position: sticky; bottom: 0; z-index: 1; background: var(--panel); border-top: 2px solid var(--faint); }
.wide tfoot th { z-index: 2; } th { font-weight: 600; } tfoot th, tfoot td { border-top: 2px solid var(--faint); }
.interval { display: block; color: var(--faint); font-size: 0.8rem; font-weight: 400; white-space: nowrap; }
th .interval { white-space: normal; } .mark { display: block; font-size: 0.75rem; font-weight: 400; }
.error-word { color: var(--error); font-weight: 600; } .warning-word { color: var(--warning); } .note-word { color: var(--note); }
.shade { background: color-mix(in srgb, var(--bar) var(--shade), transparent); }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: var(--bar); } :target { outline: 2px solid var(--warning); }
.plot { width: 100%; max-width: 68rem; table-layout: fixed; } .plot td, .plot th { padding: 0 0.5rem; border: 0; vertical-align: middle; }
.plot th { width: 30%; font-weight: 400; text-align: left; } .plot td:last-child, .plot th:last-child { width: 12.5rem; text-align: right; }
.plot .draw { padding: 0; width: auto; height: 1.9rem; } .plot svg { display: block; overflow: visible; }
.plot .draw { position: relative; } .plot .draw > svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.plot .axis-row th { height: 1.5rem; color: var(--faint); }
.plot text { fill: var(--faint); font-size: 12px; } .grid-line { stroke: var(--line); } .plot tr.majority-row th { font-style: italic; }
.majority-line { stroke: var(--error); stroke-width: 1.5; stroke-dasharray: 5 3; } .plot .majority-word { fill: var(--error); }
.ours { stroke: var(--bar); fill: var(--bar); } .foreign { stroke: var(--text); fill: var(--text); }
.random { stroke: var(--warning); fill: var(--paper); } .trivial { stroke: var(--faint); fill: var(--paper); }
.whisker { stroke-width: 2; } .point { stroke-width: 2; }
.plot.ribbons .draw { height: 1.5rem; } .plot.ribbons .draw > svg { top: 0.1rem; height: calc(100% - 0.2rem); }
.ribbons tr:first-child .draw { height: 2rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; list-style: none; padding: 0; margin: 0.4rem 0; font-size: 0.9rem; }
.swatch { display: inline-block; width: 0.8rem; height: 0.8rem; margin-right: 0.4rem; vertical-align: -0.05rem; }
.key svg { display: inline-block; width: 1.6rem; height: 1rem; vertical-align: -0.15rem; overflow: visible; margin-right: 0.3rem; }
@media (max-width: 46rem) { .plot th { width: 34%; } .plot td:last-child, .plot th:last-child { width: 7.2rem; font-size: 0.8rem;
  white-space: normal; } .plot { font-size: 0.85rem; } .plot td, .plot th { padding: 0 0.25rem; } .point { transform: scale(0.65); }
  .wide tbody th, .wide tfoot th,  .wide thead th:first-child { max-width: 8rem; min-width: 6.5rem; } }
@media print { .scroll.wide { max-height: none; overflow: visible; } }
"""
