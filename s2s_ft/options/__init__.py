"""Every option of the commands as typed, frozen dataclasses (standard library only).

A command has one class made of groups (`TrainOptions`: data, model, corruption, …); each field of
a group is one flag, and flags are flat: ``--train_file`` is `options.data.train_file`. Values are
checked when the object is made, and a `ValueError` names the flag and says what to give instead.
`s2s_ft.cli.parse` turns such a class into a command line (`parser.py`; `config_file.py` for
``--config``).
"""

from s2s_ft.options.decode import DecodeOptions
from s2s_ft.options.flags import as_dict, build, flag, flags_of
from s2s_ft.options.train import TrainOptions

__all__ = ["DecodeOptions", "TrainOptions", "as_dict", "build", "flag", "flags_of"]
