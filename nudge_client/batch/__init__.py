"""Jobs over files: rows in, answers out, durable and resumable at any instant."""
