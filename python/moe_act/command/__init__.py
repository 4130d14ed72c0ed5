"""What `python -m moe_act` does: `run` verifies and times a workload, `info` describes the installation.

workloads --> run (one size at a time: devices run it, the oracle judges it) --> report (table, JSON, plot)
"""

from .info import info
from .run import run

__all__ = ["info", "run"]
