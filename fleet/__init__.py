"""Fleet: several nodes share cameras, each watched by exactly one, coordinated in a NATS key-value bucket.

Decisions are pure and take time as an argument: :mod:`facegate.fleet.placement` (which node watches which camera)
and :mod:`facegate.fleet.state_machine` (what a node does next). The other modules carry them out.
"""

if __name__ != "facegate.fleet":
    raise ImportError(f"import facegate.fleet, not {__name__}")
