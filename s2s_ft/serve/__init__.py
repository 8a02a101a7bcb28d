"""A small HTTP server for a fine-tuned checkpoint: `POST /generate`, `GET /health`, a page at `/`.

How a request comes through:

    connection.py   headers in time, not too many connections          event loop
    app.py          the route; bodies.py reads the body within bounds
    calls.py        checks the JSON (pydantic)
    batcher.py      queue -> batches of texts with equal options
    worker.py       one thread, the only one that touches the model    model thread
    backend.py      what the server needs of a model, and ours

Nothing is imported here, so that ``--help`` answers at once.
"""
