"""How often a dispatcher looks at what takes long to answer."""


def rest_s(took_s: float, share: float, longest_s: float) -> float:
    """How long to leave a server alone after a look that took so long, for all looks to take a share of the time. One
    slow answer, of a server that was in trouble, holds nobody up for longer than `longest_s`."""
    return min(longest_s, took_s / share)
