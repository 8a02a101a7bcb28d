"""A fine-tuned checkpoint as two ONNX graphs, and a small decoder that drives them.

python -m s2s_ft.export    writes them           `run.py`, `graphs.py`, `plans.py`, `onnx_files.py`,
                                                 `quantisation.py`, `manifest.py`
OnnxDecoder                decodes with them     `runtime.py`, `manifest.py`
"""
