"""The protocol in its plainest executable form: what the product must come to, done naively.

Whole states travel instead of the fields a peer lacks; every set is an exact set of dots or of
positions; nothing is inferred from what a peer covered; nothing becomes bytes. It imports nothing
of the product, so that no mistake can be in both for the same reason.
"""
