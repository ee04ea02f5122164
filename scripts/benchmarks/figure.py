"""Scatter plots as SVG."""

from xml.etree import ElementTree as ET

SIDE, MARGIN = 260, 48


def scatter(panels, columns, along, up):
    """Panels of (title, x, y), `columns` in a row, each with axes from 0."""
    rows = -(-len(panels) // columns)
    width, height = columns * (SIDE + MARGIN) + MARGIN, rows * (SIDE + 2 * MARGIN)
    svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", **{"font-family": "sans-serif"})
    ET.SubElement(svg, "rect", width=str(width), height=str(height), fill="white")
    for at, (title, x, y) in enumerate(panels):
        left, top = MARGIN + at % columns * (SIDE + MARGIN), MARGIN / 2 + at // columns * (SIDE + 2 * MARGIN)
        panel = ET.SubElement(svg, "g", transform=f"translate({left} {top})")
        axes(panel, title, along, up, max(x), max(y))
        for a, b in zip(x, y):
            place = {"cx": f"{SIDE * a / (1.05 * max(x)):.1f}", "cy": f"{SIDE * (1 - b / (1.05 * max(y))):.1f}"}
            ET.SubElement(panel, "circle", r="4", fill="#1f6feb", **place)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def axes(panel, title, along, up, most_along, most_up):
    ET.SubElement(panel, "path", d=f"M0 0V{SIDE}H{SIDE}", fill="none", stroke="black")
    text(panel, title, SIDE / 2, -6, 12)
    text(panel, f"{along} (0 to {1.05 * most_along:.2f})", SIDE / 2, SIDE + 18, 11)
    text(panel, f"{up} (0 to {1.05 * most_up:.2f})", -8, SIDE / 2, 11, rotate=f"rotate(-90 -8 {SIDE / 2})")


def text(panel, words, x, y, size, rotate=None):
    place = {"x": str(x), "y": str(y), "font-size": str(size), "text-anchor": "middle"}
    if rotate:
        place["transform"] = rotate
    ET.SubElement(panel, "text", **place).text = words
