"""Plots as inline SVG: text that one can select, colours that the page sets, no script."""
