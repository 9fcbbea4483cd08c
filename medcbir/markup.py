"""Text that comes from data, made harmless in the languages that tables are written in."""

_LATEX_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"\n": " ", "\r": " "}
)
_MARKDOWN_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]<>|$~^#!"} | {"&": "&amp;", "\n": " ", "\r": " "}
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def latex(text: str) -> str:
    """The text as LaTeX prints it."""
    return text.translate(_LATEX_SPECIAL)


def markdown(text: str) -> str:
    """The text as Markdown shows it, also within a cell of a table."""
    return text.translate(_MARKDOWN_SPECIAL)


def csv_text(text: str) -> str:
    """The text as a spreadsheet shows it: what it would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text
