"""Makes data sets in the unified layout from sharp video or downloads, and checks them."""
