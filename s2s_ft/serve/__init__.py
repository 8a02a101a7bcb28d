"""A small HTTP server for a fine-tuned checkpoint: `POST /generate`, `GET /health`, a page at `/`.

How a request comes through:

    connection.py   headers in time, not too many connections          event loop
    app.py          the route; bodies.py reads the body within bounds
    calls.py        checks the JSON (pydantic)
    batcher.py      places in the queue, and what becomes of a request
    model.py        looks up tokens, finds what cannot be              reading thread
    runs.py         queue -> batches that texts join and leave         model thread,
    model.py        decodes                                            the only one to touch it
    backend.py      what the server needs of a model

Nothing is imported here, so that ``--help`` answers at once.
"""
