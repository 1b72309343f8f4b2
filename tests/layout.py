"""What is wrong with a figure: texts that leave it or lie over each other, and figures without content."""

import re

import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (window|step|scene|date|point|year|map)s\b")
SLACK = 2.0  # px that a text may reach over an edge, or two texts into each other


def texts_of(figure) -> list[Text]:
    """The texts that are drawn: of ticks only those within the axis."""
    ticks = set()
    drawn = set()
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            labels = {tick.label1, tick.label2}
            ticks |= labels
            if low <= tick.get_loc() <= high:
                drawn |= labels
    texts = []
    for text in figure.findobj(Text):
        if text in ticks and text not in drawn:
            continue
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
    return texts


def problems(figure, whole: bool) -> list[str]:
    """What is wrong with a figure, a line each. whole : it is saved as large as its texts need."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts_of(figure)]
    page = figure.bbox
    faults = []
    for words, box in () if whole else boxes:
        if box.x0 < page.x0 - SLACK or box.x1 > page.x1 + SLACK:
            faults.append(f"{words!r} leaves the figure at the side")
        if box.y0 < page.y0 - SLACK or box.y1 > page.y1 + SLACK:
            faults.append(f"{words!r} leaves the figure at the top or bottom")
    for place, (words, box) in enumerate(boxes):
        for other_words, other in boxes[:place]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            if width > SLACK and height > SLACK:
                faults.append(f"{other_words!r} and {words!r} lie over each other")
    faults += [f"{words!r} counts one as many" for words, _ in boxes if ONE_OF_MANY.search(words)]
    return faults + hidden_panels(figure, renderer) + empty_panels(figure)


def hidden_panels(figure, renderer) -> list[str]:
    """Legends that lie over a panel, where they may hide what is drawn."""
    legends = [*figure.legends]
    legends += [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    faults = []
    for legend in legends:
        box = legend.get_window_extent(renderer)
        for axes in figure.axes:
            panel = axes.get_window_extent(renderer)
            width = min(box.x1, panel.x1) - max(box.x0, panel.x0)
            height = min(box.y1, panel.y1) - max(box.y0, panel.y0)
            if width > SLACK and height > SLACK:
                faults.append("a legend lies over a panel")
    return faults


def empty_panels(figure) -> list[str]:
    """Panels in which nothing is drawn, and maps without any value that do not say so."""
    if not figure.axes:
        return ["nothing is drawn"]
    faults = []
    for axes in figure.axes:
        if not axes.axison:
            continue
        if artists(axes) == 0:
            faults.append("a panel is empty")
        blank = [np.ma.getmaskarray(image.get_array()).all() for image in axes.images]
        if blank and all(blank) and not axes.texts:
            faults.append("a map is grey without a word")
    return faults


def artists(axes) -> int:
    """How many artists of a panel show data: not its frame, its ticks, its texts."""
    drawn = [*axes.images, *axes.lines, *axes.collections, *axes.patches]
    return sum(artist.get_visible() for artist in drawn)
