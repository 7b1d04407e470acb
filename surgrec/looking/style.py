"""How a page of `surgrec look` differs from other pages: the viewer, charts, rows of pictures."""

STYLE = """
.stills img { aspect-ratio: 2; }
.panes { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: 0.9rem; }
.pane { position: relative; aspect-ratio: 1; cursor: crosshair; overflow: hidden; background: var(--panel); }
.pane img, .pane canvas { position: absolute; inset: 0; width: 100%; height: 100%; aspect-ratio: auto; object-fit: fill; }
#viewer [data-part=under] { filter: grayscale(1); } .pane canvas { image-rendering: pixelated; } .pane canvas.over { opacity: 0.68; }
.pane:focus-visible { outline: 3px solid var(--bar); } .mark { position: absolute; box-sizing: border-box; border: 2px solid #fff; outline:
2px solid #000; pointer-events: none; } .mark.ring { border-style: dashed; border-radius: 50%; outline: none; box-shadow: 0 0 0 1px #000; }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; margin: 0.8rem 0; }
.controls input[type=range] { flex: 1 1 12rem; min-width: 8rem; accent-color: var(--bar); } .controls output { font-variant-numeric:
tabular-nums; } button { font: inherit; color: var(--text); background: var(--panel); border: 1px solid var(--line); padding: 0.2rem
0.9rem; cursor: pointer; } .ramp { display: inline-block; width: 6rem; height: 0.7rem; vertical-align: middle;
  background: linear-gradient(to right, rgb(38,20,72), rgb(62,73,137), rgb(38,130,142), rgb(80,190,120), rgb(253,231,37)); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0.6rem 1.6rem; }
.charts > * { min-width: 0; } .charts p, .viewer p { margin: 0.7rem 0 0.1rem; } svg { display: block; }
svg.map { width: 100%; border: 1px solid var(--line); box-sizing: border-box; } svg.strip { width: 100%; background: var(--panel); }
.path { fill: none; stroke: var(--faint); stroke-opacity: 0.45; } circle { stroke: var(--paper); stroke-width: 1; }
.curve { fill: none; stroke: var(--bar); stroke-width: 2; vector-effect: non-scaling-stroke; }
[data-moment] { cursor: pointer; } circle.now { stroke: var(--text); stroke-width: 3; }
.over-time { position: relative; } .cursor { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: var(--text);
  pointer-events: none; left: -9px; } .over-time { overflow: hidden; }
.axis { display: flex; justify-content: space-between; color: var(--faint); font-size: 0.8rem; }
.beside { width: 10rem; margin-top: 0.8rem; } .beside img { aspect-ratio: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; list-style: none; padding: 0; margin: 0.4rem 0; font-size: 0.9rem; }
.swatch { display: inline-block; width: 0.8rem; height: 0.8rem; margin-right: 0.4rem; vertical-align: -0.05rem; }
.neighbours { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 45%), 1fr)); gap: 0.8rem; margin: 0.5rem 0 1.4rem;
} .neighbours img, .neighbours .missing { aspect-ratio: 1; } .neighbours .query img { outline: 3px solid var(--bar); }
.gallery.wide { grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); } .gallery.wide img { aspect-ratio: auto; }
"""
