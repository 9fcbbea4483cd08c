"""Numbers about runs: reads the metric views of `sql/views`, adds what SQL cannot say.

A run enters, typed metrics leave; or classifications, by the vote of a run's hits or by a linear probe, which alone
reads vectors and imports torch.
"""
