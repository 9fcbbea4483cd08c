"""The database: embedded or external server, connections, schema, SQL files, binary COPY in and out.

Settings enter; connections and rows leave. It knows no file format, no model, and nothing of what the rows mean.
"""
