"""Spreadsheets as LViT's authors give sentences."""

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape


def xlsx(path: Path, rows: list[tuple[str, ...]], *, shared: bool) -> None:
    """The parts of an Office Open XML workbook (ECMA-376) that hold a sheet's cells."""
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    texts = [text for row in rows for text in row]
    lines, count = [], 0
    for number, row in enumerate(rows, start=1):
        cells = []
        for letter, text in zip("ABC", row, strict=False):
            place = f'r="{letter}{number}"'
            plain = f'<c {place} t="inlineStr"><is><t>{escape(text)}</t></is></c>'
            cells.append(f'<c {place} t="s"><v>{count}</v></c>' if shared else plain)
            count += 1
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {space}><sheetData>{''.join(lines)}</sheetData></worksheet>",
        )
        if shared:
            items = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
            archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{items}</sst>")
