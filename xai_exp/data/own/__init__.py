"""Pictures of one's own: folders, files and pixels read as they are, or refused.

Conventions: one reader for pictures and masks (`reader`, `tiff`); what is done to pixels is decided
over all files together (`together`, `pixels`) and said; files are known by their content; `doctor`
reads everything before a run and lists what it would refuse.
"""
