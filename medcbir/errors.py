"""The exception tree: every error that a user can cause names the thing, the reason and the next step."""


def printable(text: str) -> str:
    """`text` on one line, safe for any terminal: what would control it (PS3.5 6.1.3, names of files) is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


class MedcbirError(Exception):
    """A mistake or condition that a user can mend; the command line prints it as one line.

    `exit_code` is what the process returns (see docs/commands.md).
    """

    exit_code = 1


class InputError(MedcbirError):
    """A path, file, manifest or option that cannot be used as given."""


class SourceAwayError(MedcbirError):
    """A server that images come from does not answer now; the same call goes on once it is back."""


class StoreFullError(MedcbirError):
    """The folder of instances that came from a PACS has reached its limit, or its disk has."""


class UnreadableImageError(MedcbirError):
    """A file that should hold an image and cannot be decoded."""


class NotAnImageError(MedcbirError):
    """A readable file that holds no image (text, a report, a DICOM object without pixel data)."""


class EncoderError(MedcbirError):
    """An encoder that is unknown, lacks its weights, or does not fit them."""


class NotCompiledWarning(UserWarning):
    """A model that torch was to compile and could not, or not to the same vectors: it runs as it is."""


class VectorError(MedcbirError):
    """Vectors of the wrong dimension, zero, or not finite."""


class DatabaseError(MedcbirError):
    """A database that is down, lacks pgvector, or does not hold what was asked for."""


class RunError(MedcbirError):
    """A retrieval run that does not exist, or cannot answer what was asked of it."""
