"""Many gates share cameras: each camera has exactly one, decided over a NATS server's key-value bucket.

What is decided is pure and takes time as an argument: :mod:`facegate.fleet.placement` (who should watch what) and
:mod:`facegate.fleet.state_machine` (what one gate does next). The rest carries it out.
"""

if __name__ != "facegate.fleet":
    raise ImportError(f"import facegate.fleet, not {__name__}")
