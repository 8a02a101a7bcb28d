"""Makes the published benchmarks' files into JSON lines (`python -m s2s_ft.data.prepare NAME`).

tasks    what each benchmark is: counts, sources, licence
inputs   files on disk, read line by line and checksummed
news, questions, languages   a reader for each official format
hub      the same rows through `datasets`
run      read, count, write whole, describe (card)
"""
