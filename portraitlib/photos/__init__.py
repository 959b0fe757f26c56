"""Photos of a person: read, cropped about the head, audited, captioned and shown."""
