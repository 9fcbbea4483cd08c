"""The paper's protocol and the speed benchmarks, as steps that can be stopped and gone on with.

A database and an output folder enter; what each step did, a report and tables leave. Steps call the Python interface as
any user would, and never compute a number of their own: those are read from the views. Only the speed studies measure
something themselves, always two or more ways side by side in one run.
"""

from medcbir.bench.place import open_for
from medcbir.bench.run import Benchmark, run
from medcbir.bench.steps import Outcome, Step
from medcbir.bench.suites import SUITES, SuiteName

__all__ = ["SUITES", "Benchmark", "Outcome", "Step", "SuiteName", "open_for", "run"]
