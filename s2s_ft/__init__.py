"""s2s-ft: fine-tune any pretrained bidirectional encoder for text generation.

Nothing is imported here, so that ``import s2s_ft`` and the commands' ``--help`` answer at once;
import what is needed from its module (`s2s_ft.options`, `s2s_ft.model`, `s2s_ft.decode`, …).
"""

__version__ = "0.1.0"
