"""What is said of the training rows before the first update: how long they are, and what of them
the tokenizer cannot read or write.
"""

from __future__ import annotations

import logging

from s2s_ft.data.accents import accents_report
from s2s_ft.data.examples import read_examples
from s2s_ft.data.features import FeatureStore, length_report, unknown_report
from s2s_ft.methods import Method
from s2s_ft.options.train import DataOptions
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)


def tell_of_rows(data: DataOptions, codec: TextCodec, method: Method, store: FeatureStore) -> None:
    """Log the lengths of the rows, and warn of what is lost.

    Args:
        data: Where the rows are.
        codec: The tokenizer.
        method: Knows how much of a row is used.
        store: The rows' token ids.
    """
    report = length_report(
        store,
        method.max_source_length,
        method.max_target_length,
        source_specials=method.num_source_special,
        target_specials=method.num_target_special,
    )
    logger.info("%s: %s", data.train_file, report)
    if unknown := unknown_report(store, codec.unknown_id):
        logger.warning("%s: %s", data.train_file, unknown)
    if not codec.strips_accents:
        return
    rows = read_examples(
        data.train_file,
        source_key=data.source_key,
        target_key=data.target_key,
        limit=data.num_train_examples,
    )
    if accents := accents_report(rows):
        logger.warning("%s: %s", data.train_file, accents)
