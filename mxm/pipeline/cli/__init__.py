"""The mxm-pipeline command."""
