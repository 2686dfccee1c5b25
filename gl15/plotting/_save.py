"""Films to files."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.animation import Animation, FFMpegWriter, PillowWriter
from PIL import Image


_DPI = 150


def save_animation(
    animation: Animation,
    path: str | os.PathLike[str],
    *,
    fps: float | int | None = None,
    dpi: float | int = _DPI,
) -> Path:
    """Write a film: `.gif` with Pillow, which matplotlib brings; `.mp4` with ffmpeg.

    Args:
        animation: from `animate_quench` or `animate_fields`, or any of matplotlib's.
        path: where to; its suffix says what is written.
        fps: frames per second; by default those of the animation.
        dpi: dots per inch.

    Returns:
        The path.

    Raises:
        ValueError: if the suffix is neither, or the folder does not exist.
        RuntimeError: if ffmpeg is needed and is not there.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise ValueError(
            f"`path` must end in .gif or .mp4, got {path.name!r}: no other films are "
            "written."
        )
    if not path.parent.is_dir():
        raise ValueError(f"`path`: there is no folder {path.parent}; make it first.")
    rate: Any = fps  # matplotlib's annotation says whole numbers, its code any
    if rate is None:
        # What matplotlib itself does with a writer that it only knows by name.
        rate = 1000 / getattr(animation, "_interval", 200.0)
    if suffix == ".gif":
        animation.save(path, _GifWriter(rate), dpi=dpi)
        return path
    with matplotlib.rc_context({"animation.ffmpeg_path": _ffmpeg()}):
        animation.save(path, FFMpegWriter(rate), dpi=dpi)
    return path


class _GifWriter(PillowWriter):
    """A writer that chooses its 256 colours from the whole film.

    matplotlib's leaves that to Pillow, frame by frame: thin marks lose their colour,
    and scales show bands that flicker.
    """

    def setup(self, fig, outfile, dpi=None):
        super().setup(fig, outfile, dpi)
        self.pictures: list[Image.Image] = []

    def grab_frame(self, **savefig_kwargs):
        buffer = BytesIO()
        self.fig.savefig(buffer, format="png", dpi=self.dpi, **savefig_kwargs)
        self.pictures.append(Image.open(buffer).convert("RGB"))

    def finish(self):
        step = -(-len(self.pictures) // 8)
        some = [*self.pictures[::step], self.pictures[-1]]
        width, height = some[0].size
        sheet = Image.new("RGB", (width, height * len(some)))
        for row, picture in enumerate(some):
            sheet.paste(picture, (0, row * height))
        colours = _colours(sheet)
        first, *others = (
            one.quantize(palette=colours, dither=Image.Dither.NONE)
            for one in self.pictures
        )
        duration = round(1000 / self.fps)
        first.save(
            self.outfile,
            save_all=True,
            append_images=others,
            duration=duration,
            loop=0,
        )


def _colours(sheet: Image.Image) -> Image.Image:
    """256 colours: the commonest as they are, the common ones, and those of marks."""
    counted = sorted(sheet.getcolors(sheet.width * sheet.height) or [], reverse=True)
    values = [part for _, colour in counted[:32] for part in map(int, np.ravel(colour))]
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE):
        values += (sheet.quantize(112, method=method).getpalette() or [])[: 3 * 112]
    colours = Image.new("P", (1, 1))
    colours.putpalette(values)
    return colours


def _ffmpeg() -> str:
    """An ffmpeg that runs: matplotlib's setting, or that of imageio-ffmpeg."""
    if FFMpegWriter.isAvailable():
        return matplotlib.rcParams["animation.ffmpeg_path"]
    try:
        # A package that carries the program.
        from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RuntimeError(
            "`path` ends in .mp4, which needs ffmpeg, and there is none; `pip install "
            "imageio-ffmpeg`, install ffmpeg, or save a .gif, which needs neither."
        ) from error
    return get_ffmpeg_exe()
