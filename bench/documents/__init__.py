"""Documents that the program fills: templates with named fields, and the figures for them."""
