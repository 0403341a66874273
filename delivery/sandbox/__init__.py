"""The e-mail service providers on a loopback port: their send APIs, an inbox, signed webhooks.

A package of its own: it imports nothing of the apps and no Django, so that it can be as wrong
or as strict as the real providers without ever sharing a mistake with the code under test.

    server    Sandbox: start(), stop(), async with; what a test asks of it
    config    accounts and options: rates, latencies
    faults    which calls go wrong, and how: throttled, silent, cut off, lost
    outcomes  what becomes of a message; an address such as bounce+x@… asks for its outcome
    inbox     messages and events in one SQLite file; attachments' bytes once, as `files` reads them
    webhooks  tells the platform; sendgrid, mailgun, postmark and sns say it in their words
    readers   people and machines load images and follow links, if told of a host of this machine
    control   /_sandbox/: options, faults, accounts, messages, stats, duplicates
"""
