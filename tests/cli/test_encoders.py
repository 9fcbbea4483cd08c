"""medcbir encoders verify: weights that are right, missing, downloaded never unasked, or another's."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from medcbir.encoders import find_checkpoint, get_spec

Run = Callable[..., CompletedProcess[str]]


def test_the_default_encoder_s_weights_are_verified_by_their_golden_vector(run_medcbir: Run) -> None:
    done = run_medcbir("encoders", "verify", "efficientnet_lite0", "--format", "json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["state"], found["known_sha256"], found["golden"]) == ("ok", True, True)
    assert found["sha256"] == get_spec("efficientnet_lite0").checkpoint.sha256


def test_missing_and_foreign_weights_are_an_error_of_one_line_each(run_medcbir: Run, tmp_path: Path) -> None:
    lite = find_checkpoint(get_spec("efficientnet_lite0"), tmp_path)
    (tmp_path / "medsam_vit_b.pth").write_bytes(lite.read_bytes())
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"PK\x03\x04")
    done = run_medcbir("encoders", "verify", "medsam", "sam", "mae", "--format", "csv", MEDCBIR_WEIGHTS_DIR=tmp_path)
    assert done.returncode == 1
    medsam, sam, mae = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert medsam.startswith("Error: checkpoint differs") and "EfficientNet-Lite0's checkpoint" in medsam  # noqa: PT018
    assert "sam_vit_b_01ec64.pth has sha256" in sam
    assert mae.startswith("Error: checkpoint not found: MAE expects mae_pretrain_vit_base.pth")
