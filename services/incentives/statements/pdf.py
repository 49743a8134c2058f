"""A statement as PDF. Its text is not compressed: whoever searches files finds an amount in them."""

from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate
from reportlab.platypus import Table as Grid

from .layout import Block, Heading, blocks
from .words import Language, word

CHINESE = "STSong-Light"  # every PDF reader brings it or shows another in its place; nothing is embedded
_SIZES = {0: 8, 1: 16, 2: 12, 3: 10, 4: 9}
_LINES = [("LINEBELOW", (0, 0), (-1, -1), 0.3, HexColor("#cccccc")), ("VALIGN", (0, 0), (-1, -1), "TOP")]


def pdf(statement: dict[str, Any], sha256: str, language: Language) -> bytes:
    """The document: the same bytes for the same statement."""
    registerFont(UnicodeCIDFont(CHINESE))
    out = BytesIO()
    title = f"{word('statement', language)} {statement['number']}: {statement['name']}"
    document = SimpleDocTemplate(
        out, pagesize=A4, title=title, author="ValueLoop", lang=language, invariant=1, pageCompression=0,
        leftMargin=18 * mm, rightMargin=18 * mm, topMargin=16 * mm, bottomMargin=16 * mm,
    )  # fmt: skip
    document.build([shown for block in blocks(statement, sha256, language) for shown in _shown(block, document.width)])
    return out.getvalue()


def _shown(block: Block, width: float) -> Iterator[Flowable]:
    if isinstance(block, Heading):
        yield _text(block.text, block.level)
        return
    rows = [[_text(cell) for cell in row] for row in ([block.head] if block.head else []) + list(block.rows)]
    if rows:
        columns = len(rows[0])
        yield Grid(rows, colWidths=[width / columns] * columns, style=_LINES, repeatRows=1 if block.head else 0)


def _text(text: str, level: int = 0) -> Paragraph:
    """Text in the font that has its characters; a paragraph breaks long numbers and Chinese anywhere."""
    latin = text.isascii()
    size = _SIZES[level]
    style = ParagraphStyle(
        f"{level}{latin}", fontName="Helvetica" if latin else CHINESE, fontSize=size, leading=size * 1.3,
        wordWrap=None if latin else "CJK", splitLongWords=1, spaceBefore=size * 0.5 if level else 0,
    )  # fmt: skip
    return Paragraph(escape(text, quote=False), style)
