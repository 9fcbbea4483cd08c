"""The two pipelines that fill the database: catalogue (records to rows) and encode (rows to vectors).

Records of a source and an encoder enter; rows, vectors and rejections with their reason leave. Every file is opened in
a worker process, so that a file that crashes or hangs its decoder costs that file alone.
"""
