"""`python -m s2s_ft.serve`: answer requests over HTTP with a fine-tuned checkpoint."""

from s2s_ft.serve.run import serve_main

if __name__ == "__main__":
    raise SystemExit(serve_main())
