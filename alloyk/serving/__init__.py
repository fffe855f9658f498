"""Classify what arrives: files in a folder, and requests over HTTP.

`arrivals` finds finished files in a folder, `journal` keeps rows that survive a kill, and
`watching` joins both to a classifier.
"""
