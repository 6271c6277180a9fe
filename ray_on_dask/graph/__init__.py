"""Drawings of what a program has launched: recorded, laid out, written as SVG, PNG, PDF or dot."""
