"""The index: FAISS vectors, SQLite catalog, hybrid search under access control."""
