"""Colours for QGIS: NAME.qml beside NAME.tif, which it reads when it opens the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from glacier.storage import disk

STOPS = 11  # colours between which QGIS interpolates
HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def write_ramp(
    path: Path,
    band: int,
    limits: tuple[float, float],
    reach: tuple[float, float],
    colours: str,
    unit: str,
) -> Path:
    """Write a style that shows one band of a GeoTIFF in colours; return its path.

    path : of the GeoTIFF. band : from 1 on. limits : values of the first and the last colour. reach : least and most
    value of the band, which have these colours as well. colours : a colour map of matplotlib.
    """
    low, high = limits
    least = min(low, reach[0])
    most = max(high, reach[1])
    values = [least, *np.linspace(low, high, STOPS).tolist(), most]
    renderer = Element("rasterrenderer", type="singlebandpseudocolor", band=str(band))
    renderer.attrib |= {
        "opacity": "1",
        "alphaBand": "-1",
        "classificationMin": f"{least:g}",
        "classificationMax": f"{most:g}",
    }
    add_origin(renderer)
    shader = SubElement(
        SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=f"{least:g}",
        maximumValue=f"{most:g}",
    )
    shares = [0.0, *np.linspace(0, 1, STOPS), 1.0]
    for value, colour in dict(zip(values, hex_colours(colours, shares), strict=True)).items():
        label = f"{value:.3g} {unit}".strip()
        SubElement(shader, "item", value=f"{value:.9g}", color=colour, alpha="255", label=label)
    return write(path, renderer)


def write_true_colour(path: Path, bands: Sequence[int], brightest: float) -> Path:
    """Write a style that shows three bands of a GeoTIFF as red, green, blue; return its path.

    path : of the GeoTIFF. bands : from 1 on. brightest : the reflectance that is drawn white.
    """
    renderer = Element("rasterrenderer", type="multibandcolor", opacity="1", alphaBand="-1")
    add_origin(renderer)
    for name, band in zip(("red", "green", "blue"), bands, strict=True):
        renderer.attrib[f"{name}Band"] = str(band)
        contrast = SubElement(renderer, f"{name}ContrastEnhancement")
        SubElement(contrast, "minValue").text = "0"
        SubElement(contrast, "maxValue").text = f"{brightest:g}"
        SubElement(contrast, "algorithm").text = "StretchToMinimumMaximum"
    return write(path, renderer)


def add_origin(renderer: Element) -> None:
    """Say that the limits are those written here, not to be guessed from the pixels."""
    origin = SubElement(renderer, "minMaxOrigin")
    SubElement(origin, "limits").text = "None"
    SubElement(origin, "extent").text = "WholeRaster"


def hex_colours(name: str, shares: Sequence[float]) -> list[str]:
    """Return the colours of a colour map of matplotlib at some shares in [0, 1], as #rrggbb."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps[name](np.array(shares))]


def write(path: Path, renderer: Element) -> Path:
    """Write the style of a GeoTIFF; return its path."""
    root = Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = SubElement(root, "pipe")
    pipe.append(renderer)
    SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    SubElement(pipe, "rasterresampler", maxOversampling="2")
    SubElement(root, "blendMode").text = "0"
    ElementTree.indent(root)
    style = path.with_suffix(".qml")
    with disk.writing(style) as file:
        file.write((HEAD + ElementTree.tostring(root, encoding="unicode")).encode())
    return style
