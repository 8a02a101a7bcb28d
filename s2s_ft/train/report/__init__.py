"""`report.html`: a run to look at, in one file that needs nothing else.

    python -m s2s_ft.train.report OUTPUT_DIR      makes it anew from the files of the run

    write.py      puts the page together          charts.py   charts as SVG
    story.py      reads the files of a run        axes.py     round numbers for them
    sections.py   what the page tells             page.py     HTML and style
    curves.py     which charts it shows           sound.py    what of odd lines counts

Notable: it is made of what lies in the output folder (see `train/lines.py`) and of nothing else, so
it can be had of a run that was killed, or that still goes on, and without torch.
"""
