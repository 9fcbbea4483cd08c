"""From words to the numbers that a text tower reads."""

import string
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open_clip

from medcbir.encoders.spec import Clean, Tokenizer
from medcbir.errors import EncoderError, InputError

_UNPUNCTUATED = str.maketrans("", "", string.punctuation)


def tokenize(text: str, tokenizer: Tokenizer, file: Path | None) -> npt.NDArray[np.int64]:
    """Token numbers (length,), fewer where nothing pads them; `file` is the tokenizer's, None for CLIP's own.

    Raises `InputError` for a text of more tokens than the tower reads, `EncoderError` for a file that is no tokenizer.
    """
    numbers, padding = _by_clip(text) if file is None else _by_file(text, tokenizer, file)
    if len(numbers) > tokenizer.length:
        raise InputError(
            f"the text has {len(numbers)} tokens, begin and end included, and the encoder reads {tokenizer.length}: "
            "give a shorter one"
        )
    if padding is not None:
        numbers += [padding] * (tokenizer.length - len(numbers))
    return np.array(numbers, np.int64)


def _by_clip(text: str) -> tuple[list[int], int]:
    own = open_clip.SimpleTokenizer()
    return [own.sot_token_id, *own.encode(text), own.eot_token_id], 0


def _by_file(text: str, tokenizer: Tokenizer, file: Path) -> tuple[list[int], int | None]:
    try:
        import tokenizers
    except ImportError:
        raise EncoderError("this encoder's tokenizer needs the package tokenizers: install medcbir[text]") from None
    try:
        if file.suffix == ".txt":
            read = tokenizers.BertWordPieceTokenizer(str(file), lowercase=True)
        else:
            read = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # all that the library raises
        raise EncoderError(f"tokenizer unreadable: {file}: {' '.join(str(error).split())}") from None

    def number(token: str) -> int:
        found: int | None = read.token_to_id(token)
        if found is None:
            raise EncoderError(f"tokenizer does not fit: {file} has no token {token}; get it from {tokenizer.source}")
        return found

    begin, end = ([number(token)] if token else [] for token in (tokenizer.begin, tokenizer.end))
    read.no_truncation()
    read.no_padding()
    words = read.encode(_cleaned(text, tokenizer.clean), add_special_tokens=False).ids
    return [*begin, *words, *end], number(tokenizer.pad) if tokenizer.pad else None


def _cleaned(text: str, clean: Clean) -> str:
    if clean == "as_is":
        return text
    if clean == "canonical":
        text = text.translate(_UNPUNCTUATED)
    return " ".join(text.lower().split())
