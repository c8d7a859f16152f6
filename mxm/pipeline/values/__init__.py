"""Values of parameters and results: checked, converted, masked, written as JSON."""
