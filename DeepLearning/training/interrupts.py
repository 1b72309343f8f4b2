"""Ctrl-C and SIGTERM held back while a training writes and computes, and obeyed between two steps.

Python raises a signal's exception wherever it happens to be. In a destructor, or in a callback that a library calls,
the exception is printed and lost, and the training would go on.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context in which the first signal waits until `obey`; a second one of its kind is obeyed at once."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.handlers: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in HELD:
                handler = signal.getsignal(number)
                if callable(handler):  # else nobody listens, and the system ends the process
                    self.handlers[number] = handler
                    signal.signal(number, self.note)
        return self

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.obey()

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; what the process does with it comes at once if it is the second."""
        if number in self.waiting:
            self.handlers[number](number, frame)
        self.waiting.append(number)

    def obey(self) -> None:
        """Do now what the process does with a signal that waits: KeyboardInterrupt, as a rule."""
        while self.waiting:
            number = self.waiting.pop(0)
            self.handlers[number](number, None)
