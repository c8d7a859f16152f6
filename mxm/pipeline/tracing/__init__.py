"""One pass over the body of a flow, on placeholders."""
