"""Exported for real: onnxruntime gives the same tokens as torch; what is in the folder; what is
refused. Exporting takes its time, so each family comes once, with one method or the other, and two
of them have a single layer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.export.manifest import FILE, Manifest
from s2s_ft.export.onnx_files import OPSET, method_of
from s2s_ft.export.options import ExportOptions
from s2s_ft.export.quantisation import quantise
from s2s_ft.export.run import export, main
from s2s_ft.export.runtime import OnnxDecoder
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import TextCodec
from tests.unit.export.conftest import TEXTS, FineTuned

pytestmark = pytest.mark.skipif(
    torch.__version__ < "2.8", reason="refused: tests/unit/model/test_torch_release.py"
)

LAYERS = {"bert": 2, "roberta": 1}
METHODS = {"bert": "pseudo_mask", "roberta": "causal"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, fine_tuned: FineTuned) -> dict[str, Path]:
    """The export of each family."""
    folders = {}
    for family, method in METHODS.items():
        folder = tmp_path_factory.mktemp("onnx") / family
        checkpoint = fine_tuned(family, method, num_hidden_layers=LAYERS[family])
        options = ExportOptions(model_path=str(checkpoint), output_dir=str(folder))
        assert export(options) == 0
        folders[family] = folder
    return folders


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", METHODS)
def test_onnxruntime_gives_the_same_tokens(
    exported: dict[str, Path], fine_tuned: FineTuned, family: str, beams: int
) -> None:
    folder = str(fine_tuned(family, METHODS[family]))
    model, codec = load_finetuned(folder), TextCodec.load(folder)
    framed = replace(method_of(model, codec), max_source_length=20, max_target_length=8)
    settings = SearchSettings(beam_size=beams, max_length=8, eos_id=codec.special.sep)
    sources = [framed.source(np.array(ids)) for ids in codec.encode(TEXTS)]
    expected = generate_batch(model, framed, sources, settings)
    decoder = OnnxDecoder.from_folder(exported[family], num_threads=1)
    found = decoder.generate(TEXTS, num_beams=beams)
    assert [each[0].ids for each in found] == [each.hypotheses[0].ids for each in expected]
    assert [each[0].score for each in found] == pytest.approx(
        [each.hypotheses[0].score for each in expected], abs=1e-4
    )
    assert decoder(TEXTS, num_beams=beams) == [codec.decode(each[0].ids) for each in found]


@pytest.mark.parametrize("family", METHODS)
def test_one_text_alone(exported: dict[str, Path], family: str) -> None:
    """Also with one beam: no size of the graphs' axes is more than 1 but the length's."""
    decoder = OnnxDecoder.from_folder(exported[family], num_threads=1)
    together = decoder.generate(TEXTS, num_beams=1)
    for text, expected in zip(TEXTS, together, strict=True):
        (found,) = decoder.generate([text], num_beams=1)
        assert found[0].ids == expected[0].ids
        assert found[0].score == pytest.approx(expected[0].score, abs=1e-4)


def test_axes_are_free_and_the_opset_is_stated(exported: dict[str, Path]) -> None:
    for family, folder in exported.items():
        manifest = Manifest.read(folder)
        for name, axes in manifest.graphs.items():
            graph = onnx.load(folder / name)
            assert [each.version for each in graph.opset_import if not each.domain] == [OPSET]
            assert manifest.opset == OPSET
            inputs = {
                each.name: [
                    size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim
                ]
                for each in graph.graph.input
            }
            assert inputs.keys() == axes["inputs"].keys()
            assert [each.name for each in graph.graph.output] == list(axes["outputs"])
            for key, sizes in inputs.items():
                expected = list(axes["inputs"][key])
                if family == "roberta" and key == "tokens":
                    expected[-1] = 1  # causal feeds one row
                assert sizes == expected, key


def test_a_folder_has_all_that_drives_it(exported: dict[str, Path]) -> None:
    for folder in exported.values():
        names = {path.name for path in folder.iterdir()}
        assert {"encode.onnx", "step.onnx", FILE, "generation_config.json"} <= names
        assert "tokenizer.json" in names
        assert not {name for name in names if name.startswith(".")}
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        assert content["int8"] is False
        assert content["versions"]["torch"]


def test_int8_runs_and_is_smaller(exported: dict[str, Path], tmp_path: Path) -> None:
    """What is quantised are graphs that are there already: their export is tested above."""
    folder = tmp_path / "int8"
    folder.mkdir()
    for path in exported["roberta"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("encode.onnx", "step.onnx"):
        quantise(folder / name)
        kinds = {node.op_type for node in onnx.load(folder / name).graph.node}
        assert "MatMulInteger" in kinds
        assert "DequantizeLinear" in kinds  # the word embeddings
    assert not list(folder.glob("whole*"))
    texts = OnnxDecoder.from_folder(folder, num_threads=1)(TEXTS, num_beams=3)
    assert len(texts) == len(TEXTS)


def test_a_folder_that_is_not_empty_is_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    options = ExportOptions(model_path="unused", output_dir=str(exported["bert"]))
    with pytest.raises(ValueError, match=r"--output_dir .* is there already"):
        export(options)
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"--output_dir .* is there already"):
        export(replace(options, output_dir=str(file)))


def test_a_missing_package_is_told_and_nothing_is_left(
    fine_tuned: FineTuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    folder = tmp_path / "new" / "onnx"
    with pytest.raises(EnvironmentFault, match=r"onnxscript is .* install 's2s-ft\[onnx\]'"):
        main(["--model_path", str(fine_tuned("bert", "causal")), "--output_dir", str(folder)])
    assert not list(folder.parent.iterdir())


def test_a_bad_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty"):
        main(["--model_path", str(empty), "--output_dir", str(tmp_path / "onnx")])
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_damaged_graphs_are_told(exported: dict[str, Path], tmp_path: Path) -> None:
    for path in exported["roberta"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"step.onnx cannot be opened"):
        OnnxDecoder.from_folder(tmp_path)
