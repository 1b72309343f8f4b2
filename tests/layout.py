"""What is wrong with a figure: texts that leave it or lie over each other, and figures without content."""

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

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
    if not any(axes.has_data() for axes in figure.axes):
        faults.append("nothing is drawn")
    return faults
