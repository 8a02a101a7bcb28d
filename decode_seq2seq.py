"""Generate texts with a fine-tuned checkpoint: ``python decode_seq2seq.py --help``."""

import sys

from s2s_ft.commands import decode_main

if __name__ == "__main__":
    sys.exit(decode_main())
