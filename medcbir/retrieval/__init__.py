"""Exact top N: for one query at once (`search`), for all queries of an evaluation as a stored `run`.

Ids, vectors and filters enter; hits leave, in pgvector's own distances and the order (distance, image id). It never
answers from an approximate index, and never looks at what the images show.
"""
