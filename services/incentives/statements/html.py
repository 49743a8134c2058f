"""A statement as one HTML page that needs nothing else: no script, no picture, no address."""

from html import escape
from typing import Any

from .layout import Block, Heading, blocks
from .words import Language, word

_STYLE = """
body { font: 14px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  max-width: 60em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; margin: .5em 0 1em; break-inside: auto; }
th, td { border-bottom: 1px solid #ccc; padding: .2em .5em; text-align: left; overflow-wrap: anywhere; }
h1, h2, h3, h4 { break-after: avoid; margin: 1em 0 .3em; }
tr { break-inside: avoid; }
@media print { body { margin: 0; font-size: 11px; } }
"""


def page(statement: dict[str, Any], sha256: str, language: Language) -> str:
    """The page; every text that is not ours is escaped."""
    title = escape(f"{word('statement', language)} {statement['number']}: {statement['name']}")
    body = "\n".join(_shown(block) for block in blocks(statement, sha256, language))
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _shown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    head = f"<thead><tr>{_cells('th', block.head)}</tr></thead>" if block.head else ""
    rows = "\n".join(f"<tr>{_cells('td', row)}</tr>" for row in block.rows)
    return f"<table>{head}<tbody>\n{rows}\n</tbody></table>"


def _cells(tag: str, texts: Any) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
