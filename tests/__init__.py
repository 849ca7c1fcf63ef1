"""The tests, as a package.

spylls, which checks the spelling of documents, installs a package of this name, and would be found before a folder.
"""
