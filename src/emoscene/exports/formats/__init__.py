"""The export formats, a file each: a function named as its file plans what is written for an artifact.

The function takes an `Artifact` and returns an `ExportBundle`: the files, and what the card says of them. A file here,
or an entry point of the group `emoscene.formats` in another package, is all that a format needs: `--to`, its help and
`emoscene ls formats` find it by its name (`core.registry`).
"""
