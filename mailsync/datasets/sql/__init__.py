"""Tables of SQL databases; what is an engine's alone is in a module of its name.

``table`` and ``keyless`` are the datasets, ``database`` what the tables of one share; ``engine``
says what each engine's module must offer, ``shape`` makes the statements, ``apply`` writes.
"""
