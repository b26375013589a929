"""What people are told about the images of a run."""

from __future__ import annotations

from collections import Counter

from sadm.core.progress import Reporter
from sadm.data import ImageSet, Split, never_held_out
from sadm.data.sources.words import quoted


def say_never_held_out(split: Split, reporter: Reporter) -> None:
    """Tells the reporter which classes nothing can be measured on."""
    names = never_held_out(split)
    if names:
        reporter.say(
            f"All images of {quoted(names)} are in training: one image or one group can't be divided, or the source says so. "
            "Nothing can be measured on held-out images of "
            + ("this class." if len(names) == 1 else f"these {len(names)} classes.")
        )


def say_skipped(images: ImageSet, reporter: Reporter) -> None:
    """Tells the reporter about files that were left out."""
    if images.skipped:
        lines = [f"  {item.path}: {item.reason}" for item in images.skipped[:10]]
        more = f"\n  and {len(images.skipped) - 10} more" if len(images.skipped) > 10 else ""
        reporter.say(
            f"Left out {len(images.skipped)} of {images.source} (--strict refuses):\n" + "\n".join(lines) + more
        )


def say_notes(images: ImageSet, reporter: Reporter) -> None:
    """What was done to files and how the source was understood, each kind once, with the number of files and the first."""
    if images.notes:
        first = {note.text: note.path for note in reversed(images.notes)}
        counts = Counter(note.text for note in images.notes).most_common()
        lines = [
            f"  {count} x {text} (such as {first[text]})" if count > 1 else f"  {first[text]}: {text}"
            for text, count in counts[:10]
        ]
        more = f"\n  and {len(counts) - 10} other things" if len(counts) > 10 else ""
        reporter.say(f"Notes on the images of {images.source}:\n" + "\n".join(lines) + more)
