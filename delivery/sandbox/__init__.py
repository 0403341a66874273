"""The e-mail service providers on a loopback port: their send APIs, an inbox, signed webhooks.

A package of its own: it imports nothing of the apps and no Django, so that it can be as wrong
or as strict as the real providers without ever sharing a mistake with the code under test.
"""
