"""Files and folders: there whole or not at all, and what names them (standard library only).

output_file.py        a file written in one step, over nothing that is read
output_folder.py      a new folder that appears once it is complete
removal.py            deleting a folder, a file or a link
checksum.py           SHA-256 of a file
checkpoint_record.py  what a checkpoint says of its own files
model_name.py         whether a model is meant to be in a folder or on the hub
"""
