"""Settings and the small shared kernel: errors, states, secrets, api, admin. Knows no app."""
