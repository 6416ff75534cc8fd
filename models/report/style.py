"""Style sheet of the pages."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light; --ink: #1f2933; --grey: #616e7c; --line: #e4e7eb; --blue: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: var(--ink);
  font: 15px/1.5 Inter, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 24px 64px; }
header h1 { margin: 0; font-size: 28px; letter-spacing: -.01em; }
header p { margin: 6px 0 0; color: var(--grey); }
section, .tile { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
section { margin-top: 20px; padding: 22px 26px; }
h2 { margin: 0; font-size: 18px; }
section > p, .pair p { margin: 4px 0 12px; color: var(--grey); max-width: 76ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  margin-top: 22px; }
.tile { padding: 14px 18px; }
.tile b { display: block; font-size: 26px; font-weight: 600; letter-spacing: -.02em; }
.tile span { display: block; color: var(--grey); font-size: 13px; }
.tile small { color: #9aa5b1; font-size: 12px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; \
font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--grey); font-weight: 500; vertical-align: bottom; }
td small { color: #9aa5b1; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.band td { background: #f0f6fc; font-weight: 600; }
td.words { text-align: left; white-space: normal; min-width: 300px; color: var(--grey);
  font-size: 12px; line-height: 1.35; font-weight: 400; }
td.bad { color: #c2410c; }
td .mark { color: #fff; background: var(--blue); border-radius: 4px; padding: 1px 6px;
  margin-left: 8px; font-size: 11.5px; font-weight: 500; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 24px; margin: 12px 0 0; }
dt { color: var(--grey); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12.5px; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""
