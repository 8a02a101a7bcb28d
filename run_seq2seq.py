"""Fine-tune a pretrained encoder: ``python run_seq2seq.py --help``."""

import sys

from s2s_ft.commands import train_main

if __name__ == "__main__":
    sys.exit(train_main())
