"""What an operator is held to on any machine: cases, errors against float64, time."""
