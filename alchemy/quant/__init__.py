"""Numbers about documents, on Polars: Scout, Validator, features, Curator, insights.

`stage` is the entry: `run(context)` for the lake, `run_table(path, directory, settings)` for a file.
"""
