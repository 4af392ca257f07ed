"""What is asked about tasks and the fleet, answered once: HTTP, pages and commands only translate.

Every answer is exact, or says how far it looked; none scans a table.
"""
