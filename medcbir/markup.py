"""Text that comes from data, made harmless in the languages that tables are written in."""

import re

_LATEX_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: f"{{{character}}}" for character in "[]*"}  # after the end of a row they would be an argument of it
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
    | {"\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{PLUS-MINUS SIGN}": r"$\pm$"}
    | {"\N{NO-BREAK SPACE}": "~", "\N{EN DASH}": r"\textendash{}"}
)
_LATEX_LIGATURE = re.compile(r"([-,'])(?=\1)")
_UNKNOWN_TO_LATEX = re.compile(  # by trial; of Latin-1 and Latin Extended-A it lacks eight
    "[^ -~\u00a0-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u0165\u0168-\u017e"
    "\u2013\u2014\u2018-\u201e\u2026\N{MINUS SIGN}]"
)
_MARKDOWN_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]<>|$~^#!"} | {"&": "&amp;", "\n": " ", "\r": " "}
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def latex(text: str) -> str:
    """The text as LaTeX prints it in fonts of encoding T1; a character that these lack is named by its number."""
    known = _UNKNOWN_TO_LATEX.sub(lambda found: f"U+{ord(found[0]):04X}" if found[0].isprintable() else " ", text)
    return _LATEX_LIGATURE.sub(r"\1{}", known.translate(_LATEX_SPECIAL))


def markdown(text: str) -> str:
    """The text as Markdown shows it, also within a cell of a table."""
    return text.translate(_MARKDOWN_SPECIAL)


def csv_text(text: str) -> str:
    """The text as a spreadsheet shows it: what it would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text
