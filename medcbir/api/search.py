"""Search: the images nearest to a picture, words, a catalogued image or a vector."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcbir.api.encoders import Device, Encoders
from medcbir.config import Settings
from medcbir.encoders import (
    DEFAULT,
    EncoderSpec,
    load_text_encoder,
    prepare,
    recipe_of,
    recipe_sha256,
    with_checkpoint,
)
from medcbir.errors import EncoderError, InputError, MedcbirError, VectorError
from medcbir.retrieval.warmth import Warmth
from medcbir.store.connection import Connection
from medcbir.store.encoders import StoredEncoder, encoder_of_recipe, find_encoder
from medcbir.types import Coverage, Filter, Hit, UInt8Image

if TYPE_CHECKING:
    import numpy.typing as npt

    from medcbir.encoders import TextEncoder


class Search(Encoders):
    """One query at a time, encoded here where it is not a vector already."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._text_encoders: dict[tuple[bytes, str], TextEncoder] = {}
        self._warmth = Warmth(self._another, settings.data_dir / "cache")

    def close(self) -> None:
        """Close the connection; an embedded server goes on running (`medcbir db stop` ends it)."""
        self._warmth.close()
        super().close()

    def search(
        self,
        *,
        image: "str | Path | UInt8Image | Sequence[str | Path | UInt8Image] | None" = None,
        image_id: int | None = None,
        vector: "npt.NDArray[Any] | None" = None,
        text: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        encoder: str = DEFAULT,
        n: int = 10,
        where: Filter | None = None,
        exclude_same_patient: bool = False,
        exclude_same_study: bool = False,
        exclude_duplicates: bool = False,
        device: Device = "auto",
    ) -> list[Hit]:
        """The `n` catalogued images nearest to pictures, words, a catalogued image, or a vector, by exact distance.

        Give `image` (files, or pixels (H, W) or (H, W, 3) uint8) or `text` or both, or one of `image_id` and `vector`
        (dim,), which need not be normalised. Words need an encoder with a text tower. Several images and texts make one
        query, the normalised sum of their unit vectors, each times its weight: `weights` has one for each image, then
        one for each text (1 without it). `exclude_same_patient` and `exclude_same_study` need `image_id`: a loose
        picture's are not known. `exclude_duplicates` leaves out images whose decoded pixels equal the query's, and
        needs one image. Only images that have a vector of the encoder are found: `searchable` tells how many lack one.
        """
        import numpy as np

        from medcbir.pixels import pixel_sha256
        from medcbir.retrieval import search
        from medcbir.store.vectors import unit

        described = image is not None or text is not None
        if described + (image_id is not None) + (vector is not None) != 1:
            raise InputError(
                "a search needs one of image files or texts (which may go together), an image id, and a vector"
            )
        if weights is not None and not described:
            raise InputError("weights belong to images and texts: give --image or --text as often as there are weights")
        if (exclude_same_patient or exclude_same_study) and image_id is None:
            raise InputError("to exclude the query's patient or study, search by image id: a file's is not known")
        if exclude_duplicates and vector is not None:
            raise InputError("to exclude the query's duplicates, search by image or image id: a vector has no pixels")
        where = where or Filter()
        if where.datasets is not None:
            raise InputError("a search goes over one dataset or all: give one, or none")
        with self._open() as connection:
            if image_id is not None:
                return search.near_image(
                    connection,
                    find_encoder(connection, encoder),
                    image_id,
                    n,
                    where,
                    exclude_same_patient=exclude_same_patient,
                    exclude_same_study=exclude_same_study,
                    warmth=self._warmth,
                    exclude_duplicates=exclude_duplicates,
                )
            if vector is not None:
                stored = find_encoder(connection, encoder)
                if np.ndim(vector) != 1:
                    raise VectorError(f"the query must be one vector of shape (dim,), found {np.shape(vector)}")
                wanted = unit(np.asarray(vector)[None])[0]
                return search.near_vector(connection, stored, wanted, n, where, warmth=self._warmth)
            spec, stored = self._encoder_of_stored(connection, encoder)
            images, texts = _several(image), _several(text)
            if not (images or texts):
                raise InputError("a search needs an image or a text: the list of them is empty")
            if exclude_duplicates and (texts or len(images) > 1):
                raise InputError(
                    "to exclude the query's duplicates, give one image alone: several parts have no pixels"
                )
            pixels = [each if isinstance(each, np.ndarray) else self.read_image(each) for each in images]
            seen = [prepare(each, spec.pixels) for each in pixels]
            towers = [self._text_model(spec, device).encode(texts)] if texts else []
            if seen:
                towers.insert(0, self._model(spec, device).encode(np.stack(seen)))
            whole = search.combine(np.concatenate(towers), weights)
            own = pixel_sha256(pixels[0]) if exclude_duplicates else None
            return search.near_vector(connection, stored, whole, n, where, exclude_pixels=own, warmth=self._warmth)

    def searchable(self, encoder: str = DEFAULT, where: Filter | None = None) -> Coverage:
        """How many images pass `where`, and how many of them have a vector of the encoder and can be found."""
        from medcbir.retrieval.image_sets import coverage

        with self._open() as connection:
            return coverage(connection, find_encoder(connection, encoder), where or Filter())

    def warm(self, encoder: str = DEFAULT) -> None:
        """Load an encoder's vectors into memory, so that its searches need not read them from the database.

        The answers are the same, and stay current. An encoder that is searched again and again is loaded anyway, beside
        the searches.
        """
        with self._open() as connection:
            self._warmth.warm(find_encoder(connection, encoder))

    def read_image(self, path: str | Path, frame: int = 0) -> UInt8Image:
        """One frame of an image file as it is displayed: (H, W) or (H, W, 3) uint8."""
        from medcbir.pixels import open_image

        file = Path(path)
        if not file.is_file():
            raise InputError(f"no such file: {file}")
        try:
            return open_image(file, max_pixels=self.settings.max_pixels).frame(frame)
        except MedcbirError as error:
            raise InputError(f"cannot read {file}: {error}") from None

    def _text_model(self, spec: EncoderSpec, device: str) -> "TextEncoder":
        key = (self._recipe_sha256(spec), device)
        if key not in self._text_encoders:
            self._text_encoders[key] = load_text_encoder(spec, weights_dir=self.settings.weights_dir, device=device)
        return self._text_encoders[key]

    def _encoder_of_stored(self, connection: Connection, name: str) -> tuple[EncoderSpec, StoredEncoder]:
        """The spec that made the vectors stored under `name`, with the checkpoint that made them.

        `EncoderError` where that file is gone, or the recipe is another by now.
        """
        stored = find_encoder(connection, name)
        if stored.imported:
            raise EncoderError(
                f"the vectors of {name} were imported, so a new image cannot be encoded alike: search by image id "
                "(--id) or by vector"
            )
        spec = self._spec_of_stored(stored)
        if spec is None:
            raise EncoderError(
                f"this medcbir knows no encoder {name}, so a new image cannot be encoded; search by --id"
            )
        weights_dir, digest = self.settings.weights_dir, (stored.checkpoint_sha256 or b"").hex()
        made_by = with_checkpoint(spec, weights_dir, digest)
        recipe = recipe_of(made_by or spec, weights_dir)
        found = encoder_of_recipe(connection, recipe, recipe_sha256(recipe))
        if made_by is not None and found == stored:
            return made_by, stored
        made = (
            "by another recipe (such as preprocessing) than this medcbir's:"
            if made_by is not None
            else f"with a checkpoint that is gone (sha256 {digest}): put it back into "
            f"{(weights_dir / spec.checkpoint.file).parent}, by any name, or"
        )
        step = (
            f"encode again with `medcbir encode --encoder {spec.name}`"
            if found is None
            else f"search with --encoder {found.name}, whose vectors are made with the one at hand"
        )
        raise EncoderError(f"the vectors of {name} were made {made} search by --id, or {step}")


def _several(given: Any) -> list[Any]:
    """The images or texts given: none, one (a string, a path or an array), or several."""
    if given is None:
        return []
    return [given] if isinstance(given, str | Path) or hasattr(given, "shape") else list(given)
