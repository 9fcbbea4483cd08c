"""The whole chain on real images that installed packages bring along: catalogue, encode, retrieve, evaluate, report.

An open `Database` enters and is called as any user would; a manifest, a report and a picture leave. It must never use
the network, and never claim more than so few images can show.
"""

from medcbir.demo.chain import Demo, run_demo

__all__ = ["Demo", "run_demo"]
