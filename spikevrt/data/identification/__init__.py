"""What an unknown spike recording is: geometries that would fit, ranked, and pictures to look at."""
