"""A work directory at an address (`s3://`, `gs://`, `ftp://`, ...): a run works on files here, which are brought there.

`address.py` opens a store through fsspec, `folder.py` keeps what is known of the local copy, `stubs.py` stands in for
checkpoints that were not fetched, `pull.py` brings a start in line with the store, `mirror.py` brings files over beside
training.
"""
