"""Asking people: a page that shows heatmaps blindly, and what their answers say.

`design` deals out the questions, `page` makes the page and the key of it, `study` does both once an
experiment is finished; `answers` reads what people have sent, `analysis` judges it by `key`, and
`results` writes it down. The page never names a method; the key, a file of its own, does.
"""
