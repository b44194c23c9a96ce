"""Files of any kind: atomic writes, pictures, videos."""
