"""Two implementations, or two revisions of this package, timed against each other in one session.

What was measured is a `records.TimeRecord`; the gate says what it means.
"""
