"""The demonstration: two whole sites on one machine, and a story told with them.

``samples`` finds the sample data, ``sites`` founds the two sites, ``edits`` changes their
datasets as other programs do, ``rounds`` lets the sites exchange mail until both are quiet,
``comparison`` reads the datasets without any of mailsync's own code, ``scenario`` tells the
story with them.
"""
