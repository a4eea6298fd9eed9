"""Numbers about documents, on Polars: Scout, Validator, features, Curator, insights."""
