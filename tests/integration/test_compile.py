"""Models that torch compiles: the same vectors in batches of any length, or a warning and the model as it was."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import tiny_vit
import torch
from torch._dynamo.utils import counters

import medcbir
from medcbir.encoders import get_spec, load_encoder, prepare
from medcbir.encoders.loaders import Encoder
from medcbir.errors import NotCompiledWarning
from medcbir.pixels import open_image

needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles by g++ on a CPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where encoder `tiny` and its random weights are, and what torch's compiler keeps."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_vit.write(folder, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "compiled"))
        yield folder


@pytest.fixture
def load(folder: Path) -> Iterator[Callable[[], Encoder]]:
    """Loads `tiny` as on a machine with two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield lambda: load_encoder(get_spec("tiny", folder), weights_dir=folder, device="cpu")
    torch.set_num_threads(threads)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 160, 160, 3), dtype=np.uint8)


@needs_a_compiler
def test_a_compiled_model_gives_the_same_vectors_in_batches_of_any_length(load: Callable[[], Encoder]) -> None:
    eager, compiled = load(), load()
    compiled.compile()
    assert torch.get_num_threads() == 2
    counters.clear()
    batches = [pictures(count) for count in (1, eager.batch_size - 1, eager.batch_size, eager.batch_size + 3)]
    found: dict[int, np.ndarray] = {}

    def lane(number: int) -> None:
        compiled.enter_lane()
        for each in range(number, len(batches), compiled.lanes):
            found[each] = compiled.encode(batches[each])

    compiled.enter_lanes()
    lanes = [threading.Thread(target=lane, args=(number,)) for number in range(compiled.lanes)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    compiled.leave_lanes()
    assert len(lanes) == 2
    assert not counters["stats"], "nothing is compiled anew for a short batch, or in a lane"
    for number, batch in enumerate(batches):
        np.testing.assert_allclose(found[number], eager.encode(batch), atol=1e-5)
    assert "torch.compile" not in eager.versions


def test_other_vectors_than_without_compilation_are_refused(
    load: Callable[[], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: lambda pixels: model(pixels) + 0.1)
    eager, refused = load(), load()
    with pytest.warns(NotCompiledWarning, match=r"^tiny goes on uncompiled: numbers of its vectors change by 0\.\d+$"):
        refused.compile()
    np.testing.assert_array_equal(refused.encode(pictures(3)), eager.encode(pictures(3)))
    assert "torch.compile" not in refused.versions


@pytest.mark.parametrize("compiler", [pytest.param("g++", marks=needs_a_compiler), "/nonexistent/g++"])
def test_encode_compiles_where_it_can_and_else_warns_and_goes_on(
    db: medcbir.Database,
    folder: Path,
    tmp_path: Path,
    draw_images: Callable[..., list[Path]],
    run_medcbir: Callable[..., CompletedProcess[str]],
    compiler: str,
) -> None:
    draw_images(tmp_path / "images", 7)
    db.ingest(tmp_path / "images", encode=False)
    done = run_medcbir(
        *("encode", "--encoder", "tiny", "--compile", "--device", "cpu", "--database-url", db.conninfo),
        MEDCBIR_ENCODERS_DIR=folder,
        MEDCBIR_WEIGHTS_DIR=folder,
        TORCHINDUCTOR_CACHE_DIR=folder / "compiled" if compiler == "g++" else tmp_path / "compiled",
        CXX=compiler,
    )
    assert done.returncode == 0, done.stderr
    assert "encoder tiny: 7 images encoded" in done.stdout
    warned = [line for line in done.stderr.splitlines() if "ompile" in line]
    spec = get_spec("tiny", folder)
    eager = load_encoder(spec, weights_dir=folder, device="cpu")
    rows = db.query("SELECT i.path, v.tiny::real[] FROM image AS i JOIN image_vectors AS v USING (image_id)")
    stored = np.array([vector for _, vector in rows])
    own = np.concatenate(
        [eager.encode(prepare(open_image(Path(path)).frame(0), spec.pixels)[None]) for path, _ in rows]
    )
    np.testing.assert_allclose(stored, own, rtol=0, atol=1e-5)
    [(versions,)] = db.query("SELECT versions FROM encoder WHERE name = 'tiny'")
    if compiler == "g++":
        assert warned == []
        assert float(versions.pop("torch.compile", "within 0").removeprefix("within ")) < 1e-5
    else:
        assert len(warned) == 1, done.stderr
        assert warned[0].startswith("Warning: tiny goes on uncompiled: ")
        assert "/nonexistent/g++" in warned[0]
    assert versions == eager.versions
