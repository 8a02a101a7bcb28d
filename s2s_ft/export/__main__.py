"""`python -m s2s_ft.export`: a fine-tuned checkpoint as ONNX graphs."""

from s2s_ft.export.run import export_main

if __name__ == "__main__":
    raise SystemExit(export_main())
