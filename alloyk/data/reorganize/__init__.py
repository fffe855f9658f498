"""What `alloyk split` does to files.

`plan` decides where each image goes, `apply` carries the plan out, `journal` keeps the files safe
while they move.
"""
