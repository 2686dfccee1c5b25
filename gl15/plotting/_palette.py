"""Colours that differ for every kind of sight, and in grey."""

# Okabe and Ito's palette.
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
BLACK = "#000000"
GREY = "#7F7F7F"

CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK)
