"""The crash drill: a system of its own is brought up, broken in every way, and counted.

entering   servers, ports and keys of its own, in a folder that is wiped
servers    its PostgreSQL and Redis: crashed, restarted, kept away
stage      its processes, sandboxed providers, people and campaigns
scenarios  what is done to them
judging    the inbox against the messages: lost, doubled, in doubt
showing    the table
"""
