"""Numbers about documents, on Polars: Scout, Validator, features, Curator, insights.

`stage` is the entry for a run of the lake, `tables` for any table.
"""
