"""Tables of the README and of docs/performance.md, each from committed JSON."""
