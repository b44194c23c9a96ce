"""Reading and writing files of any kind: atomic writes, pictures, videos."""
