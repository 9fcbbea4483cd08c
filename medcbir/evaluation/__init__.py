"""Numbers about runs: reads the metric views of `sql/views`, adds what SQL cannot say.

A run enters, typed metrics leave. Only the ablation of index size retrieves, through `retrieval`.
"""
